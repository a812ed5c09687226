# SPDX-License-Identifier: BSD-3-Clause
"""The host's side of calls on a GPU, without one: arrays of all kinds are described, and kernels written down."""

import ctypes
import importlib.util
import os
from types import SimpleNamespace
from unittest import mock

import ml_dtypes
import numpy as np
import pytest

import fastloss.cuda
from cases import CASES

if importlib.util.find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from cuda_kernels import FakeArray, aligned, arguments_of, recording
from fastloss import _kernels
from fastloss.cuda import arrays, launch

DTYPES = ("float32", "float64", "float16", "bool", *(f"{s}int{n}" for s in ("", "u") for n in (8, 16, 32, 64)))


class Exported:
    """What has DLPack alone, on a device by its own account."""

    def __init__(self, array, device=2):
        self.array, self.device = array, device

    def __dlpack_device__(self):
        return self.device, 0

    def __dlpack__(self, stream=None):
        # The default stream, which the kernels run on.
        assert stream == 1
        return self.array.__dlpack__()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("make", [FakeArray, Exported])
def test_dtypes_shapes_and_strides(dtype, make):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    with recording():
        for view in (array, array[:, ::2], array.transpose(2, 0, 1), array[:0], array[0, 0, 0:1]):
            found = arrays.array("y_pred", make(view))
            assert (found.storage, found.view.shape) == (dtype, view.shape)
            if view.size:
                assert found.view.ctypes.data == view.ctypes.data
                assert found.view.strides == view.strides


def test_bfloat16():
    with recording():
        assert arrays.array("y_pred", FakeArray(np.zeros(3, ml_dtypes.bfloat16))).storage == "bfloat16"


def test_libraries_are_found_by_what_types_derive_from():
    class Tensor(FakeArray):
        pass

    Tensor.__module__ = "torch._tensor"
    derived = type("Mask", (Tensor,), {"device": SimpleNamespace(index=3)})
    with recording():
        found = arrays.array("y_pred", derived(np.zeros(3, np.float32)))
    assert (found.library, found.device) == ("torch", 3)
    with recording():
        assert arrays.array("y_pred", FakeArray(np.zeros(3, np.float32))).library == "other"


def test_what_has_no_interface_for_its_dtype():
    """Libraries raise errors of their own where a dtype has none: DLPack is asked then."""
    for error in (AttributeError, KeyError, RuntimeError, TypeError):

        class Moody(Exported):
            @property
            def __cuda_array_interface__(self, error=error):
                raise error("no such dtype")

        with recording():
            assert arrays.array("y_pred", Moody(np.zeros(3, np.float32))).storage == "float32"


def test_foreign_arrays_are_held_until_the_kernels_are_done():
    case = first_of("POINTWISE_MEAN")
    y, p = arguments_of(case, (64, 256), np.float32)
    with recording() as recorder:
        case.make()(y, p)
    assert recorder.held == [[y, p]]


def test_elements_that_begin_between_two():
    view = np.zeros(17, np.uint8)[1:].view(np.float32)
    with recording(), pytest.raises(ValueError, match=r"^y_pred: does not begin at a multiple of 4 bytes"):
        arrays.array("y_pred", FakeArray(view))


def test_what_lies_in_memory():
    """Types of arrays have the attribute wherever their arrays lie."""

    class Both(Exported, FakeArray):
        def __init__(self, array, device):
            FakeArray.__init__(self, array)
            self.device = device

    for value in (np.zeros(3), np.float32(1), [1.0], 1.0, Exported(np.zeros(3), device=1), Both(np.zeros(3), device=1)):
        assert not arrays.is_array(value)
    assert arrays.is_array(Both(np.zeros(3), device=2))


def test_complex_numbers():
    with recording(), pytest.raises(TypeError, match=r"^y_pred: dtype <c16 is not supported"):
        arrays.array("y_pred", FakeArray(np.zeros(3, np.complex128)))


def first_of(kind):
    return next(case for case in CASES.values() if _kernels.registry()[case.name]["kind"] == kind)


