# SPDX-License-Identifier: BSD-3-Clause
"""Losses of arrays on a GPU: against the exact results, and against those of the same arrays in memory.

    python -m pytest tests --backend cuda         # on a GPU, with the arrays of every library that is installed
    python -m pytest tests --backend simulator    # in Numba's simulator, on small arrays

Otherwise none of this is collected; test_cuda_simulator.py runs the second.
"""

import functools

import ml_dtypes
import numpy as np
import pytest

import fastloss as fl
import fastloss.cuda
from cases import CASES, STRUCTURED, VARIANTS
from exact import assert_close, evaluate_elements, evaluate_rows, pack, pack_floats
from table import Sample

FLOATS = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
FLT_MAX = float(np.finfo(np.float32).max)
REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight", "none")


class Numba:
    """Arrays of Numba."""

    def __init__(self):
        from numba import cuda

        self.cuda = cuda

    def put(self, array):
        array = np.asarray(array)
        if array.dtype != ml_dtypes.bfloat16 or fastloss.cuda.describe() == "Numba's simulator":
            return self.cuda.to_device(array)
        # Numba copies no dtype that buffers have no letter for.
        bits = self.cuda.to_device(np.ascontiguousarray(array).view(np.uint16))
        return type(bits)(array.shape, bits.strides, array.dtype, gpu_data=bits.gpu_data)

    def get(self, array):
        if array.dtype != ml_dtypes.bfloat16 or fastloss.cuda.describe() == "Numba's simulator":
            return array.copy_to_host()
        bits = type(array)(array.shape, array.strides, np.dtype(np.uint16), gpu_data=array.gpu_data)
        return bits.copy_to_host().view(ml_dtypes.bfloat16)


class CuPy:
    """Arrays of CuPy, which has no bfloat16."""

    def __init__(self):
        import cupy

        self.cupy = cupy

    def put(self, array):
        if np.asarray(array).dtype == ml_dtypes.bfloat16:
            pytest.skip("CuPy has no bfloat16")
        return self.cupy.asarray(array)

    def get(self, array):
        return array.get()


class Torch:
    """Tensors of PyTorch, on a stream other than the default one."""

    def __init__(self):
        import torch

        self.torch = torch
        torch.cuda.set_stream(torch.cuda.Stream())

    def put(self, array):
        array = np.ascontiguousarray(array)
        if array.dtype == ml_dtypes.bfloat16:
            return self.torch.from_numpy(array.view(np.int16)).cuda().view(self.torch.bfloat16)
        return self.torch.from_numpy(array.copy()).cuda()

    def get(self, array):
        if array.dtype == self.torch.bfloat16:
            return array.view(self.torch.int16).cpu().numpy().view(ml_dtypes.bfloat16)
        return array.cpu().numpy()


LIBRARIES = {"numba": Numba, "cupy": CuPy, "torch": Torch}


@pytest.fixture(scope="session")
def simulated(request):
    return request.config.getoption("backend") == "simulator"


def pytest_generate_tests(metafunc):
    if "on" in metafunc.fixturenames:
        # The simulator has Numba's arrays alone.
        libraries = ["numba"] if metafunc.config.getoption("backend") == "simulator" else list(LIBRARIES)
        metafunc.parametrize("on", libraries, indirect=True, scope="session")


@pytest.fixture(scope="session")
def on(request):
    """What moves arrays to the device and back."""
    missing = fastloss.cuda.reason()
    if missing:
        pytest.skip(f"no GPU to test on: {missing}")
    if request.param != "numba":
        pytest.importorskip(request.param)
    return LIBRARIES[request.param]()


@pytest.fixture(autouse=True)
def no_error_is_left():
    """An error on the device that a test does not ask for fails it."""
    yield
    if fastloss.cuda.is_available():
        fastloss.cuda.check()


def compare(got, expected, rtol):
    """Results of a device and of memory, in the same dtype and shape; tiny differences of large terms aside."""
    got, expected = np.asarray(got), np.asarray(expected)
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    got, expected = got.astype(np.float64), expected.astype(np.float64)
    scale = np.max(np.abs(expected[np.isfinite(expected)]), initial=0.0)
    np.testing.assert_allclose(got, expected, rtol=rtol, atol=rtol * scale)


