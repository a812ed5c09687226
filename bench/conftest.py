# SPDX-License-Identifier: BSD-3-Clause
"""The benchmarks' matrix: every native loss, both dtypes, the sizes that are asked for."""

import argparse
from typing import NamedTuple

import numpy as np
import pytest

import fastloss as fl
from data import arguments, check


class Size(NamedTuple):
    shape: tuple
    rounds: int  # of fastloss; the NumPy formula, many times slower, takes a fifth
    calls: int  # in a round


SIZES = {
    "cache": Size((640, 100), rounds=50, calls=5),  # in L2: 64 K elements
    "l3": Size((20_000, 100), rounds=20, calls=1),  # 2 M
    "memory": Size((160_000, 100), rounds=10, calls=1),  # 16 M
}


class Work(NamedTuple):
    """A loss and its arguments, checked; `gradient` is where value_and_grad writes."""

    label: str
    loss: fl.Loss
    size: Size
    y_true: np.ndarray
    y_pred: np.ndarray
    gradient: np.ndarray


def sizes(text):
    names = text.split(",")
    if unknown := set(names) - set(SIZES):
        raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: expected some of {','.join(SIZES)}")
    return names


def pytest_addoption(parser):
    known = ",".join(SIZES)
    parser.addoption("--sizes", type=sizes, default=known, metavar="A,B", help=f"default: {known}")


def pytest_generate_tests(metafunc):
    if "work" in metafunc.fixturenames:
        cases = [
            pytest.param((label, loss, dtype, SIZES[size]), id=f"{label}-{dtype}-{size}")
            for label, loss in fl.losses.native_instances()
            if loss.rowwise
            for dtype in ("float32", "float64")
            for size in metafunc.config.getoption("sizes")
        ]
        # Of the module: the arguments are made, checked and freed once for all that is measured on them.
        metafunc.parametrize("work", cases, indirect=True, scope="module")


@pytest.fixture(scope="module")
def work(request):
    label, loss, dtype, size = request.param
    y_true, y_pred = arguments(loss, size.shape, dtype)
    return Work(label, loss, size, y_true, y_pred, check(loss, y_true, y_pred))
