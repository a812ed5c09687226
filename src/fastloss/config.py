# SPDX-License-Identifier: BSD-3-Clause
"""Threads, and what this build is."""

import platform
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from fastloss import _kernels, _validate

OPTIONAL = ("ml_dtypes", "matplotlib", "torch", "jax", "tensorflow", "keras", "cupy", "numba", "numba_cuda", "dask")


@contextmanager
def threads(n):
    """Within the block, calls of this thread or task use n threads.

    Args:
        n: Integer from 1 to 4096.

    Raises:
        TypeError, ValueError: n is no such integer.

    Example:
        >>> from fastloss import get_num_threads
        >>> with threads(1):
        ...     get_num_threads()
        1
    """
    token = _kernels._context_threads.set(_validate.thread_count("n", n))
    try:
        yield
    finally:
        _kernels._context_threads.reset(token)


def get_include():
    """The folder of the C header fastloss.h.

    >>> (Path(get_include()) / "fastloss.h").exists()
    True
    """
    return str(Path(_kernels.__file__).parent / "include")


def get_cmake_dir():
    """The folder of fastlossConfig.cmake.

    >>> (Path(get_cmake_dir()) / "fastlossConfig.cmake").exists()
    True
    """
    return str(Path(_kernels.__file__).parent / "cmake")


def show_config():
    """What this build is: version, compiler, instruction sets, threads, GPUs, optional libraries found.

    Returns:
        A dict; printed by `fastloss info`.

    Example:
        >>> show_config()["isa"] in show_config()["isas_available"]
        True
    """
    # Not at import, which it would slow down.
    import importlib.metadata
    import importlib.util

    from fastloss import cuda

    found = {}
    for name in OPTIONAL:
        if importlib.util.find_spec(name):
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                found[name] = "unknown version"
    return {
        "version": importlib.metadata.version("fastloss"),
        **_kernels.build_info(),
        "isa": _kernels.get_isa(),
        "isas_available": _kernels.isas(),
        "threads": _kernels.get_num_threads(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "gpu": cuda.describe(),
        "optional": found,
    }