def tolerance(dtype):
    return {"float64": 1e-13, "float32": 4e-6, "float16": 2e-3, "bfloat16": 2e-2}[np.dtype(dtype).name]


def few(rng, sample, exact_rows, simulated):
    """The sample, or a few of its rows."""
    rows = len(sample.y_pred)
    if not simulated or rows <= exact_rows:
        return sample
    chosen = np.sort(rng.choice(rows, exact_rows, replace=False))
    return Sample(sample.y_true[chosen], sample.y_pred[chosen], sample.strict)


@functools.cache
def samples(name, index, dtype, seed, simulated):
    """[(Sample, {output: exact})], fewer and smaller ones for the simulator."""
    case, rng, out = CASES[name], np.random.default_rng(seed), []
    evaluate = evaluate_elements if case.elementwise else evaluate_rows
    for sample in case.samples(np.random.default_rng(seed), np.dtype(dtype)):
        if simulated and not case.elementwise and sample.y_pred.shape[-1] not in (1, 2, 7, 17):
            continue
        sample = few(rng, sample, 12 if case.elementwise else 3, simulated)
        exact = evaluate(case, case.parameters[index], sample.y_true, sample.y_pred)
        out.append((sample, {key: pack(value) for key, value in exact.items()}))
    return out


def test_values_and_derivatives(on, variant, dtype, seed, simulated):
    """Against the exact results."""
    case, index = variant
    loss = case.make(case.parameters[index], reduction=None)
    for sample, exact in samples(case.name, index, dtype, seed, simulated):
        y, p = sample.y_true, sample.y_pred
        if case.elementwise:
            y, p = y[:, None], p[:, None]
            exact = {name: x if name == "value" else x[:, None] for name, x in exact.items()}
        value, gradient = loss.value_and_grad(on.put(y), on.put(p))
        results = {"value": on.get(value), "gradient": on.get(gradient)}
        if case.hessian:
            results["hessian"] = on.get(loss.grad_and_hess(on.put(y), on.put(p))[1])
        for name, result in results.items():
            assert result.dtype == dtype
            assert_close(
                result, exact[name], dtype, 2 * case.bound_of_sum(name), case.blur, sample.strict,
                y_true=y if name == "value" else case.shown(y, p.shape), y_pred=p,
            )  # fmt: skip


def special_cases():
    for case in CASES.values():
        for i, special in enumerate(case.specials):
            yield pytest.param(case, special, id=f"{case.name}-{i}")


@pytest.mark.parametrize(("case", "special"), list(special_cases()))
def test_special_values(on, case, special, dtype, rng, simulated):
    """inf and NaN give what the mathematics says, and leave the rows around them alone."""
    p_row = np.atleast_1d(np.asarray(special.y_pred, dtype))
    if simulated and p_row.size > 100:
        pytest.skip("long rows take long in the simulator")
    y, p = case.draw(rng, (3, p_row.size))
    y, p = (y if case.sparse else y.astype(dtype)), p.astype(dtype)
    loss = case.make(special.parameters, reduction=None)
    before = [on.get(x) for x in loss.value_and_grad(on.put(y), on.put(p))]
    y[1], p[1] = special.y_true if case.lacks_axis else np.asarray(special.y_true, dtype), p_row
    value, gradient = (on.get(x) for x in loss.value_and_grad(on.put(y), on.put(p)))
    results = [("value", value, special.value), ("gradient", gradient, special.gradient)]
    if case.hessian:
        results.append(("hessian", on.get(loss.grad_and_hess(on.put(y), on.put(p))[1]), special.hessian))
    for name, got, expected in results:
        if expected is not None:
            expected = pack_floats(np.broadcast_to(expected, got[1].shape))
            assert_close(got[1], expected, dtype, case.bound(name), y_true=special.y_true, y_pred=p_row)
    for got, expected in zip((value, gradient), before, strict=True):
        np.testing.assert_array_equal(got[[0, 2]], expected[[0, 2]])


# Against the same call on arrays in memory


def draw(case, rng, shape, dtype, index=0):
    y, p = case.draw(rng, shape)
    return (y if case.sparse else y.astype(FLOATS[dtype])), p.astype(FLOATS[dtype])