def kernels_of(call):
    with recording() as recorder:
        call()
    return [make.__name__ for make, *_ in recorder.launches]


def test_a_call_is_two_kernels():
    for kind in ("POINTWISE_MEAN", "SPARSE_SOFTMAX", "SOFTMAX"):
        case = first_of(kind)
        y, p = arguments_of(case, (64, 256), np.float32)
        for call in (case.make(), case.make().value_and_grad):
            own, last = kernels_of(lambda call=call, y=y, p=p: call(y, p))
            assert own in ("flat", "rows")
            assert last == "finish"


def test_weights_take_two_more():
    case = first_of("POINTWISE_MEAN")
    y, p = arguments_of(case, (64, 256), np.float32)
    found = kernels_of(lambda: case.make()(y, p, aligned((64,), np.float32)))
    assert found == ["weigh", "divide", "by_rows", "finish"]
    assert kernels_of(lambda: case.make()(y, p, 2.5)) == found


def test_strided_arrays_are_gathered():
    case = first_of("POINTWISE_MEAN")
    y, p = aligned((64, 8), np.float32), FakeArray(np.zeros((64, 16), np.float32)[:, ::2])
    out = FakeArray(np.zeros((8, 64), np.float32).T)
    assert kernels_of(lambda: case.make()(y, p)) == ["gather", "flat", "finish"]
    assert kernels_of(lambda: case.make().value_and_grad(y, p, out=out)) == ["gather", "flat", "finish", "gather"]


SPLIT = {
    "SPARSE_SOFTMAX": ["parts", "rows", "finish"],
    "ROW": ["parts", "rows", "finish"],
    "ROW_MAXIMUM": ["parts", "rows", "finish"],
    "SOFTMAX": ["rows", "rows", "rows", "rows", "finish"],
    "NORMALIZE": ["rows", "rows", "rows", "finish"],
    "POINTWISE_MEAN": ["by_rows", "losses_of_parts", "finish"],
}


@pytest.mark.parametrize("kind", SPLIT)
def test_few_long_rows_are_split(kind):
    case = first_of(kind)
    y, p = arguments_of(case, (4, 40000), np.float32)
    loss = case.make(reduction=None)
    with recording() as recorder:
        loss.value_and_grad(y, p)
    assert [make.__name__ for make, *_ in recorder.launches] == SPLIT[kind]
    assert all(grid == 12 for make, _, _, grid, *_ in recorder.launches if make.__name__ in ("parts", "rows", "by_rows"))
    if kind == "SPARSE_SOFTMAX":
        # Parts would read what others have written.
        assert kernels_of(lambda: loss.value_and_grad(y, p, out=p)) == ["rows", "finish"]
    with recording() as recorder:
        loss.value_and_grad(*arguments_of(case, (400, 40000), np.float32))
    assert "parts" not in [make.__name__ for make, *_ in recorder.launches]


def test_without_a_device():
    reason = fastloss.cuda.reason()
    if reason is None:
        pytest.skip("there is a device")
    case = first_of("POINTWISE_MEAN")
    y, p = arguments_of(case, (4, 8), np.float32)
    with pytest.raises(RuntimeError) as error:
        case.make()(y, p)
    assert str(error.value) == f"y_pred: an array on a GPU, but {reason}"
    assert "\n" not in str(error.value)
    assert fastloss.cuda.describe() == f"none: {reason}"


