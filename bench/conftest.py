# SPDX-License-Identifier: BSD-3-Clause
"""The part of the benchmarks that pytest runs: every native loss and every peer, at the sizes that are asked for."""

import argparse

import pytest

from peers import COSTLY, MODULES
from plan import BOTH, LOSSES, NAMED_SIZES
from targets import EXAMPLES, NATIVE


def some_of(known):
    def parse(text):
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: expected some of {','.join(known)}")
        return names

    return parse


def pytest_addoption(parser):
    parser.addoption("--sizes", type=some_of(NAMED_SIZES), default="cache", metavar="A,B", help="default: cache")
    parser.addoption("--dtypes", default="float32", metavar="A,B", help="default: float32")
    costly = " and ".join(COSTLY)
    parser.addoption("--peers", type=some_of(MODULES), metavar="A,B", help=f"default: all, {costly} with a few losses only")


def contestants(config, label):
    """fastloss and the peers that a loss is measured with."""
    chosen = config.getoption("peers")
    return (NATIVE, *(chosen or [name for name in MODULES if name not in COSTLY or label in EXAMPLES]))


def pytest_generate_tests(metafunc):
    option = metafunc.config.getoption
    cases = [
        pytest.param((label, dtype, size), operation, contestant, id=f"{label}-{dtype}-{size}-{operation}-{contestant}")
        for size in option("sizes")
        for dtype in option("dtypes").split(",")
        for label in LOSSES
        for operation in BOTH
        for contestant in contestants(metafunc.config, label)
    ]
    metafunc.parametrize(("case", "operation", "contestant"), cases)
