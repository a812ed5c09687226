# SPDX-License-Identifier: BSD-3-Clause
"""The host's side of calls on a GPU, without one: arrays of all kinds are described, and kernels written down."""

import importlib.util
import os
from types import SimpleNamespace

import ml_dtypes
import numpy as np
import pytest

import fastloss.cuda
from cases import CASES

if importlib.util.find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from cuda_kernels import FakeArray, aligned, arguments_of, recording
from fastloss import _kernels
from fastloss.cuda import arrays

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
    assert kernels_of(lambda: case.make().value_and_grad(y, p, out=out)) == ["gather", "flat", "gather", "finish"]


def test_few_long_rows_are_split():
    case = first_of("SPARSE_SOFTMAX")
    y, p = arguments_of(case, (4, 40000), np.float32)
    assert kernels_of(lambda: case.make().value_and_grad(y, p)) == ["parts", "rows", "finish"]
    # Parts would read what others have written.
    assert kernels_of(lambda: case.make().value_and_grad(y, p, out=p)) == ["rows", "finish"]


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