class FakeDriver:
    """What the driver would answer for one device; launches are written down with their arguments as 64-bit words."""

    def __init__(self):
        from cuda.bindings import driver

        self.real, self.launches, self.contexts, self.kept, self.destroyed = driver, [], [], [], []
        self.count = 0  # arguments of the kernel
        self.done = driver.CUresult.CUDA_SUCCESS
        self.pending = driver.CUresult.CUDA_ERROR_NOT_READY
        self.queries = self.done

    def __getattr__(self, name):
        if not name.startswith("cu"):
            return getattr(self.real, name)
        fixed = {
            "cuDeviceGet": (0,), "cuDeviceGetName": (b"a fake\0\0",), "cuDevicePrimaryCtxRetain": (7,),
            "cuCtxGetCurrent": (self.contexts[-1] if self.contexts else 0,), "cuLibraryLoadData": (1,),
            "cuLibraryGetKernel": (2,), "cuKernelGetFunction": (3,), "cuFuncGetAttribute": (1024,),
            "cuEventCreate": (len(self.destroyed),),
        }  # fmt: skip
        return lambda *arguments: (self.done, *fixed.get(name, ()))

    def cuDeviceGetAttribute(self, attribute, device):
        kinds = self.real.CUdevice_attribute
        numbers = {
            kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: 9, kinds.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: 0,
            kinds.CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: 227 * 1024,
        }  # fmt: skip
        return self.done, numbers[attribute]

    def cuMemHostAlloc(self, size, flags):
        self.kept.append(np.zeros(size, np.uint8))
        return self.done, self.kept[-1].ctypes.data

    def cuCtxPushCurrent(self, context):
        self.contexts.append(context)
        return (self.done,)

    def cuCtxPopCurrent(self):
        return self.done, self.contexts.pop()

    def cuEventQuery(self, event):
        return (self.queries,)

    def cuEventDestroy(self, event):
        self.destroyed.append(event)
        return (self.done,)

    def cuLaunchKernel(self, function, x, y, z, bx, by, bz, shared, stream, parameters, extra):
        assert self.contexts == [7]
        addresses = (ctypes.c_uint64 * self.count).from_address(parameters)
        words = [ctypes.c_uint64.from_address(address).value for address in addresses]
        self.launches.append(((x, y, z), (bx, by, bz), shared, stream, words))
        return (self.done,)


def test_the_way_to_the_driver(monkeypatch, tmp_path):
    """Contexts, machine code, the memory of the arguments: all that the recorder stands for above."""
    monkeypatch.setenv("FASTLOSS_CACHE_DIR", str(tmp_path))
    driver, case = FakeDriver(), first_of("POINTWISE_MEAN")
    y, p = arguments_of(case, (64, 256), np.float32)
    with mock.patch("cuda.bindings.driver", driver):
        device = launch._Device(0)
    assert (device.name, device.capability) == ("a fake", (9, 0))
    with recording() as recorder:
        case.make()(y, p)
    for make, spec, threads, grid, block, shared in recorder.launches:
        kinds = make(SimpleNamespace(**dict(spec)))[1]
        arguments = [launch.Memory(1000 + k, 1) if kind.endswith("*") else k for k, kind in enumerate(kinds)]
        driver.count = len(kinds)
        device.launch(make, spec, threads, grid, block, shared, 5, arguments)
        assert not driver.contexts
        sizes, blocks, dynamic, stream, words = driver.launches[-1]
        assert (sizes, blocks, dynamic, stream) == ((grid, 1, 1), (*block, 1), shared, 5)
        for k, (kind, word) in enumerate(zip(kinds, words, strict=True)):
            if kind.endswith("*"):
                assert word == 1000 + k
            elif kind == "int64":
                assert word == k
            elif kind == "float32":
                assert np.uint32(word & 0xFFFFFFFF).view(np.float32) == k
            elif kind == "float64":
                assert np.uint64(word).view(np.float64) == k
    # Another process compiles nothing.
    assert len(list(tmp_path.glob("*.cubin"))) == len(recorder.launches)
    with mock.patch("cuda.bindings.driver", driver), mock.patch.object(launch, "compile_to_ptx", side_effect=AssertionError):
        again = launch._Device(0)
        for make, spec, threads, *_ in recorder.launches:
            again._kernel(make, spec, threads)
    # What is held goes when the device has come that far.
    driver.queries = driver.pending
    device.hold(["first"], 5)
    device.hold(["second"], 5)
    assert not driver.destroyed
    driver.queries = driver.done
    device.hold(["third"], 5)
    assert len(driver.destroyed) == 3
    device.synchronize(None)
    device.synchronize(5)
