# SPDX-License-Identifier: BSD-3-Clause
"""Kernels become machine code, are kept in memory and on disk, and are launched; or run in Numba's simulator.

A kernel is a maker (a function of a specification that returns a Python function and the types of its arguments) and a
specification. Machine code goes straight to the driver, whose launch takes a few microseconds, and is kept in the user's
cache folder (FASTLOSS_CACHE_DIR), so that a process compiles nothing that was compiled before.
"""

import ctypes
import hashlib
import os
import struct
import threading
from collections import deque
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from fastloss.cuda import _numba

_FORMATS = {"int64": "q", "int32": "i4x", "float32": "f4x", "float64": "d"}


class Memory:
    """Where an array begins, for a kernel: an address, and how many elements of its storage there are."""

    __slots__ = ("address", "count", "owner")

    def __init__(self, address, count, owner=None):
        self.address, self.count, self.owner = address, count, owner


NOTHING = Memory(0, 0)


def folder():
    """Where machine code is kept."""
    chosen = os.environ.get("FASTLOSS_CACHE_DIR")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "fastloss"


@cache
def _fingerprint():
    """Of all that machine code depends on besides the kernel."""
    from importlib.metadata import version

    digest = hashlib.sha256("".join(version(name) for name in ("numba-cuda", "numba", "cuda-bindings")).encode())
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest


def compile_to_ptx(make, spec, threads, capabilities):
    """PTX of a kernel for each compute capability, the name of its entry, and the types of its arguments."""
    function, arguments = make(SimpleNamespace(**dict(spec)))
    texts, entry = _numba.compile_kernel(function, arguments, capabilities, (threads, 1))
    return texts, entry, arguments


def assemble(ptx, capability):
    """Machine code from PTX, and what the assembler says of it."""
    from cuda.bindings import nvjitlink

    options = [f"-arch=sm_{capability[0]}{capability[1]}", "-O3", "-verbose"]
    handle = nvjitlink.create(len(options), options)
    try:
        code = ptx.encode()
        nvjitlink.add_data(handle, nvjitlink.InputType.PTX, code, len(code), "fastloss")
        nvjitlink.complete(handle)
        cubin = bytearray(nvjitlink.get_linked_cubin_size(handle))
        nvjitlink.get_linked_cubin(handle, cubin)
        log = bytearray(nvjitlink.get_info_log_size(handle))
        nvjitlink.get_info_log(handle, log)
    finally:
        nvjitlink.destroy(handle)
    return bytes(cubin), bytes(log).decode(errors="replace")


def _machine_code(make, spec, threads, capability):
    """(machine code, entry, types of the arguments), from the disk or compiled."""
    key = _fingerprint().copy()
    key.update(repr((make.__module__, make.__name__, spec, threads, capability)).encode())
    try:
        path = folder() / f"{key.hexdigest()}.cubin"
        entry, arguments, code = path.read_bytes().split(b"\n", 2)
        return code, entry, arguments.decode().split()
    except (OSError, ValueError):
        pass
    except RuntimeError:
        # There is no home.
        path = None
    (ptx,), entry, arguments = compile_to_ptx(make, spec, threads, [capability])
    code, _ = assemble(ptx, capability)
    if path is None:
        return code, entry.encode(), arguments
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
        part.write_bytes(entry.encode() + b"\n" + " ".join(arguments).encode() + b"\n" + code)
        part.replace(path)
    except OSError:
        # It is compiled again next time.
        pass
    return code, entry.encode(), arguments


class _Simulator:
    """Kernels as Python threads, on arrays in host memory."""

    capability, name = (0, 0), "Numba's simulator"
    shared_bytes = 1 << 20
    # Threads of a block: each is one of Python.
    threads = 4

    def __init__(self):
        self.words = np.zeros(_word_count(), np.int64)
        self.words_memory = Memory(self.words.ctypes.data, self.words.size, self.words)

    def launch(self, make, spec, threads, grid, block, shared, stream, arguments):
        function, types = _simulated(make, spec)
        values = [
            _seen(argument, kind[:-1]) if kind.endswith("*") else _numba.STORAGES[kind].type(argument)
            for kind, argument in zip(types, arguments, strict=True)
        ]
        function[grid, block, 0, shared](*values)

    def synchronize(self, stream):
        pass

    def hold(self, owners, stream):
        pass


