# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: every loss and its variants, every dtype, every instruction set this CPU and build have, a seed."""

import datetime
import json
import platform
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest

from cases import CASES, VARIANTS
from fastloss import _kernels

ISAS = tuple(_kernels.isas())
COSTLY = ("big", "slow")


def pytest_addoption(parser):
    parser.addoption("--seed", type=int, default=0, help="seed of the sampled inputs; the tests must hold for any")
    for mark in COSTLY:
        parser.addoption(f"--{mark}", action="store_true", help=f"run the tests marked {mark} too")
    parser.addoption("--record", type=Path, help="JSON file for what tests that pass have measured")


def pytest_collection_modifyitems(config, items):
    """Deselects what is costly, which is not skipped: it is run where it is asked for."""
    unwanted = {
        mark for mark in COSTLY if not config.getoption(mark) and not re.search(rf"\b{mark}\b", config.option.markexpr)
    }
    left_out = [item for item in items if unwanted & {mark.name for mark in item.iter_markers()}]
    items[:] = [item for item in items if item not in set(left_out)]
    config.hook.pytest_deselected(items=left_out)


def pytest_configure(config):
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


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


@pytest.fixture
def record(request):
    """A dict for what the test measures, which --record writes to a file if the test does not fail."""
    measured = {}
    yield measured
    path = request.config.getoption("record")
    if path is None or len(measured) == 0:
        return
    found = json.loads(path.read_text()) if path.exists() else {}
    found[request.node.nodeid] = {
        "command": shlex.join(["python", "-m", "pytest", *sys.argv[1:]]),
        "date": datetime.date.today().isoformat(),
        "machine": processor(),
        **measured,
    }
    path.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")
