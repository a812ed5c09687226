# SPDX-License-Identifier: BSD-3-Clause
"""`fastloss info`: what was built and what this machine offers."""

import fastloss as fl


def add_parser(subparsers):
    return subparsers.add_parser(
        "info",
        help="print version, compiler, instruction sets, threads, GPUs and optional libraries",
        description="Print version, compiler, instruction sets, threads, GPUs and optional libraries.",
    )


def run(arguments):
    for name, value in fl.show_config().items():
        if isinstance(value, dict):
            value = [f"{key} {entry}" for key, entry in value.items()]
        if isinstance(value, list | tuple):
            value = ", ".join(map(str, value)) or "none"
        print(f"{name.replace('_', ' '):16}{value}")
