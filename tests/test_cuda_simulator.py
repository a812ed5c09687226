# SPDX-License-Identifier: BSD-3-Clause
"""The kernels for GPUs in Numba's simulator, in a process of its own: Numba is told before it is imported."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


@pytest.mark.skipif(importlib.util.find_spec("numba_cuda") is None, reason="numba-cuda is not installed")
def test_in_the_simulator(seed):
    command = [sys.executable, "-m", "pytest", "-q", "-W", "ignore", "-p", "no:cacheprovider", "--backend", "simulator"]
    command += ["--seed", str(seed), str(TESTS / "test_cuda.py")]
    command += ["-n", "2"] if importlib.util.find_spec("xdist") else []
    ran = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout
