# SPDX-License-Identifier: BSD-3-Clause
"""The command `fastloss`: one module a subcommand, each with `add_parser` and `run`."""

import argparse
import contextlib
import signal
import sys

import fastloss as fl

from . import demo, evaluate, info
from .files import UserError


def build_parser():
    parser = argparse.ArgumentParser(
        prog="fastloss", description="Fast, accurate losses, gradients and Hessians."
    )
    parser.add_argument("--version", action="version", version=f"fastloss {fl.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (demo, evaluate, info):
        command.add_parser(subparsers).set_defaults(run=command.run)
    return parser


@contextlib.contextmanager
def signals_as_interrupt():
    """Turn the polite signals to end into KeyboardInterrupt(number): outputs are cleaned up as on Ctrl-C.

    Only the first one does so: more of them do not disturb the cleaning. A signal that somebody else handles, or
    ignores as nohup does, is left alone.
    """
    before = {}

    def interrupt(number, frame):
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        raise KeyboardInterrupt(number)

    try:
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                # Only the main thread may set handlers; elsewhere there is nothing to turn.
                with contextlib.suppress(ValueError):
                    before[number] = signal.signal(number, interrupt)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv=None):
    """Run the command line `argv` (default: the process's own) and return its exit status."""
    arguments = build_parser().parse_args(argv)
    try:
        with signals_as_interrupt():
            arguments.run(arguments)
    except (UserError, OSError) as error:
        print("fastloss: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("fastloss: interrupted", file=sys.stderr)
        return 128 + (interrupt.args[0] if interrupt.args else signal.SIGINT)
    return 0
