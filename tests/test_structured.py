# SPDX-License-Identifier: BSD-3-Clause
"""What holds for the losses whose samples are more than a row: values, gradients, weights, layouts, errors."""

import functools
import math
import re

import ml_dtypes
import numpy as np
import pytest

import fastloss as fl
from cases import STRUCTURED
from exact import assert_close, numbers, pack, pack_floats
from fastloss import _kernels
from fastloss.cuda import elements
from fastloss.cuda.elements import ELEMENTS
from fastloss.reduction import NONE, code
from reference import mpf

REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight", None)


@pytest.fixture(params=STRUCTURED.values(), ids=lambda case: case.name)
def case(request):
    return request.param


VARIANTS = [
    pytest.param((case, i), id=f"{case.name}-{i}") for case in STRUCTURED.values() for i in range(len(case.parameters))
]


def objects(nested, shape):
    """Nested lists of Exact as a PACKED array."""
    array = np.empty(math.prod(shape), dtype=object)
    for _ in shape[1:]:
        nested = [x for inner in nested for x in inner]
    array[:] = [*nested]
    return pack(array.reshape(shape))


def evaluate(case, parameters, y_true, y_pred, weight=None):
    """PACKED values, and gradients of their weighted sum."""
    y_pred = np.asarray(y_pred)
    weight = [mpf(1)] * len(y_pred) if weight is None else [mpf(float(w)) for w in weight]
    values, gradients = case.reference(np.asarray(y_true).tolist(), numbers(y_pred), weight, **parameters)
    return objects(values, (len(y_pred),)), objects(gradients, y_pred.shape)


@functools.cache
def exact_samples(name, variant, dtype, seed):
    case = STRUCTURED[name]
    rng = np.random.default_rng(seed)
    return [(y, p, *evaluate(case, case.parameters[variant], y, p)) for y, p in case.samples(rng, np.dtype(dtype))]


def batch(case, seed, size, dtype="float64"):
    y_true, y_pred = case.draw(np.random.default_rng(seed), size)
    return y_true, y_pred.astype(dtype)


def outputs(loss, y_true, y_pred, **weights):
    return [loss(y_true, y_pred, **weights), *loss.value_and_grad(y_true, y_pred, **weights)]