def both(on, call, *arrays):
    """What a call returns for arrays in memory, and for the same on the device."""
    expected = call(*arrays)
    got = call(*(on.put(x) if isinstance(x, np.ndarray) and x.ndim else x for x in arrays))
    if isinstance(expected, tuple):
        return [on.get(x) for x in got], list(expected)
    return [on.get(got)], [expected]


def weightings(rng, rows):
    """(sample_weight, mask)"""
    weight = rng.integers(0, 5, rows) / 2
    mask = rng.random(rows) < 0.7
    return ((None, None), (weight, None), (2.5, None), (None, mask), (weight.astype(np.float32), mask), (weight, True))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_reductions_and_weights(on, case, dtype, rng, reduction):
    y, p = draw(case, rng, (5, 2 if case.columns else 3), dtype)
    loss = case.make(reduction=reduction)
    for weight, mask in weightings(rng, 5)[:: 1 if reduction == REDUCTIONS[0] else 2]:
        got, expected = both(on, loss.value_and_grad, y, p, weight, mask)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance(dtype))
        got, expected = both(on, loss, y, p, weight, mask)
        compare(got[0], expected[0], tolerance(dtype))


@pytest.mark.parametrize("storage", FLOATS)
def test_storages(on, case, rng, storage):
    y, p = draw(case, rng, (4, 2 if case.columns else 5), storage)
    got, expected = both(on, case.make().value_and_grad, y, p)
    # The value is the same to the digits of float32, the gradient to those of the storage.
    compare(got[0], expected[0], tolerance("float64" if storage == "float64" else "float32"))
    compare(got[1], expected[1], tolerance(storage))


LABELS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32", "float64", "float16", "bool")
SPARSE = [case for case in CASES.values() if case.sparse]


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("storage", LABELS)
def test_labels_of_every_width(on, case, rng, storage):
    y, p = draw(case, rng, (4, 3), "float32")
    y = (y % 2).astype(storage)
    got, expected = both(on, case.make().value_and_grad, y, p)
    for a, b in zip(got, expected, strict=True):
        compare(a, b, tolerance("float32"))


@pytest.mark.parametrize("case", [c for c in CASES.values() if not c.sparse], indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("storage", ["bool", "int8", "int64", "float64"])
def test_dense_labels_of_other_dtypes(on, case, rng, storage):
    y, p = draw(case, rng, (3, 2 if case.columns else 4), "float32")
    y = (np.abs(y) > 0.5).astype(storage)
    got, expected = both(on, case.make().value_and_grad, y, p)
    for a, b in zip(got, expected, strict=True):
        compare(a, b, tolerance("float32"))


OPTIONS = {
    "class_weight": [0.5, 2.0, 0.0, 1.0], "label_smoothing": 0.25, "ignore_class": 1, "pos_weight": [0.5, 2.0, 0.0, 1.0],
    "alpha": [0.5, 2.0, 0.0, 1.0],
}  # fmt: skip


@pytest.mark.parametrize("option", OPTIONS)
def test_options(on, case, dtype, rng, option):
    if option not in case.make().get_config():
        pytest.skip("not an argument of this loss")
    y, p = draw(case, rng, (5, 4), dtype)
    y[0] = 1 if case.sparse else np.eye(4)[1]
    try:
        loss = case.make({option: OPTIONS[option]}, reduction="mean_with_sample_weight")
    except (TypeError, ValueError):
        pytest.skip("not for a list")
    weight = rng.integers(1, 5, 5) / 2
    for arrays in ((y, p), (y, p, weight)):
        got, expected = both(on, loss.value_and_grad, *arrays)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance(dtype))
    if case.hessian:
        got, expected = both(on, loss.grad_and_hess, y, p, weight)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance(dtype))


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
def test_a_class_of_weight_0_hides_what_its_samples_hold(on, case, rng):
    if "class_weight" not in case.make().get_config():
        pytest.skip("no weights of classes")
    y, p = draw(case, rng, (4, 3), "float32")
    y[1], p[1] = 2, np.nan
    y[2], p[2, 2] = 2, 0.0
    got, expected = both(on, case.make(class_weight=[1.0, 2.0, 0.0]).value_and_grad, y, p)
    for a, b in zip(got, expected, strict=True):
        compare(a, b, tolerance("float32"))


