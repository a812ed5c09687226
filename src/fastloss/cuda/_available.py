# SPDX-License-Identifier: BSD-3-Clause
"""Whether arrays on a GPU can be computed with, and if not, why; nothing is imported unless asked."""

import importlib.util
import os
from functools import cache

INSTALL = "install fastloss[cuda13], or fastloss[cuda12] for a driver of CUDA 12"


@cache
def reason():
    """Why there is no device to compute with, in one line; None if there is one.

    >>> reason() is None or isinstance(reason(), str)
    True
    """
    try:
        found = importlib.util.find_spec("numba.cuda") is not None and importlib.util.find_spec("numba_cuda") is not None
    except ImportError:
        found = False
    if not found:
        return f"the package numba-cuda is not installed: {INSTALL}"
    if os.environ.get("NUMBA_ENABLE_CUDASIM", "0") == "1":
        return None
    try:
        from cuda.bindings import driver
    except ImportError:
        return f"the package cuda-bindings is not installed: {INSTALL}"
    try:
        error = driver.cuInit(0)[0]
    except Exception:
        return "no CUDA driver was found"
    if int(error) != 0:
        return f"the CUDA driver does not start ({error.name})"
    error, version = driver.cuDriverGetVersion()
    if int(error) == 0 and version // 1000 < driver.CUDA_VERSION // 1000:
        return f"the driver is of CUDA {version // 1000} and the packages of CUDA {driver.CUDA_VERSION // 1000}: {INSTALL}"
    error, count = driver.cuDeviceGetCount()
    if int(error) != 0 or count == 0:
        return "the CUDA driver finds no device"
    return None


def describe():
    """The devices in a line, or why there is none.

    >>> isinstance(describe(), str)
    True
    """
    missing = reason()
    if missing is not None:
        return f"none: {missing}"
    from fastloss.cuda import launch

    return "; ".join(launch.describe_devices())
