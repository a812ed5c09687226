# SPDX-License-Identifier: BSD-3-Clause
"""Fixtures: every loss and its variants, every dtype, every instruction set this CPU and build have, a seed."""

import datetime
import json
import os
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
    parser.addoption(
        "--backend", choices=("cpu", "cuda", "simulator"), default="cpu",
        help="what computes: arrays in memory, on a GPU, or in Numba's simulator of one",
    )  # fmt: skip
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


def processor():
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.split(": ")[1] for line in lines if line.startswith("model name")), platform.machine())


RECORDED = pytest.StashKey[dict]()


@pytest.fixture
def record(request):
    """A dict for what the test measures. --record keeps it: of all cases of a test the sum of ints, the most of floats."""
    measured = {}
    yield measured
    test = request.node.nodeid.partition("[")[0]
    kept = request.config.stash.setdefault(RECORDED, {}).setdefault(test, {"cases": 0})
    kept["cases"] += 1
    for key, number in measured.items():
        before = kept.get(key)
        add = max if isinstance(number, float) else int.__add__ if isinstance(number, int) else lambda _, last: last
        kept[key] = number if before is None else add(before, number)


def pytest_sessionfinish(session):
    path, found = session.config.getoption("record"), session.config.stash.get(RECORDED, {})
    if path is None or session.testsfailed:
        return
    command = shlex.join(["python", "-m", "pytest", *session.config.invocation_params.args])
    about = {
        "command": command.replace(f" --record {path}", ""),
        "date": datetime.date.today().isoformat(),
        "machine": processor(),
    }
    before = json.loads(path.read_text()) if path.exists() else {}
    before |= {test: about | measured for test, measured in found.items()}
    path.write_text(json.dumps(dict(sorted(before.items())), indent=1) + "\n")