def shapes(case):
    """Of y_pred, and the axis, where it is the user's choice."""
    if case.columns:
        return [((2,), None), ((2, 3, 2), None)]
    out = [((4,), None), ((3, 1), None), ((2, 3, 4), None), ((0, 3), None)]
    if case.has_axis:
        out += [((3, 4, 2), 0), ((3, 4, 2), 1)]
    if not case.sparse:
        out.append(((3, 0), None))
    return out


def test_shapes(on, case, rng):
    for shape, axis in shapes(case):
        if 0 in shape:
            y, p = np.zeros(shape[:-1] if case.lacks_axis else shape, np.int64), np.zeros(shape, np.float32)
        else:
            y, p = draw(case, rng, shape if axis is None else (*np.delete(shape, axis), shape[axis]), "float32")
        loss = case.make({} if axis is None else {"axis": axis})
        if axis is not None:
            p = np.moveaxis(p, -1, axis)
            y = y if case.sparse else np.moveaxis(y, -1, axis)
        y, p = np.ascontiguousarray(y), np.ascontiguousarray(p)
        if shape == (4,) and case.sparse:
            continue
        got, expected = both(on, loss.value_and_grad, y, p)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance("float32"))


def test_samples_of_several_axes(on, case, rng):
    """All elements of an image, or of the batch."""
    if not case.elementwise or "axis" not in case.make().get_config():
        pytest.skip("no axis")
    y, p = draw(case, rng, (2, 3, 2), "float32")
    for axis in (None, (1, 2), (0, 2)):
        for reduction in REDUCTIONS[::3]:
            got, expected = both(on, case.make({"axis": axis}, reduction=reduction).value_and_grad, y, p)
            for a, b in zip(got, expected, strict=True):
                compare(a, b, tolerance("float32"))


def test_broadcast_weights(on, rng):
    case = next(case for case in CASES.values() if case.elementwise)
    y, p = draw(case, rng, (2, 3, 4), "float32")
    for shape in ((2,), (2, 3), (2, 1), (1, 3), (2, 3, 1)):
        weight = rng.integers(0, 5, shape) / 2
        got, expected = both(on, case.make().value_and_grad, y, p, weight, weight > 0.5)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance("float32"))


# Where arrays lie


def strided(on, array):
    """The same numbers every second element along the last axis."""
    wide = np.zeros((*array.shape[:-1], 2 * array.shape[-1]), array.dtype)
    wide[..., ::2] = array
    return on.put(wide)[..., ::2]


def test_strided_arrays(on, case, rng, simulated):
    if simulated:
        pytest.skip("the simulator's arrays are indexed as NumPy's are: test_transposed_arrays")
    y, p = draw(case, rng, (4, 2 if case.columns else 6), "float32")
    loss = case.make(reduction=None)
    expected = loss.value_and_grad(y, p)
    y = on.put(y) if case.lacks_axis else strided(on, y)
    for got, wanted in zip(loss.value_and_grad(y, strided(on, p)), expected, strict=True):
        compare(on.get(got), wanted, tolerance("float32"))


def test_out(on, case, rng):
    y, p = draw(case, rng, (4, 2 if case.columns else 3), "float32")
    loss = case.make()
    expected = loss.value_and_grad(y, p)[1]
    out = on.put(np.zeros_like(p))
    assert loss.value_and_grad(on.put(y), on.put(p), out=out)[1] is out
    compare(on.get(out), expected, tolerance("float32"))
    # In place
    given = on.put(p)
    assert loss.value_and_grad(on.put(y), given, out=given)[1] is given
    compare(on.get(given), expected, tolerance("float32"))
    for wrong, error in ((np.zeros_like(p), TypeError), (on.put(np.zeros((4, 9), np.float32)), ValueError),
                         (on.put(np.zeros(p.shape, np.float64)), TypeError)):  # fmt: skip
        with pytest.raises(error, match=r"^out: "):
            loss.value_and_grad(on.put(y), on.put(p), out=wrong)


def test_long_rows_in_place(on, case, rng, simulated):
    """Threads that share a row have read of it what they need before others overwrite it."""
    if case.columns:
        pytest.skip("has short rows alone")
    y, p = draw(case, rng, (4, 40 if simulated else 5000), "float32")
    loss = case.make()
    expected = loss.value_and_grad(y, p)
    given = on.put(p)
    value, gradient = loss.value_and_grad(on.put(y), given, out=given)
    assert gradient is given
    compare(on.get(value), expected[0], tolerance("float32"))
    compare(on.get(given), expected[1], tolerance("float32"))