@cache
def _simulated(make, spec):
    function, types = make(SimpleNamespace(**dict(spec)))
    return _numba.simulated_kernel(function), types


def _seen(memory, storage):
    """Memory as the 1-D array that kernels index."""
    dtype = _numba.STORAGES[storage]
    if memory.count == 0:
        return np.zeros(1, dtype)
    block = (ctypes.c_char * (memory.count * dtype.itemsize)).from_address(memory.address)
    return np.frombuffer(block, dtype)


def _word_count():
    from fastloss.cuda.totals import WORDS

    return WORDS


class _Device:
    """One GPU, through the driver."""

    def __init__(self, ordinal):
        from cuda.bindings import driver

        self.driver, self.ordinal = driver, ordinal
        self.device, self.name, *capability = _about_device(driver, ordinal)
        self.capability = tuple(capability)
        if self.capability < (8, 0):
            raise RuntimeError(f"{self.name}: compute capability {capability[0]}.{capability[1]}, expected 8.0 or later")
        self.context = _checked(driver.cuDevicePrimaryCtxRetain(self.device))
        attribute = driver.CUdevice_attribute
        self.shared_bytes = _checked(
            driver.cuDeviceGetAttribute(attribute.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, self.device)
        )
        self.threads = None
        self._held = deque()
        self._kernels = {}
        self._lock = threading.Lock()
        with self.current():
            # The host reads the error word without asking the device: it lies in its own memory.
            flags = driver.CU_MEMHOSTALLOC_PORTABLE | driver.CU_MEMHOSTALLOC_DEVICEMAP
            address = int(_checked(driver.cuMemHostAlloc(8 * _word_count(), flags)))
        self.words = np.frombuffer((ctypes.c_char * (8 * _word_count())).from_address(address), np.int64)
        self.words[:] = 0
        self.words_memory = Memory(address, self.words.size)

    @contextmanager
    def current(self):
        """Within the block this device is that of the thread."""
        pushed = int(_checked(self.driver.cuCtxGetCurrent())) != int(self.context)
        if pushed:
            _checked(self.driver.cuCtxPushCurrent(self.context))
        try:
            yield
        finally:
            if pushed:
                _checked(self.driver.cuCtxPopCurrent())

    def _kernel(self, make, spec, threads):
        key = make, spec
        found = self._kernels.get(key)
        if found is None:
            with self._lock:
                found = self._kernels.get(key) or self._load(make, spec, threads)
                self._kernels[key] = found
        return found

    def _load(self, make, spec, threads):
        driver = self.driver
        code, entry, arguments = _machine_code(make, spec, threads, self.capability)
        library = _checked(driver.cuLibraryLoadData(code, [], [], 0, [], [], 0))
        kernel = _checked(driver.cuLibraryGetKernel(library, entry))
        function = _checked(driver.cuKernelGetFunction(kernel))
        static = _checked(
            driver.cuFuncGetAttribute(driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, function)
        )
        most = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _checked(driver.cuFuncSetAttribute(function, most, self.shared_bytes - static))
        pointers = [kind.endswith("*") for kind in arguments]
        letters = ["Q" if p else _FORMATS[kind] for p, kind in zip(pointers, arguments, strict=True)]
        offsets = 8 * np.arange(len(arguments), dtype=np.uint64)
        return library, function, pointers, [x[0] for x in letters], "=" + "".join(letters), offsets

    def launch(self, make, spec, threads, grid, block, shared, stream, arguments):
        with self.current():
            _, function, pointers, letters, form, offsets = self._kernel(make, spec, threads)
            # A parameter beyond float32 is infinite there, as in C; struct would refuse it.
            values = [
                a.address if p else ctypes.c_float(a).value if f == "f" else a
                for p, f, a in zip(pointers, letters, arguments, strict=True)
            ]
            packed = np.frombuffer(bytearray(struct.pack(form, *values)), np.uint8)
            places = offsets + np.uint64(packed.ctypes.data)
            _checked(
                self.driver.cuLaunchKernel(function, grid, 1, 1, *block, 1, shared, stream, places.ctypes.data, 0)
            )

    def synchronize(self, stream):
        """Waits for a stream, or for all if that is None."""
        with self.current():
            _checked(self.driver.cuCtxSynchronize() if stream is None else self.driver.cuStreamSynchronize(stream))
            self._release()

    def hold(self, owners, stream):
        """Keeps objects alive until what was launched on a stream is done."""
        driver = self.driver
        with self.current():
            event = _checked(driver.cuEventCreate(int(driver.CUevent_flags.CU_EVENT_DISABLE_TIMING)))
            _checked(driver.cuEventRecord(event, stream))
            with self._lock:
                self._held.append((event, owners))
            self._release()

    def _release(self):
        """Lets go of what is done."""
        gone, done = [], int(self.driver.CUresult.CUDA_SUCCESS)
        with self._lock:
            while self._held and int(self.driver.cuEventQuery(self._held[0][0])[0]) == done:
                gone.append(self._held.popleft())
        # Outside of the lock: what goes may call fastloss.
        for event, _ in gone:
            self.driver.cuEventDestroy(event)