def assert_same_bits(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert np.shape(a) == np.shape(e)
        np.testing.assert_array_equal(a, e)


# Values and gradients


@pytest.mark.parametrize("variant", VARIANTS)
def test_values_and_gradients(variant, dtype, isa, seed):
    case, index = variant
    parameters = case.parameters[index]
    for y, p, values, gradients in exact_samples(case.name, index, dtype, seed):
        # All is computed in float64: in float32 only the result is rounded.
        strict = dtype == "float32"
        value, gradient = case.make(parameters, reduction=None).value_and_grad(y, p)
        assert value.dtype == gradient.dtype == dtype
        assert_close(value, values, dtype, case.bound("value"), strict=strict)
        assert_close(case.function(parameters)(y, p), values, dtype, case.bound("value"), strict=strict)
        assert_close(gradient, gradients, dtype, case.bound("gradient"), strict=strict)
        _, gradient = case.make(parameters, reduction="sum").value_and_grad(y, p)
        assert_close(gradient, gradients, dtype, case.bound("gradient"), strict=strict)


def special_cases():
    for case in STRUCTURED.values():
        for i, special in enumerate(case.specials):
            yield pytest.param(case, special, id=f"{case.name}-{i}")


@pytest.mark.parametrize(("case", "special"), list(special_cases()))
def test_special_values(case, special, dtype, isa):
    y, p = np.asarray(special.y_true), np.asarray(special.y_pred, dtype)
    value, gradient = case.make(special.parameters, reduction=None).value_and_grad(y, p)
    expected = special.values
    if expected is None:
        expected, gradients = evaluate(case, special.parameters, y, p)
        assert_close(gradient, gradients, dtype, case.bound("gradient"))
    else:
        expected = pack_floats(expected)
    assert_close(value, expected, dtype, case.bound("value"))
    if special.gradient is not None:
        assert_close(gradient, pack_floats(special.gradient), dtype, case.bound("gradient"))
    assert gradient.shape == p.shape


def test_instruction_sets_with_fma_agree(case, dtype):
    sets = [name for name in _kernels.isas() if name in ("x86-64-v3", "x86-64-v4")]
    used, results = _kernels.get_isa(), []
    try:
        for name in sets:
            _kernels.set_isa(name)
            results.append(outputs(case.make(), *batch(case, 0, 41, dtype)))
    finally:
        _kernels.set_isa(used)
    for result in results[1:]:
        assert_same_bits(result, results[0])


# The element function, on the device


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_the_cuda_element(case, real, monkeypatch):
    if real is np.float32:
        functions = {name: getattr(np, name) for name in ("exp", "log1p")}
        monkeypatch.setattr(elements, "math", type("math", (), {**functions, "inf": math.inf}))
    row = _kernels.registry()[case.name]
    config = case.make().get_config()
    element = ELEMENTS[row["element"]]
    names = element.__code__.co_varnames[: element.__code__.co_argcount]
    own = [real(config[name]) for name in row["parameters"] if name in names]
    for inputs in case.element_inputs:
        inputs = [real(x) for x in inputs]
        result = np.atleast_1d(element(real, *inputs, *own))
        expected = case.element(*numbers(np.array(inputs)), *numbers(np.array(own)))
        assert result.dtype == real
        # Relative to the parameters' size: these are steps, and their differences cancel.
        scale = max(map(abs, own), default=1.0)
        np.testing.assert_allclose(result, [float(x) for x in expected], rtol=4e-6 if real is np.float32 else 1e-14,
                                   atol=scale * np.finfo(real).eps * (len(own) > 0))  # fmt: skip


# Weights, masks, reductions


def weightings(rng, size):
    eighths = rng.integers(1, 17, size) / 8
    zeros = eighths * (rng.random(size) < 0.6)
    some = rng.random(size) < 0.6
    return {
        "none": (None, None, np.ones(size)),
        "scalar": (0.375, None, np.full(size, 0.375)),
        "samples": (zeros, None, zeros),
        "column": (eighths[:, None].astype(np.float32), None, eighths),
        "integers": (rng.integers(0, 3, size), None, None),
        "mask": (None, some, some.astype(float)),
        "both": (-eighths, some.astype(np.int8), -eighths * some),
        "nothing": (None, np.zeros(size, bool), np.zeros(size)),
    }


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("kind", weightings(np.random.default_rng(0), 1))
def test_weights_masks_and_reductions(case, kind, reduction, dtype, seed):
    y, p = batch(case, seed, 13, dtype)
    weight, mask, full = weightings(np.random.default_rng(seed), 13)[kind]
    full = np.asarray(weight, float) if full is None else full
    counted = case.counted(y) & (np.ones(13, bool) if mask is None else mask.astype(bool))
    divisor = {
        "sum_over_batch_size": counted.sum(), "mean_with_sample_weight": (full * counted).sum(), "sum": 1, None: 1,
    }[reduction]  # fmt: skip
    scale = mpf(1) / mpf(float(divisor)) if divisor else mpf(0)
    values, gradients = evaluate(case, {}, y, p, full)
    loss = case.make(reduction=reduction)
    value, gradient = loss.value_and_grad(y, p, sample_weight=weight, mask=mask)
    np.testing.assert_array_equal(loss(y, p, sample_weight=weight, mask=mask), value)
    tolerance = {"float32": 2e-6, "float64": 1e-13}[dtype]
    expected = values["hi"] * full
    if reduction is not None:
        expected = expected.sum() * float(scale)
    np.testing.assert_allclose(value, expected, rtol=tolerance)
    for name in ("hi", "lo", "scale", "condition"):
        gradients[name] *= float(scale if name in ("hi", "lo") else abs(scale))
    assert_close(gradient, gradients, dtype, 2 * case.bound_of_sum("gradient"))


def test_hidden_samples(case):
    """A sample of weight 0, or masked, does not count; if samples are independent, NaN in it does not leak."""
    y, p = batch(case, 1, 9)
    keep = np.arange(9) != 4
    for weights in ({"sample_weight": keep.astype(float)}, {"mask": keep}):
        loss = case.make(reduction="sum")
        expected = outputs(loss, y, p, **weights)
        if case.independent:
            spoilt = p.copy()
            spoilt[4] = np.nan
            assert_same_bits(outputs(loss, y, spoilt, **weights), expected)
            np.testing.assert_array_equal(expected[2][4], 0)
        else:
            assert np.any(expected[2][4] != 0)


# Layouts and dtypes


def strided(array):
    big = np.zeros([2 * n + 1 for n in array.shape], array.dtype)
    view = big[tuple(slice(1, None, 2) for _ in array.shape)]
    view[...] = array
    return view


def misaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    raw[...] = array
    return raw


LAYOUTS = {
    "fortran": np.asfortranarray,
    "strided": strided,
    "reversed": lambda a: np.flip(np.flip(a).copy()),
    "misaligned": misaligned,
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "list": lambda a: a.tolist(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(case, dtype, layout):
    y, p = batch(case, 2, 23, dtype)
    loss = case.make(dtype=dtype)
    weight = np.arange(23) / 8
    expected = outputs(loss, y, p, sample_weight=weight)
    change = LAYOUTS[layout]
    got = outputs(loss, change(y), change(p), sample_weight=change(weight))
    assert got[2].dtype.newbyteorder("=") == (np.float64 if layout == "list" else dtype)
    got[2] = got[2].astype(dtype)
    assert_same_bits(got, expected)


@pytest.mark.parametrize("layout", ["plain", "in place", "fortran", "strided", "misaligned", "swapped", "overlap"])
def test_out(case, dtype, layout):
    y, p = batch(case, 3, 21, dtype)
    loss = case.make()
    value, expected = loss.value_and_grad(y, p)
    if layout == "in place":
        out = p
    elif layout == "overlap":
        both = np.zeros((len(p) + 1, *p.shape[1:]), dtype)
        both[:-1] = p
        p, out = both[:-1], both[1:]
    else:
        out = {"plain": np.copy, **LAYOUTS}[layout](np.full_like(p, 7))
    got, gradient = loss.value_and_grad(y, p, out=out)
    assert gradient is out
    assert_same_bits([got, out], [value, expected])


@pytest.mark.parametrize("name", ["float16", "bfloat16", "int8", "uint16", "bool"])
def test_storage(case, name):
    """Half precision and integers are loaded exactly, and computed as float32."""
    y, p = batch(case, 4, 19)
    storage = np.dtype(getattr(ml_dtypes, name, name))
    p = (p > 0 if name == "bool" else abs(3 * p) if name == "uint16" else 3 * p).astype(storage)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, p)
    wide_value, wide = loss.value_and_grad(y, p.astype(np.float32))
    assert gradient.dtype == (storage if "float" in name else np.float32)
    assert_same_bits([value, gradient], [wide_value, wide.astype(gradient.dtype)])


@pytest.mark.parametrize("name", ["int8", "int16", "int32", "uint8", "uint64", "float16", "float32", "float64", "bfloat16"])
def test_label_dtypes(case, name):
    y, p = batch(case, 5, 17)
    if name.startswith("u"):
        y = np.abs(y)
    np.testing.assert_array_equal(case.make().call(y.astype(getattr(ml_dtypes, name, name)), p), case.make().call(y, p))


@pytest.mark.parametrize("name", ["float32", "float64"])
def test_dtype_argument(case, name):
    y, p = batch(case, 6, 17, "float32")
    loss = case.make(dtype=name)
    value, gradient = loss.value_and_grad(y, p)
    assert (value.dtype, gradient.dtype) == (name, "float32")
    np.testing.assert_array_equal(np.float32(value), loss(y, p.astype("float64")).astype("float32"))


# Threads and parts


def test_thread_count_does_not_matter(case, dtype, isa):
    y, p = batch(case, 7, case.large, dtype)
    weight = np.arange(len(p)) % 9 / 8
    results = []
    for n in (1, 2, 3, 7):
        with fl.threads(n):
            results.append([
                x for reduction in ("sum_over_batch_size", None)
                for x in outputs(case.make(reduction=reduction), y, p, sample_weight=weight)
            ])  # fmt: skip
    for result in results[1:]:
        assert_same_bits(result, results[0])


@pytest.mark.parametrize("case", [case for case in STRUCTURED.values() if case.independent], ids=lambda case: case.name)
def test_chunks_give_the_same_bits(case, dtype):
    y, p = batch(case, 8, 200, dtype)
    weight = np.arange(200) % 9 / 8
    loss = case.make(reduction="mean_with_sample_weight")
    value, gradient = loss.value_and_grad(y, p, sample_weight=weight)
    for size in (1, 7, 64, 200):
        total = loss.accumulator()
        parts = [slice(i, i + size) for i in range(0, 200, size)]
        for part in parts:
            total.update(y[part], p[part], weight[part])
        assert (p.dtype.type(total.value()), total.count) == (value, 200)
        got = np.concatenate([total.gradient(y[part], p[part], weight[part]) for part in parts])
        np.testing.assert_array_equal(got, gradient)


@pytest.mark.parametrize("case", [case for case in STRUCTURED.values() if not case.independent], ids=lambda case: case.name)
def test_no_chunks_where_samples_belong_together(case):
    with pytest.raises(TypeError, match="belong together"):
        case.make().accumulator()


def test_empty_batches(case):
    y, p = (a[:0] for a in batch(case, 9, 3))
    for reduction in REDUCTIONS:
        value, gradient = case.make(reduction=reduction).value_and_grad(y, p)
        assert np.all(value == 0)
        assert np.shape(value) == (() if reduction else (0,))
        assert gradient.shape == p.shape


# References of their own


REFERRED = [case for case in STRUCTURED.values() if not case.independent]


@pytest.mark.parametrize("case", REFERRED, ids=lambda case: case.name)
def test_references(case, dtype, isa):
    y, p = batch(case, 10, 9, dtype)
    ref_labels, ref_embeddings = batch(case, 11, 14, dtype)
    exact = {"ref_labels": ref_labels.tolist(), "ref_embeddings": numbers(ref_embeddings), "remove_diagonal": False}
    values, gradients = evaluate(case, exact, y, p)
    strict = dtype == "float32"
    function = case.function({"remove_diagonal": False})
    value = function(y, p, ref_labels=ref_labels[:, None], ref_embeddings=strided(ref_embeddings))
    assert_close(value, values, dtype, case.bound("value"), strict=strict)
    kernel = case.make({"remove_diagonal": False})._kernel((ref_labels, ref_embeddings))
    value, gradient = kernel.value_and_grad(y, p, None, None, NONE, None)
    assert_close(value, values, dtype, case.bound("value"), strict=strict)
    assert_close(gradient, gradients, dtype, case.bound("gradient"), strict=strict)
    # Of one shape row i of the references is not used for row i, as in Keras.
    shifted = ref_labels[:9], ref_embeddings[:9]
    exact = {"ref_labels": shifted[0].tolist(), "ref_embeddings": numbers(shifted[1])}
    assert_close(case.function()(y, p, *shifted), evaluate(case, exact, y, p)[0], dtype, case.bound("value"), strict=strict)
    np.testing.assert_array_equal(function(y, p, ref_labels=y, ref_embeddings=p), function(y, p))


@pytest.mark.parametrize("case", REFERRED, ids=lambda case: case.name)
def test_references_of_which_none_is_negative(case):
    """The only other label is that of the reference that is not used: the sample does not count."""
    _, p = batch(case, 12, 9)
    kernel = case.make()._kernel((np.arange(9) == 4, p))
    labels = np.zeros(9, int)
    losses, mean = (kernel.value(labels, p, None, None, code(reduction)) for reduction in (None, "mean"))
    assert losses[4] == 0
    assert mean == pytest.approx(losses.sum() / 8, rel=1e-13)


@pytest.mark.parametrize("case", REFERRED, ids=lambda case: case.name)
def test_labels_at_the_ends_of_their_range(case):
    y, p = batch(case, 13, 9)
    low, high = y == y.min(), y == y.max()
    extreme = np.where(high, 2**63 - 1, np.where(low, 1 - 2**63, y))
    assert_same_bits(outputs(case.make(), extreme, p), outputs(case.make(), y, p))


@pytest.mark.parametrize("case", REFERRED, ids=lambda case: case.name)
def test_references_that_are_refused(case):
    y, p = batch(case, 10, 9)
    keep = {"remove_diagonal": False}
    for parameters, references, words in (
        (keep, {"ref_labels": y}, "ref_embeddings: expected an array"),
        (keep, {"ref_embeddings": p}, "ref_labels: expected an array"),
        (keep, {"ref_labels": y[:4], "ref_embeddings": p}, r"ref_labels: shape \(4,\)"),
        (keep, {"ref_labels": y, "ref_embeddings": p[:, :3]}, r"ref_embeddings: shape \(9, 3\)"),
        ({}, {"ref_labels": y[:4], "ref_embeddings": p[:4]}, "remove_diagonal=False"),
        (keep, {"ref_labels": y + 0.5, "ref_embeddings": p}, r"ref_labels: label .*\.5 at index \(0,\)"),
    ):
        with pytest.raises(ValueError, match=words):
            case.function(parameters)(y, p, **references)


# Errors


def refused_calls():
    for case in STRUCTURED.values():
        for i, refused in enumerate(case.refused):
            yield pytest.param(case, refused, id=f"{case.name}-{i}")


@pytest.mark.parametrize(("case", "refused"), list(refused_calls()))
def test_refused(case, refused):
    pattern = "(?s)" + "".join(rf"(?=.*{re.escape(word)})" for word in refused.words)
    p = np.asarray(refused.y_pred)
    out = np.full_like(p, 7)
    with pytest.raises(ValueError, match=pattern):
        case.make()(refused.y_true, p)
    with pytest.raises(ValueError, match=pattern):
        case.function()(refused.y_true, p)
    with pytest.raises(ValueError, match=pattern):
        case.make().value_and_grad(refused.y_true, p, out=out)
    np.testing.assert_array_equal(out, 7)


def bad_arguments():
    for case in STRUCTURED.values():
        for bad in case.bad:
            yield pytest.param(case, bad, id=f"{case.name}-{bad.name}-{bad.value}")


@pytest.mark.parametrize(("case", "bad"), list(bad_arguments()))
def test_bad_arguments(case, bad):
    with pytest.raises((ValueError, TypeError), match=f"{bad.name}: expected"):
        case.make({bad.name: bad.value})


def test_bad_weights(case):
    y, p = batch(case, 12, 9)
    weight = np.ones(9)
    weight[np.flatnonzero(case.counted(y))[1]] = np.nan
    with pytest.raises(fl.InputError, match="sample_weight: nan") as error:
        case.make()(y, p, sample_weight=weight)
    assert np.isnan(weight[error.value.index])
    with pytest.raises(ValueError, match="sample_weight: shape"):
        case.make()(y, p, sample_weight=np.ones((9, 2)))
    with pytest.raises(ValueError, match="mask: shape"):
        case.make()(y, p, mask=np.ones(8, bool))


def test_no_hessian(case):
    assert not case.hessian
    loss = case.make()
    with pytest.raises(TypeError, match=f"{type(loss).__name__} has no Hessian"):
        loss.grad_and_hess(*batch(case, 13, 5))


def test_numpy_formula(case):
    """The formula that benchmarks compare with."""
    y, p = batch(case, 14, 9)
    loss = case.make()
    with np.errstate(divide="ignore"):
        plain = loss.numpy_formula(y, p)
    np.testing.assert_allclose(loss.call(y, p)[case.counted(y)], plain[case.counted(y)], rtol=1e-10)