@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "none"])
def test_few_long_rows(on, case, dtype, rng, reduction, simulated):
    """They are shared by several blocks."""
    if case.columns:
        pytest.skip("has short rows alone")
    y, p = draw(case, rng, (2, 45 if simulated else 100_003), dtype)
    loss = case.make(reduction=reduction)
    for weight in (None, np.array([0.5, 2.0]), np.array([0.0, 2.0])):
        got, expected = both(on, loss.value_and_grad, y, p, weight)
        got += both(on, loss, y, p, weight)[0]
        for a, b in zip(got, [*expected, expected[0]], strict=True):
            compare(a, b, tolerance(dtype))
    if case.hessian and reduction == "none":
        got, expected = both(on, loss.grad_and_hess, y, p)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance(dtype))
    spoilt = p.copy()
    spoilt[1, -2] = np.nan
    got, expected = both(on, loss.value_and_grad, y, spoilt)
    for a, b in zip(got, expected, strict=True):
        compare(a, b, tolerance(dtype))


def test_functions(on, case, rng):
    y, p = draw(case, rng, (4, 2 if case.columns else 3), "float32")
    got, expected = both(on, case.function(), y, p)
    compare(got[0], expected[0], tolerance("float32"))


def test_arrays_in_memory_stay_there(on, case, rng):
    y, p = draw(case, rng, (4, 2 if case.columns else 3), "float32")
    with pytest.raises(TypeError, match=r"^y_true: ndarray in memory beside a y_pred on a GPU"):
        case.make()(y, on.put(p))
    with pytest.raises(TypeError, match=r"^y_true: \w+ on a GPU, expected an array in memory"):
        case.make()(on.put(y), p)
    with pytest.raises(TypeError, match=r"^sample_weight: ndarray in memory beside"):
        case.make()(on.put(y), on.put(p), np.ones(4))


# Errors are those of arrays in memory, when they are asked for.


def raised(call):
    with pytest.raises(ValueError) as found:  # noqa: PT011 (the message is compared)
        call()
    return found.value


def bad_elements(case, y, p):
    """Arguments with elements out of range, near the end of the last row."""
    if case.sparse:
        wrong = y.copy()
        wrong[-1] = p.shape[-1]
        yield wrong, p
    for name, (low, high) in (("y_true", case.true_bounds), ("y_pred", case.pred_bounds)):
        bad = low - 1 if low > -np.inf else high + 1 if high < FLT_MAX else None
        if bad is not None and not (case.sparse and name == "y_true"):
            wrong = (y if name == "y_true" else p).copy()
            wrong[-1, -2] = bad
            yield (wrong, p) if name == "y_true" else (y, wrong)


@pytest.mark.parametrize("rows", [2, 5])
def test_errors_of_long_rows(on, case, rng, rows, simulated):
    """Also where they are shared by several blocks."""
    if case.columns:
        pytest.skip("has short rows alone")
    y, p = draw(case, rng, (rows, 45 if simulated else 100_003), "float32")
    for arrays in bad_elements(case, y, p):
        for loss in (case.make(), case.make(reduction=None)):
            expected = raised(lambda arrays=arrays, loss=loss: loss.value_and_grad(*arrays))

            def call(arrays=arrays, loss=loss):
                loss.value_and_grad(*(on.put(x) for x in arrays))
                fastloss.cuda.check()

            assert str(raised(call)) == str(expected)


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("label", [-1, 3, 2**40, -(2**62)])
def test_labels_out_of_range(on, case, rng, label):
    y, p = draw(case, rng, (2, 4, 3), "float32")
    y[1, 2] = label
    expected = raised(lambda: case.make()(y, p))
    for call in (case.make(), case.make(reduction=None).value_and_grad):
        call(on.put(y), on.put(p))
        got = raised(fastloss.cuda.check)
        assert (str(got), got.index, got.value) == (str(expected), expected.index, expected.value)
    value = case.make()(on.put(y), on.put(p))
    if isinstance(on, Numba):
        with pytest.raises(fl.InputError, match=r"^y_true: label"):
            on.get(value)
    assert np.isnan(on.get(value))
    if not isinstance(on, Numba):
        with pytest.raises(fl.InputError, match=r"^y_true: label"):
            fastloss.cuda.check(value)
    # A masked sample may have any label.
    mask = np.ones((2, 4), bool)
    mask[1, 2] = False
    got, wanted = both(on, case.make().value_and_grad, y, p, None, mask)
    for a, b in zip(got, wanted, strict=True):
        compare(a, b, tolerance("float32"))


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
def test_labels_that_are_not_looked_at(on, case, rng):
    y, p = draw(case, rng, (4, 3), "float32")
    y[2] = 7
    fastloss.cuda.set_check_labels(False)
    try:
        assert np.isnan(on.get(case.make()(on.put(y), on.put(p))))
        losses, gradient = (on.get(x) for x in case.make(reduction=None).value_and_grad(on.put(y), on.put(p)))
    finally:
        fastloss.cuda.set_check_labels(True)
    fastloss.cuda.check()
    assert np.isnan(losses).tolist() == [False, False, True, False]
    assert np.isnan(gradient).any(axis=-1).tolist() == [False, False, True, False]


