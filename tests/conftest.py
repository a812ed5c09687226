# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: every loss and its variants, every dtype, every instruction set this CPU and build have, a seed."""

import os
import sys

import numpy as np
import pytest

from cases import CASES, VARIANTS
from fastloss import _kernels

ISAS = tuple(_kernels.isas())


def pytest_addoption(parser):
    parser.addoption(
        "--backend", choices=("cpu", "cuda", "simulator"), default="cpu",
        help="what computes: arrays in memory, on a GPU, or in Numba's simulator of one",
    )  # fmt: skip
    parser.addoption("--seed", type=int, default=0, help="seed of the sampled inputs; the tests must hold for any")


def pytest_ignore_collect(collection_path, config):
    # What is for a GPU is collected for one, and nothing else is.
    if collection_path.name.startswith("test_") and collection_path.suffix == ".py":
        return (collection_path.name == "test_cuda.py") == (config.getoption("backend") == "cpu") or None


def pytest_configure(config):
    if config.getoption("backend") == "simulator":
        # Before Numba is imported.
        os.environ["NUMBA_ENABLE_CUDASIM"] = "1"
        # Its threads wait for each other all the time.
        sys.setswitchinterval(1e-5)
    if not ISAS:
        raise pytest.UsageError("fastloss offers no instruction set: nothing would be tested")


def pytest_report_header(config):
    return f"fastloss: {', '.join(ISAS)}; seed {config.getoption('seed')}"


@pytest.fixture(params=ISAS)
def isa(request):
    before = _kernels.get_isa()
    _kernels.set_isa(request.param)
    yield request.param
    _kernels.set_isa(before)


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    return request.param


@pytest.fixture(scope="session")
def seed(request):
    return request.config.getoption("seed")


@pytest.fixture
def rng(seed):
    return np.random.default_rng(seed)


@pytest.fixture(params=CASES.values(), ids=lambda case: case.name)
def case(request):
    return request.param


@pytest.fixture(params=VARIANTS, ids=lambda v: f"{v[0]}-{v[1]}")
def variant(request):
    """(case, index of its parameters)"""
    name, index = request.param
    return CASES[name], index