def _checked(answer):
    """What the driver returned after its error code."""
    code, *values = answer
    if int(code) != 0:
        raise RuntimeError(f"CUDA: {code.name}")
    return values[0] if len(values) == 1 else values


_devices, _devices_lock = {}, threading.Lock()


def device(ordinal):
    """The device of that number; under the simulator there is one."""
    found = _devices.get(ordinal)
    if found is None:
        # One alone: it has the words that errors are written to.
        with _devices_lock:
            found = _devices.get(ordinal) or (_Simulator() if _numba.SIMULATED else _Device(ordinal))
            _devices[ordinal] = found
    return found


def devices_in_use():
    """Those that something was computed on; others are left alone, as contexts take memory."""
    return list(_devices.values())


def device_of(address):
    """The number of the device that holds an address."""
    if _numba.SIMULATED:
        return 0
    # Not by cuda-bindings, some versions of which answer 0 for every device.
    ordinal, attribute = ctypes.c_int(0), 9  # CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL
    error = _driver_library().cuPointerGetAttribute(ctypes.byref(ordinal), attribute, ctypes.c_uint64(address))
    if error != 0:
        raise RuntimeError(f"CUDA: error {error} where the device of an address was asked for")
    return ordinal.value


@cache
def _driver_library():
    return ctypes.CDLL("nvcuda.dll" if os.name == "nt" else "libcuda.so.1")


def describe_devices():
    """A line for each device that the driver offers; none is started."""
    if _numba.SIMULATED:
        return [_Simulator.name]
    from cuda.bindings import driver

    _checked(driver.cuInit(0))
    lines = []
    for ordinal in range(int(_checked(driver.cuDeviceGetCount()))):
        _, name, major, minor = _about_device(driver, ordinal)
        lines.append(f"{name}, compute capability {major}.{minor}")
    return lines


def _about_device(driver, ordinal):
    """(handle, name, major and minor compute capability)"""
    found, attribute = _checked(driver.cuDeviceGet(ordinal)), driver.CUdevice_attribute
    name = _checked(driver.cuDeviceGetName(256, found)).split(b"\0")[0].decode()
    numbers = (
        attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
    )  # fmt: skip
    return found, name, *(_checked(driver.cuDeviceGetAttribute(number, found)) for number in numbers)