def test_fractional_labels(on, rng):
    case = SPARSE[0]
    y, p = draw(case, rng, (4, 3), "float32")
    y = y.astype(np.float32)
    y[1] = 0.5
    case.make()(on.put(y), on.put(p))
    assert str(raised(fastloss.cuda.check)) == str(raised(lambda: case.make()(y, p)))


def test_wrong_weights(on, case, rng):
    y, p = draw(case, rng, (4, 2 if case.columns else 3), "float32")
    weight = np.ones(4, np.float32)
    weight[2] = np.nan
    case.make()(on.put(y), on.put(p), on.put(weight))
    assert str(raised(fastloss.cuda.check)) == str(raised(lambda: case.make()(y, p, weight)))


def test_wrong_masks(on, rng):
    case = next(case for case in CASES.values() if case.elementwise)
    y, p = draw(case, rng, (4, 3), "float32")
    case.make()(on.put(y), on.put(p), None, on.put(np.array([0, 1, 2, 1])))
    with pytest.raises(fl.InputError, match=r"^mask: another number at index \(2,\), expected True, False, 0 or 1$"):
        fastloss.cuda.check()


def test_elements_out_of_bounds(on, case, rng):
    y, p = draw(case, rng, (3, 2 if case.columns else 4), "float32")
    for name, (low, _) in (("y_true", case.true_bounds), ("y_pred", case.pred_bounds)):
        if low == -np.inf or (name == "y_true" and case.sparse):
            continue
        y_bad, p_bad = y.copy(), p.copy()
        bad = y_bad if name == "y_true" else p_bad
        bad[(1,) * bad.ndim] = -0.25
        case.make()(on.put(y_bad), on.put(p_bad))
        expected = str(raised(lambda y=y_bad, p=p_bad: case.make()(y, p)))
        assert str(raised(fastloss.cuda.check)) == expected
        # The element is told of as it was.
        given = on.put(p_bad)
        case.make().value_and_grad(on.put(y_bad), given, out=given)
        assert str(raised(fastloss.cuda.check)) == expected


def test_shapes_that_do_not_fit(on, case, rng):
    y, p = draw(case, rng, (4, 2 if case.columns else 3), "float32")
    expected = raised(lambda: case.make()(y[:3], p))
    assert str(raised(lambda: case.make()(on.put(y[:3]), on.put(p)))) == str(expected)
    expected = raised(lambda: case.make()(y, p, np.ones(3)))
    assert str(raised(lambda: case.make()(on.put(y), on.put(p), on.put(np.ones(3))))) == str(expected)


def test_same_bits_again(on, variant, rng):
    case, index = variant
    y, p = draw(case, rng, (6, 2 if case.columns else 5), "float32")
    loss = case.make(case.parameters[index])
    first = [on.get(x) for x in loss.value_and_grad(on.put(y), on.put(p))]
    again = [on.get(x) for x in loss.value_and_grad(on.put(y), on.put(p))]
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


# Sizes that a GPU has use for


def large_shapes(case):
    if case.columns:
        return [(100_003, 2)]
    return [(100_003, 10), (3001, 1000), (67, 32000), (5, 200_001)]


