# SPDX-License-Identifier: BSD-3-Clause
"""How fast this machine's memory is: by limits.c, compiled here, or by NumPy where there is no compiler.

NumPy's is a rougher limit: its loops can be passed, and it has no non-temporal stores.
"""

import ctypes
import os
import shlex
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("limits.c")
FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")
PAGE = 4096


@cache
def library():
    """The compiled functions and the compiler's name, or None and why not."""
    compiler = shlex.split(os.environ.get("CC", "")) or [shutil.which("gcc") or shutil.which("cc") or "cc"]
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "limits.so"
        try:
            subprocess.run([*compiler, *FLAGS, "-o", built, SOURCE], check=True, capture_output=True)
            version = subprocess.run([*compiler, "--version"], check=True, capture_output=True, text=True).stdout
            return ctypes.CDLL(str(built)), version.splitlines()[0]
        except (OSError, subprocess.CalledProcessError) as error:
            return None, f"NumPy, as limits.c was not compiled: {error}"


def source():
    """What measures the limits: the compiler of limits.c, or NumPy and why."""
    return library()[1]


def _whole_pages(*arrays):
    """The size in bytes that they have in common, in whole pages."""
    return ctypes.c_ssize_t(min(array.nbytes for array in arrays) // PAGE * PAGE)


def _pointer(array):
    return ctypes.c_void_p(array.ctypes.data)


def read(arrays, threads):
    """A function that reads arrays, and the bytes that it moves."""
    compiled, _ = library()
    if compiled:
        calls = [(_pointer(array), _whole_pages(array), threads) for array in arrays]

        def run(arrays=arrays):  # which are to live as long
            for call in calls:
                compiled.read_bytes(*call)

        return run, sum(call[1].value for call in calls)
    pool = ThreadPoolExecutor(threads)
    parts = [part for array in arrays for part in np.array_split(array.reshape(-1).view(np.uint8), threads)]
    return lambda: list(pool.map(np.bitwise_or.reduce, parts)), sum(array.nbytes for array in arrays)


def copy(to, source, threads, nontemporal):
    """A function that copies one array to another of its size, and the bytes that it moves."""
    compiled, _ = library()
    if compiled:
        function = compiled.copy_nontemporal if nontemporal else compiled.copy
        call = (_pointer(to), _pointer(source), _whole_pages(to, source), threads)

        def run(arrays=(to, source)):  # which are to live as long
            function(*call)

        return run, 2 * call[2].value
    pool = ThreadPoolExecutor(threads)
    parts = [np.array_split(array.reshape(-1), threads) for array in (to, source)]
    return lambda: list(pool.map(np.copyto, *parts)), 2 * to.nbytes


def aligned(size):
    """Bytes at an address that suits every store."""
    raw = np.empty(size + PAGE, np.uint8)
    start = -raw.ctypes.data % PAGE
    return raw[start : start + size]
