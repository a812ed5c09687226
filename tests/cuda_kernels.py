# SPDX-License-Identifier: BSD-3-Clause
"""The kernels that calls on a GPU launch, found without one: the host's code runs, and what it launches is written down."""

from contextlib import contextmanager
from unittest import mock

import numpy as np

from fastloss.cuda import arrays, launch, totals

CAPABILITIES = ((8, 0), (9, 0), (10, 0))


class FakeArray:
    """What looks like an array on a device: its memory is the host's, and nobody reads it."""

    stream = 0

    def __init__(self, array):
        self.array = array
        typestr = "<V2" if array.dtype.name == "bfloat16" else array.dtype.str
        self.__dict__["interface"] = {
            "data": (array.ctypes.data, False), "shape": array.shape, "strides": array.strides, "typestr": typestr,
            "version": 3,
        }  # fmt: skip

    @property
    def __cuda_array_interface__(self):
        return self.interface


class Recorder:
    """A device that writes launches down: (maker, specification, threads at most, grid, block, bytes of shared memory)."""

    # That of a Hopper
    shared_bytes = 227 * 1024
    threads = None
    name = "a recorder"

    def __init__(self, capability):
        self.capability, self.launches, self.held = capability, [], []
        self.words = np.zeros(totals.WORDS, np.int64)
        self.words_memory = launch.Memory(self.words.ctypes.data, totals.WORDS, self.words)

    def launch(self, make, spec, threads, grid, block, shared, stream, arguments):
        self.launches.append((make, spec, threads, grid, block, shared))

    def synchronize(self, stream):
        pass

    def hold(self, owners, stream):
        self.held.append(owners)


def _empty(shape, storage, like):
    # 64 bytes more, to begin at a multiple of 16.
    dtype = arrays.STORAGES[storage]
    memory = np.empty(int(np.prod(shape)) * dtype.itemsize + 64, np.uint8)
    first = -memory.ctypes.data % 64
    view = memory[first : first + int(np.prod(shape)) * dtype.itemsize].view(dtype).reshape(shape)
    return arrays.Array(view, "other", storage, view, memory, 0)


def aligned(shape, dtype):
    """A fake array that begins at a multiple of 64 bytes."""
    memory = np.zeros(int(np.prod(shape)) * np.dtype(dtype).itemsize + 64, np.uint8)
    first = -memory.ctypes.data % 64
    return FakeArray(memory[first : first + int(np.prod(shape)) * np.dtype(dtype).itemsize].view(dtype).reshape(shape))


@contextmanager
def recording(capability=(9, 0)):
    """Within the block calls on fake arrays launch nothing, and are written down."""
    recorder = Recorder(capability)
    with (
        mock.patch.object(launch, "device", return_value=recorder),
        mock.patch.object(launch, "device_of", return_value=0),
        mock.patch.object(arrays, "empty", _empty),
        mock.patch.object(arrays, "scratch", return_value=(1 << 20, None)),
        mock.patch.object(arrays, "filled", lambda values, like: _empty(values.shape, "float64", like)),
        mock.patch("fastloss.cuda.reason", return_value=None),
    ):
        yield recorder


def arguments_of(case, shape, dtype):
    """(y_true, y_pred) of a case as fake arrays."""
    if not hasattr(case, "sparse"):
        y_true, y_pred = case.draw(np.random.default_rng(0), 4)
        return aligned(y_true.shape, np.int64), aligned(y_pred.shape, dtype)
    if case.sparse:
        return aligned(shape[:-1], np.int64), aligned(shape, dtype)
    return aligned(shape[:-1] if case.columns else shape, dtype), aligned(shape, dtype)