def test_large_arrays(on, case, rng, simulated):
    """Several blocks, rows longer than what is kept on chip, rows that begin anywhere."""
    if simulated:
        pytest.skip("too large for the simulator")
    for shape in large_shapes(case):
        for storage in ("float32", "bfloat16"):
            y, p = draw(case, rng, shape, storage)
            got, expected = both(on, case.make().value_and_grad, y, p)
            compare(got[0], expected[0], 1e-5)
            compare(got[1], expected[1], tolerance(storage))


# Losses whose samples are more than a row


STRUCTURED_VARIANTS = [(name, i) for name, case in STRUCTURED.items() for i in range(len(case.parameters))]


@pytest.fixture(params=STRUCTURED.values(), ids=list(STRUCTURED))
def structured(request):
    return request.param


@pytest.mark.parametrize("variant", STRUCTURED_VARIANTS, ids=lambda v: f"{v[0]}-{v[1]}")
def test_structured_values_and_gradients(on, variant, dtype, rng, simulated):
    case, parameters = STRUCTURED[variant[0]], STRUCTURED[variant[0]].parameters[variant[1]]
    loss = case.make(parameters, reduction=None)
    for y, p in case.samples(rng, np.dtype(dtype)):
        if simulated and p.size > 200:
            continue
        got, expected = both(on, loss.value_and_grad, np.asarray(y), p)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance(dtype))


def test_structured_specials(on, structured, dtype, simulated):
    for special in structured.specials:
        y, p = np.asarray(special.y_true), np.asarray(special.y_pred, dtype)
        if simulated and p.size > 200:
            continue
        got, expected = both(on, structured.make(special.parameters, reduction=None).value_and_grad, y, p)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance(dtype))


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_structured_reductions_and_weights(on, structured, dtype, rng, reduction):
    y, p = structured.draw(rng, 4)
    p = p.astype(dtype)
    loss = structured.make(reduction=reduction)
    for weight, mask in weightings(rng, 4)[:: 1 if reduction == REDUCTIONS[0] else 3]:
        got, expected = both(on, loss.value_and_grad, y, p, weight, mask)
        for a, b in zip(got, expected, strict=True):
            compare(a, b, tolerance(dtype))
        got, expected = both(on, loss, y, p, weight, mask)
        compare(got[0], expected[0], tolerance(dtype))


@pytest.mark.parametrize("storage", FLOATS)
def test_structured_storages(on, structured, rng, storage):
    y, p = structured.draw(rng, 3)
    got, expected = both(on, structured.make().value_and_grad, y.astype("int16"), p.astype(FLOATS[storage]))
    compare(got[0], expected[0], tolerance("float64" if storage == "float64" else "float32"))
    compare(got[1], expected[1], tolerance(storage))


def test_structured_in_place(on, structured, rng):
    y, p = structured.draw(rng, 3)
    expected = structured.make().value_and_grad(y, p)[1]
    given = on.put(p)
    structured.make().value_and_grad(on.put(y), given, out=given)
    compare(on.get(given), expected, tolerance("float64"))


def test_structured_references(on, dtype, rng):
    for case in STRUCTURED.values():
        if case.independent:
            continue
        y, p = case.draw(rng, 4)
        labels, references = case.draw(rng, 3)
        arrays = [y, p.astype(dtype), labels, references.astype(dtype)]
        got, expected = both(on, lambda *a, case=case: case.function()(*a, remove_diagonal=False), *arrays)
        compare(got[0], expected[0], tolerance(dtype))


def test_structured_errors(on, structured):
    for refused in structured.refused:
        y, p = np.asarray(refused.y_true), np.asarray(refused.y_pred)
        if y.dtype.kind not in "biuf" or p.dtype.kind != "f":
            continue
        expected = raised(lambda y=y, p=p: structured.make()(y, p))

        def call(y=y, p=p):
            structured.make()(on.put(y), on.put(p))
            fastloss.cuda.check()

        assert str(raised(call)) == str(expected)


def test_every_kind_has_kernels():
    from fastloss import _kernels
    from fastloss.cuda import call

    assert {row["kind"] for row in _kernels.registry().values()} == set(call._RUNNERS)


def test_there_is_a_case_for_every_variant():
    assert {name for name, _ in VARIANTS} == set(CASES)
