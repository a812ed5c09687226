# SPDX-License-Identifier: BSD-3-Clause
"""What holds for every loss: the same bits however a call is cut up or laid out, weights, masks, reductions, dtypes."""

import functools
import itertools

import ml_dtypes
import numpy as np
import pytest

import fastloss as fl
import sums
from cases import CASES, VARIANTS
from exact import assert_close, boxed, evaluate_rows, pack, pack_floats
from reference import add, mpf

REDUCTIONS = ("sum_over_batch_size", "sum", "mean_with_sample_weight", None)

THREADS = (1, 2, 2, 3, 4, 7, 16)  # 2 again: runs agree


def batch(case, seed, shape, dtype):
    """Ordinary inputs in the dtype; labels of a sparse case are int64."""
    y, p = case.draw(np.random.default_rng(seed), shape)
    return (y if case.sparse else y.astype(dtype)), p.astype(dtype)


def outputs(loss, y, p, **weights):
    """Everything a loss computes, as a list of arrays."""
    out = [loss(y, p, **weights), *loss.value_and_grad(y, p, **weights)]
    weights.pop("mask", None)
    return out + (list(loss.grad_and_hess(y, p, **weights)) if loss.has_hessian else [])


def assert_same_bits(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert np.shape(a) == np.shape(e)
        np.testing.assert_array_equal(a, e)


# Same bits


# Many short rows; few long ones; one row, which only its own blocks can share out.
@pytest.mark.parametrize("shape", [(40_009, 3), (2_003, 67), (5, 30_011), (1, 150_001)])
def test_thread_count_does_not_matter(case, dtype, isa, seed, shape):
    y, p = batch(case, seed, shape, dtype)
    weights = np.random.default_rng(seed).integers(0, 9, shape[0]) / 8
    for reduction in ("sum_over_batch_size", None):
        loss = case.make(reduction=reduction)
        results = []
        for n in THREADS:
            with fl.threads(n):
                results.append([*outputs(loss, y, p), *outputs(loss, y, p, sample_weight=weights)])
        for result in results[1:]:
            assert_same_bits(result, results[0])


@pytest.mark.parametrize("shape", [(20_011, 1), (300, 67), (3, 131, 20), (2, 20_011)])
def test_address_does_not_matter(case, dtype, isa, seed, shape):
    """Where an array starts in a cache line, how far its rows lie apart, in which order its axes lie."""
    y, p = batch(case, seed, shape, dtype)
    loss = case.make(reduction="sum")
    expected = outputs(loss, y, p)
    for elements in (1, 3, 7, 12):
        assert_same_bits(outputs(loss, moved(y, elements), moved(p, elements)), expected)
        assert_same_bits(outputs(loss, y, moved(p, elements)), expected)
    for elsewhere in (
        np.repeat(p, 2, axis=-1)[..., ::2],
        np.asfortranarray(p),
        np.concatenate([p, p], -1)[..., : p.shape[-1]],
        np.moveaxis(np.ascontiguousarray(np.moveaxis(p, -1, 1)), 1, -1),
    ):
        assert_same_bits(outputs(loss, y, elsewhere), expected)


def moved(array, elements):
    """The same in a buffer that starts on a page, behind a number of elements."""
    room = np.empty(array.nbytes + 2 * 4096, np.uint8)
    start = -room.ctypes.data % 4096 + elements * array.itemsize
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("shape", [(20_011, 1), (300, 67), (2, 20_011)])
def test_order_of_additions_does_not_depend_on_the_address(isa, rng, shape, weighted):
    """Floats of one size have exact sums in double; these have not, and are not rounded to float32 either."""
    case = next(case for case in CASES.values() if case.elementwise and case.pred_bounds == (-np.inf, np.inf))
    y, p = np.zeros(shape, "float32"), (2.0 ** rng.uniform(-20, 20, shape)).astype("float32")
    weights = 2.0 ** rng.uniform(-9, 9, shape[0]) if weighted else None
    found = set()
    for elements in (0, 1, 3, 7, 12):
        total = case.make(reduction="sum").accumulator()
        total.update(y, moved(p, elements), weights)
        found.add(float(total.value()))
    assert len(found) == 1


@pytest.mark.parametrize("elements", [0, 1])
def test_outputs_larger_than_the_caches(case, seed, elements):
    """What is stored past the caches is what is stored into them."""
    rows = 6_000_011
    y, p = batch(case, seed, (1009, 2), "float32")
    y, p = (np.resize(array, (rows, *array.shape[1:])) for array in (y, p))
    out = moved(np.zeros_like(p), elements)
    loss = case.make(reduction="sum")
    loss.value_and_grad(y, p, out=out)
    _, expected = loss.value_and_grad(y[:1009], p[:1009])
    np.testing.assert_array_equal(
        out[: rows // 1009 * 1009].reshape(-1, *expected.shape), np.broadcast_to(expected, (rows // 1009, *expected.shape))
    )


@pytest.mark.parametrize("reduction", REDUCTIONS[:3])
def test_chunks_add_up(case, seed, reduction):
    y, p = batch(case, seed, (48, 3), "float64")
    weights = np.random.default_rng(seed).integers(1, 9, 48) / 8
    loss = case.make(reduction=reduction)
    for labels in (y, np.asarray(case.convert(y))):
        total = loss.accumulator()
        parts = [slice(i, i + 16) for i in range(0, 48, 16)]
        for part in parts:
            total.update(labels[part], p[part], weights[part])
        value, expected = loss.value_and_grad(labels, p, sample_weight=weights)
        assert total.value() == pytest.approx(value, rel=1e-13)
        gradient = np.concatenate([total.gradient(labels[part], p[part], weights[part]) for part in parts])
        np.testing.assert_array_equal(gradient, expected)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.convert is not np.asarray], indirect=True,
                         ids=lambda case: case.name)  # fmt: skip
def test_hidden_labels_do_not_tell_what_labels_are(case, seed):
    y, p = batch(case, seed, (6, 3), "float64")
    y[4] = 0.5
    weights = np.arange(6) != 4
    total = case.make().accumulator()
    for part in (slice(0, 3), slice(3, 6)):
        total.scan_labels(y[part], weights[part])
    total.update(y, p, weights)
    assert total.value() == case.make()(y, p, sample_weight=weights)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.convert is not np.asarray], indirect=True,
                         ids=lambda case: case.name)  # fmt: skip
def test_labels_of_0_and_1_alone_stand_for_signs(case, isa, seed):
    _, p = batch(case, seed, (9, 3), "float64")
    y = np.random.default_rng(seed).integers(0, 2, p.shape).astype(float)
    loss = case.make(reduction=None)
    signs = loss(2 * y - 1, p)
    assert_same_bits([loss(y, p)], [signs])
    y[0, 0] = 0.5
    assert (loss(y, p)[1:] != signs[1:]).any()


@pytest.mark.parametrize("reduction", REDUCTIONS[:3])
def test_a_single_sample_adds_up(case, seed, reduction):
    y, p = batch(case, seed, (1, 5), "float64")
    loss = case.make(reduction=reduction)
    total = loss.accumulator()
    total.update(y[0], p[0], 2.0)
    value, gradient = loss.value_and_grad(y[0], p[0], sample_weight=2.0)
    assert total.value() == value
    np.testing.assert_array_equal(total.gradient(y[0], p[0], 2.0), gradient)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.has_axis and c.elementwise], indirect=True,
                         ids=lambda case: case.name)  # fmt: skip
def test_losses_of_the_elements_of_a_chunk(case, seed):
    """A sample that is the whole array is added up element by element."""
    y, p = batch(case, seed, (5, 3), "float64")
    losses = np.full(p.shape, np.nan)
    total = case.make(axis=None).accumulator()
    total.update(y, p, losses=losses)
    np.testing.assert_array_equal(losses, case.make(reduction=None)(y[..., None], p[..., None]))
    assert total.value() == pytest.approx(losses.mean(), rel=1e-13)


def test_threads_setting(case):
    before = fl.get_num_threads()
    with fl.threads(3):
        assert fl.get_num_threads() == 3
    assert fl.get_num_threads() == before
    fl.set_num_threads(2)
    assert fl.get_num_threads() == 2
    fl.set_num_threads(before)


@pytest.mark.parametrize("width", [1, 3, 13, 100])
def test_split_of_the_batch_does_not_matter(variant, dtype, isa, seed, width):
    case, index = variant
    y, p = batch(case, seed, (101, width), dtype)
    per_sample = case.make(case.parameters[index], reduction=None)
    summed = case.make(case.parameters[index], reduction="sum")
    whole = outputs(per_sample, y, p)
    _, whole_gradient = summed.value_and_grad(y, p)
    for cut in (1, 37, 64):
        parts = [outputs(per_sample, y[s], p[s]) for s in (slice(cut), slice(cut, None))]
        assert_same_bits([np.concatenate(pair) for pair in zip(*parts, strict=True)], whole)
        gradients = [summed.value_and_grad(y[s], p[s])[1] for s in (slice(cut), slice(cut, None))]
        assert_same_bits([np.concatenate(gradients)], [whole_gradient])


def test_function_is_the_unreduced_class(variant, dtype, isa, seed):
    case, index = variant
    y, p = batch(case, seed, (29, 5), dtype)
    parameters = case.parameters[index]
    function = case.function(parameters)
    for none in (None, "none"):
        assert_same_bits([case.make(parameters, reduction=none)(y, p)], [function(y, p)])


def test_reduction_aliases(case, dtype, seed):
    y, p = batch(case, seed, (29, 5), dtype)
    expected = outputs(case.make(), y, p)
    for alias in ("mean", "auto", "sum_over_batch_size"):
        assert_same_bits(outputs(case.make(reduction=alias), y, p), expected)


# Weights, masks, reductions against exact sums


def weight_kinds(shape, rng):
    """{kind: sample_weight} for losses of this shape. Eighths are exact in every dtype."""
    n = shape[0]

    def eighths(*s):
        return rng.integers(0, 17, s) / 8

    kinds = {
        "none": None,
        "float": 0.375,
        "int": 3,
        "scalar array": np.array(0.5, np.float32),
        "zero": 0.0,
        "samples": eighths(n),
        "column": eighths(n, *(1,) * (len(shape) - 1)) if len(shape) > 1 else eighths(n, 1),
        "one": eighths(1) + 0.5,
        "integers": rng.integers(0, 4, n),
        "bools": rng.random(n) < 0.5,
        "float32": eighths(n).astype(np.float32),
        "list": eighths(n).tolist(),
        "negative": -eighths(n) - 0.125,
    }
    if len(shape) > 1:
        kinds |= {"elements": eighths(*shape), "row": eighths(1, *shape[1:]), "trailing": eighths(*shape[1:])}
    return kinds


def mask_kinds(shape, rng):
    some = rng.random(shape) < 0.6
    some.flat[0] = True
    return {"none": None, "some": some, "nothing": np.zeros(shape, bool)}


def full_weights(weights, shape):
    """The weight of each loss, by the rules of the documentation."""
    if weights is None:
        return np.ones(shape)
    weights = np.asarray(weights, np.float64)
    if weights.ndim == 2 and len(shape) == 1:
        weights = weights[:, 0]
    elif weights.ndim == 1 and weights.shape[0] == shape[0]:
        weights = weights.reshape(shape[0], *(1,) * (len(shape) - 1))
    return np.broadcast_to(weights, shape)


@functools.cache
def exact_batch(name, index, shape, dtype, seed):
    case = CASES[name]
    y, p = batch(case, seed, shape, dtype)
    return y, p, evaluate_rows(case, case.parameters[index], y, p)


@functools.cache
def reduced(name, index, shape, dtype, seed, reduction):
    """[(kinds, sample_weight, mask, value, gradient, gradient and Hessian of the elements where they are to be compared)]"""
    case = CASES[name]
    y, p, exact = exact_batch(name, index, shape, dtype, seed)
    rng = np.random.default_rng(seed)
    losses = shape[:-1]
    counted = case.counted(y, case.parameters[index])
    row_factor = case.row_factor(shape[-1]) if case.elementwise else mpf(1)
    out = []
    for weight_kind, weights in weight_kinds(losses, rng).items():
        for mask_kind, mask in mask_kinds(losses, rng).items():
            w = full_weights(weights, losses)
            kept = counted if mask is None else counted & mask
            divisor = {
                "sum_over_batch_size": kept.sum(),
                "mean_with_sample_weight": w[kept].sum(),
            }.get(reduction, 1)
            # An empty mean is 0.
            factors = [
                mpf(float(x)) / mpf(float(divisor)) if k and divisor else mpf(0)
                for x, k in zip(w.flat, kept.flat, strict=True)
            ]
            values = [v.times(f) for v, f in zip(exact["value"].flat, factors, strict=True)]
            value = pack(boxed(add(values))) if reduction is not None else pack_each(values, losses)
            columns = p.shape[-1]
            scaled = [g.times(factors[i // columns] * row_factor) for i, g in enumerate(exact["gradient"].flat)]
            # Per element only the weight counts: no mask, no division, so once is enough.
            own = None
            if mask is None and reduction == "sum" and case.hessian:
                own = [
                    pack_each([r.times(mpf(float(w.flat[i // columns]))) for i, r in enumerate(exact[k].flat)], p.shape)
                    for k in ("gradient", "hessian")
                ]
            out.append((f"weights {weight_kind}, mask {mask_kind}", weights, mask, value, pack_each(scaled, p.shape), own))
    return y, p, out


def pack_each(results, shape):
    array = np.empty(len(results), dtype=object)
    array[:] = [boxed(r).item() for r in results]
    return pack(array.reshape(shape))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(7, 3), (5, 3, 4)], ids=str)
def test_reductions(variant, dtype, isa, seed, reduction, shape):
    case, index = variant
    y, p, expected = reduced(case.name, index, shape, dtype, seed, reduction)
    loss = case.make(case.parameters[index], reduction=reduction)
    for kinds, weights, mask, value, gradient, own in expected:
        called = loss(y, p, sample_weight=weights, mask=mask)
        fused, got_gradient = loss.value_and_grad(y, p, sample_weight=weights, mask=mask)
        for got in (called, fused):
            assert got.dtype == dtype
            assert isinstance(got, np.ndarray if reduction is None else np.generic)
            assert_close(got, value, dtype, case.bound_of_sum("value"), case.blur, kinds=kinds)
        assert got_gradient.dtype == dtype
        assert_close(got_gradient, gradient, dtype, case.bound_of_sum("gradient"), case.blur, kinds=kinds)
        if own:
            results = loss.grad_and_hess(y, p, sample_weight=weights)
            for name, got, exact in zip(("gradient", "hessian"), results, own, strict=True):
                assert_close(got, exact, dtype, case.bound_of_sum(name), case.blur, kinds=kinds)


def test_large_sums_keep_their_digits(case, dtype, isa, seed):
    """Many losses, equal ones too, whose roundings add up: sums, means, those of one sample and of chunks."""
    worst = sums.measure(case, dtype, 5, np.random.default_rng(seed), block=50_021)
    assert all(error <= sums.PROMISED[dtype] for error in worst.values()), worst


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_no_weight_no_harm(variant, dtype, isa, seed, reduction, bad):
    """NaN and inf under a zero weight or a mask reach neither value nor gradient."""
    case, index = variant
    y, p = batch(case, seed, (23, 5), dtype)
    hidden = np.zeros(len(p), bool)
    hidden[[0, 7, 8, 22]] = True
    loss = case.make(case.parameters[index], reduction=reduction)
    spoilt = p.copy()
    spoilt[hidden, -1] = bad
    y_spoilt = y.copy()
    if not case.sparse and np.isnan(bad):
        y_spoilt[(hidden, 1) if y.ndim > 1 else hidden] = bad
    weights = np.where(hidden, 0, 2.0)
    expected = outputs(loss, y, p, sample_weight=weights)
    results = outputs(loss, y_spoilt, spoilt, sample_weight=weights)
    assert_same_bits(results, expected)
    for gradient in results[2:]:
        assert np.isfinite(gradient).all()
        assert not gradient[hidden].any()
    expected = loss(y, p, mask=~hidden), *loss.value_and_grad(y, p, mask=~hidden)
    results = loss(y_spoilt, spoilt, mask=~hidden), *loss.value_and_grad(y_spoilt, spoilt, mask=~hidden)
    assert_same_bits(results, expected)
    assert not results[-1][hidden].any()


IGNORING = [(n, i) for n, i in VARIANTS if "ignore_class" in CASES[n].parameters[i]]


@pytest.mark.parametrize("variant", IGNORING, indirect=True, ids=lambda v: f"{v[0]}-{v[1]}")
@pytest.mark.parametrize(("label", "classes"), [(-1, 5), (255, 5), (2, 5), (-1, 1100)])
def test_ignored_rows(variant, dtype, isa, seed, label, classes):
    """Any label may be the ignored one, inside the range or not; the rows' predictions do not matter."""
    case, _ = variant
    y, p = batch(case, seed, (31, classes), dtype)
    ignored = np.arange(31) % 4 == 0
    y[~ignored & (y == label)] = 1
    y[ignored] = label
    p[ignored, 1] = np.nan
    for reduction in REDUCTIONS:
        loss, bare = case.make({"ignore_class": label}, reduction=reduction), case.make(reduction=reduction)
        value, gradient = loss.value_and_grad(y, p)
        expected_value, expected_gradient = bare.value_and_grad(y[~ignored], p[~ignored])
        assert_same_bits([gradient[~ignored]], [expected_gradient])
        assert not gradient[ignored].any()
        if reduction is None:
            assert_same_bits([value[~ignored]], [expected_value])
            assert not value[ignored].any()
        else:
            exact = pack_floats(expected_value)
            # The same terms in another order.
            assert_close(value, exact, dtype, sums.PROMISED[dtype])
            assert_close(loss(y, p), exact, dtype, sums.PROMISED[dtype])


# out=


def test_out(variant, dtype, isa, seed):
    case, index = variant
    y, p = batch(case, seed, (29, 5), dtype)
    loss = case.make(case.parameters[index])
    weights = np.random.default_rng(seed).integers(0, 9, 29) / 8
    for keywords in ({}, {"sample_weight": weights}):
        value, gradient = loss.value_and_grad(y, p, **keywords)
        out = np.full_like(p, np.nan)
        again, returned = loss.value_and_grad(y, p, out=out, **keywords)
        assert returned is out
        assert_same_bits([again, out], [value, gradient])
        place = p.copy()
        again, returned = loss.value_and_grad(y, place, out=place, **keywords)
        assert returned is place
        assert_same_bits([again, place], [value, gradient])
        if not case.hessian:
            continue
        expected = loss.grad_and_hess(y, p, **keywords)
        out = np.full_like(p, np.nan), np.full_like(p, np.nan)
        returned = loss.grad_and_hess(y, p, out=out, **keywords)
        assert returned[0] is out[0]
        assert returned[1] is out[1]
        assert_same_bits(out, expected)
        for where in (0, 1):
            place, other = p.copy(), np.empty_like(p)
            out = (place, other) if where == 0 else (other, place)
            loss.grad_and_hess(y, place, out=out, **keywords)
            assert_same_bits(out, expected)


def test_out_with_strides(case, dtype, isa, seed):
    y, p = batch(case, seed, (29, 5), dtype)
    loss = case.make()
    value, gradient = loss.value_and_grad(y, p)
    for step in (1, 2):
        wide = np.zeros((58, step * p.shape[1]), dtype)
        out = wide[::2, ::step]
        again, _ = loss.value_and_grad(y, p, out=out)
        assert_same_bits([again, out], [value, gradient])
        out[...] = 0
        assert not wide.any()
    place = np.zeros((58, 2 * p.shape[1]), dtype)[::2, ::2]
    place[...] = p
    loss.value_and_grad(y, place, out=place)
    assert_same_bits([place], [gradient])


# Layouts


def strided(x):
    wide = np.zeros(tuple(2 * n for n in x.shape), x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)]
    view[...] = x
    return view


def reversed_(x):
    back = (slice(None, None, -1),) * x.ndim
    return np.ascontiguousarray(x[back])[back]


def misaligned(x):
    raw = np.zeros(x.nbytes + 1, np.uint8)
    view = raw[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def byte_swapped(x):
    return x.astype(x.dtype.newbyteorder())


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


def transposed(x):
    return np.ascontiguousarray(x.T).T


def memory_mapped_like(x):
    return x.copy().view(type("Sub", (np.ndarray,), {}))


LAYOUTS = (strided, reversed_, misaligned, byte_swapped, read_only, np.asfortranarray, transposed, memory_mapped_like)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (37, 3), (6, 1030), (4, 3, 5)], ids=str)
def test_layout_does_not_matter(case, dtype, isa, seed, layout, shape):
    y, p = batch(case, seed, shape, dtype)
    for reduction in ("sum_over_batch_size", None):
        loss = case.make(reduction=reduction)
        expected = outputs(loss, y, p)
        for a, b in ((layout(y), layout(p)), (y, layout(p)), (layout(y), p)):
            y_before, p_before = a.copy(), b.copy()
            results = outputs(loss, a, b)
            assert_same_bits(results, expected)
            assert all(r.dtype.newbyteorder("=") == dtype for r in results)
            assert_same_bits([a, b], [y_before, p_before])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda f: f.__name__)
def test_layout_of_weights_does_not_matter(case, dtype, isa, seed, layout):
    y, p = batch(case, seed, (17, 3, 4), dtype)
    rng = np.random.default_rng(seed)
    weights, mask = rng.integers(0, 9, (17, 3)) / 8, rng.random((17, 3)) < 0.7
    for reduction in ("sum_over_batch_size", None):
        loss = case.make(reduction=reduction)
        expected = outputs(loss, y, p, sample_weight=weights, mask=mask)
        given, mask_given = layout(weights), layout(mask) if layout is not byte_swapped else mask
        results = outputs(loss, y, p, sample_weight=given, mask=mask_given)
        assert_same_bits(results, expected)
        assert_same_bits([given, mask_given], [weights, mask])


def ordered(x, axes):
    """With these axes from the slowest to the fastest."""
    return x.transpose(axes).copy("C").transpose(np.argsort(axes))


# In the last two neighbours in memory may be more than a task apart, and tasks begin anywhere between them.
@pytest.mark.parametrize("shape", [(3, 4, 2, 5), (70, 9, 4), (9, 1201, 19), (67, 5003, 4)], ids=str)
def test_order_of_axes_does_not_matter(case, dtype, isa, seed, shape):
    y, p = (np.resize(x, (*shape[:-1], *x.shape[1:])) for x in batch(case, seed, (101, shape[-1]), dtype))
    loss = case.make(reduction="sum")
    expected = loss.value_and_grad(y, p)
    orders = list(itertools.permutations(range(len(shape))))
    for axes in orders[:: max(1, p.size // 100_000)] if p.size > 100_000 else orders:
        mixed, out = ordered(p, axes), ordered(np.full_like(p, 7), orders[-1])
        y_mixed = ordered(y, axes) if y.ndim == p.ndim else y
        assert_same_bits(loss.value_and_grad(y_mixed, mixed), expected)
        assert_same_bits(loss.value_and_grad(y, mixed, out=out), expected)
        assert_same_bits(loss.value_and_grad(y, mixed, out=byte_swapped(out)), expected)
        assert_same_bits(loss.value_and_grad(y_mixed, mixed, out=mixed), expected)


@pytest.mark.parametrize("shape", [(300, 3), (7, 60, 10), (40, 300), (3, 5, 7, 2)], ids=str)
def test_parts_of_arrays_do_not_matter(case, dtype, isa, seed, shape):
    """Rows that lie apart and elements that do, as inputs and as outputs; nothing between them is written."""
    y, p = (np.resize(x, (*shape[:-1], *x.shape[1:])) for x in batch(case, seed, (101, shape[-1]), dtype))
    loss, shape = case.make(reduction="sum"), p.shape
    expected = loss.value_and_grad(y, p)
    for part in (np.s_[..., : shape[-1]], np.s_[..., ::2], np.s_[..., ::-2], np.s_[..., 1::2, :]):
        rows = part[-1] == np.s_[:]
        extents = (*shape[:-2], 2 * shape[-2], shape[-1]) if rows else (*shape[:-1], 2 * shape[-1])
        for memory in "CF":
            wide, out = np.zeros(extents, dtype, memory), np.full(extents, 7, dtype, memory)
            wide[part] = p
            assert_same_bits(loss.value_and_grad(y, wide[part], out=out[part]), expected)
            out[part] = 7
            assert (out == 7).all()


def test_one_number_for_all(case, dtype, isa, seed):
    """Arrays that repeat one element by a stride of 0."""
    y, p = batch(case, seed, (1, 3), dtype)
    loss = case.make(reduction=None)
    views = np.broadcast_to(y, (19, *y.shape[1:])), np.broadcast_to(p, (19, *p.shape[1:]))
    assert_same_bits(outputs(loss, *views), outputs(loss, *(v.copy() for v in views)))


@pytest.mark.parametrize("shape", [(0, 3), (0, 1), (0, 4, 3), (4, 0, 3)], ids=str)
def test_no_rows(variant, dtype, isa, seed, shape):
    case, index = variant
    y, p = batch(case, seed, shape, dtype)
    for reduction in REDUCTIONS:
        loss = case.make(case.parameters[index], reduction=reduction)
        for keywords in ({}, {"sample_weight": np.ones(shape[:-1])}, {"mask": np.ones(shape[:-1], bool)}):
            value, gradient = loss.value_and_grad(y, p, **keywords)
            for v in (value, loss(y, p, **keywords)):
                assert v.dtype == dtype
                assert v.shape == (shape[:-1] if reduction is None else ())
                assert not np.any(v)
            assert gradient.shape == p.shape
        assert all(r.shape == p.shape for r in outputs(loss, y, p)[2:])


def test_one_element(case, dtype, isa, seed):
    y, p = batch(case, seed, (1, 1), dtype)
    expected = case.make(reduction="sum")(y, p)
    for reduction in REDUCTIONS:
        assert np.ravel(case.make(reduction=reduction)(y, p)) == expected


def test_one_sample_without_batch_axis(case, dtype, isa, seed):
    """A single row gives a single loss."""
    y, p = batch(case, seed, (1, 5), dtype)
    loss = case.make(reduction=None)
    value, gradient = loss.value_and_grad(y[0], p[0])
    expected_value, expected_gradient = loss.value_and_grad(y, p)
    assert np.shape(value) == ()
    assert_same_bits([np.ravel(value), gradient], [expected_value, expected_gradient[0]])


ELEMENTWISE = [case for case in CASES.values() if case.elementwise]


@pytest.mark.parametrize("case", ELEMENTWISE, indirect=True, ids=lambda case: case.name)
def test_zero_dimensions(case, dtype, isa, seed):
    y, p = batch(case, seed, (1, 1), dtype)
    loss = case.make()
    value, gradient = loss.value_and_grad(y.reshape(()), p.reshape(()))
    expected_value, expected_gradient = loss.value_and_grad(y, p)
    assert value == expected_value
    assert np.shape(gradient) == ()
    assert gradient == expected_gradient[0, 0]


@pytest.mark.parametrize("case", ELEMENTWISE, indirect=True, ids=lambda case: case.name)
def test_column_against_vector(case, dtype, isa, seed):
    """(N,) with (N, 1) is N samples, whichever has the extra axis; the gradient keeps y_pred's shape."""
    y, p = batch(case, seed, (13, 1), dtype)
    loss = case.make(reduction=None)
    value, gradient = loss.value_and_grad(y, p)
    got_value, got_gradient = loss.value_and_grad(y[:, 0], p)
    assert_same_bits([got_value, got_gradient], [value, gradient])
    got_value, got_gradient = loss.value_and_grad(y, p[:, 0])
    assert_same_bits([got_value, got_gradient], [value, gradient[:, 0]])


SPARSE = [case for case in CASES.values() if case.sparse]


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
def test_labels_with_an_axis_of_their_own(case, dtype, isa, seed):
    for shape in ((13, 4), (5, 3, 4)):
        y, p = batch(case, seed, shape, dtype)
        for reduction in ("sum", None):
            loss = case.make(reduction=reduction)
            assert_same_bits(outputs(loss, y[..., None], p), outputs(loss, y, p))


WITH_AXIS = [case for case in CASES.values() if case.has_axis]


@pytest.mark.parametrize("case", WITH_AXIS, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("axis", [0, 1, 2, -2, -1])
def test_axis(case, dtype, isa, seed, axis):
    """The class axis may be any: as if it had been moved to the end."""
    y, p = batch(case, seed, (6, 5, 4), dtype)
    last, moved = case.make(reduction=None), case.make({"axis": axis}, reduction=None)
    y_moved = y if case.sparse else np.moveaxis(y, -1, axis)
    results = outputs(moved, y_moved, np.moveaxis(p, -1, axis))
    expected = outputs(last, y, p)
    assert_same_bits(results[:2], expected[:2])
    assert_same_bits(results[2:], [np.moveaxis(x, -1, axis) for x in expected[2:]])


# dtypes


@pytest.mark.parametrize("half", [np.float16, ml_dtypes.bfloat16], ids=["float16", "bfloat16"])
def test_half_is_computed_in_float32(variant, isa, seed, half):
    """Stored half, computed and reduced in float32; gradients are rounded once more, to the storage dtype."""
    case, index = variant
    shape = (19, 5)
    y, p = batch(case, seed, shape, half)
    exact = evaluate_rows(case, case.parameters[index], y, p)
    epsilon, coarse = (float(ml_dtypes.finfo(x).eps) for x in ("float32", half))
    blur = case.blur * epsilon / coarse
    loss = case.make(case.parameters[index], reduction=None)
    value, gradient = loss.value_and_grad(y, p)
    for v in (value, loss(y, p), case.function(case.parameters[index])(y, p)):
        assert v.dtype == np.float32
        assert_close(v, pack(exact["value"]), "float32", case.bound_of_sum("value"))
    scaled = [g.times(case.row_factor(5) if case.elementwise else mpf(1)) for g in exact["gradient"].flat]
    own = loss.grad_and_hess(y, p) if case.hessian else ()
    for name, got, expected in (
        ("gradient", gradient, pack_each(scaled, p.shape)),
        *((k, x, pack(exact[k])) for x, k in zip(own, ("gradient", "hessian"), strict=False)),
    ):
        assert got.dtype == half
        # What cancels in float32 cannot be better than float32's share of the bound.
        expected["condition"] = 0
        expected["scale"] = np.abs(expected["hi"]) + expected["scale"] * (4 * case.bound_of_sum(name) * epsilon / coarse)
        assert_close(got, expected, half, 0.51, blur, y_true=case.shown(y, p.shape), y_pred=p)
    total = case.make(case.parameters[index], reduction="sum")(y, p)
    assert total.dtype == np.float32
    assert_close(total, pack(boxed(add(exact["value"]))), "float32", case.bound_of_sum("value"))


INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("integer", INTEGERS)
def test_integers_count_as_float32(case, isa, seed, integer):
    y, p = batch(case, seed, (19, 5), "float32")
    p = np.clip(np.rint(p), 0, 3).astype(integer)
    p[:, 0] = 1  # probabilities with a sum
    if not case.sparse:
        y = np.clip(np.rint(y), 0, 3).astype(integer)
    for reduction in ("sum_over_batch_size", None):
        loss = case.make(reduction=reduction)
        expected = outputs(loss, y if case.sparse else y.astype("float32"), p.astype("float32"))
        results = outputs(loss, y, p)
        assert all(r.dtype == np.float32 for r in results)
        assert_same_bits(results, expected)


DENSE = [case for case in CASES.values() if not case.sparse]


@pytest.mark.parametrize("case", DENSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("other", ["float16", "bfloat16", "float32", "float64", "int8", "int64", "uint8", "bool"])
def test_labels_of_another_width(case, dtype, isa, seed, other):
    """y_true may have any dtype; y_pred's is the one that counts."""
    y, p = batch(case, seed, (19, 5), dtype)
    other = ml_dtypes.bfloat16 if other == "bfloat16" else np.dtype(other)
    y = (np.clip(np.rint(y), 0, 1) if np.dtype(other).kind in "iub" else y).astype(other)
    for reduction in ("sum_over_batch_size", None):
        loss = case.make(reduction=reduction)
        # bfloat16 and float16 are exact in both dtypes; float64 is rounded to float32 where that is y_pred's.
        results = outputs(loss, y, p)
        assert all(r.dtype == dtype for r in results)
        assert_same_bits(results, outputs(loss, y.astype(dtype), p))


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("integer", [*INTEGERS[1:], "float16", "bfloat16", "float32", "float64"])
def test_label_dtypes(case, dtype, isa, seed, integer):
    integer = ml_dtypes.bfloat16 if integer == "bfloat16" else integer
    for classes in (5, 127):
        y, p = batch(case, seed, (41, classes), dtype)
        for reduction in ("sum_over_batch_size", None):
            loss = case.make(reduction=reduction)
            assert_same_bits(outputs(loss, y.astype(integer), p), outputs(loss, y, p))


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
def test_labels_beyond_the_integers_of_float32(case, isa):
    """Labels are never rounded to a float: 2**24 + 1 is a class of its own."""
    classes = 2**24 + 3
    p = np.full((1, classes), 2.0**-5, np.float32)
    label = 2**24 + 1
    # A share above epsilon, where the gradient of a probability is not 0.
    p[0, label] = 1
    gradient = case.make(reduction="sum").value_and_grad(np.array([label]), p)[1][0]
    assert np.argmin(gradient) == label
    assert np.count_nonzero(gradient < 0) == 1


@pytest.mark.parametrize("case", DENSE, indirect=True, ids=lambda case: case.name)
def test_lists(case, isa, seed):
    y, p = batch(case, seed, (4, 3), "float64")
    assert_close(case.make()(y.tolist(), p.tolist()), pack_floats(case.make()(y, p)), "float32", 1e-6)


def takes_axes(case):
    try:
        return case.has_axis and case.make({"axis": None}) is not None
    except TypeError:
        return False


@pytest.mark.parametrize("case", [c for c in CASES.values() if takes_axes(c)], indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("axis", [None, (0, 2), (1, 2), (-1, 0), (1,), (0, 1, 2)], ids=str)
@pytest.mark.parametrize("strided", [False, True])
def test_several_axes(case, dtype, isa, seed, axis, strided):
    """A sample's elements along several axes are those of the array with these axes joined."""
    y, p = batch(case, seed, (8, 5, 38), dtype)
    if strided:
        y, p = np.asfortranarray(y)[::2, :, ::-2], p[::2, :, ::-2]
    axes = sorted(d % 3 for d in (range(3) if axis is None else axis))
    moved = [np.moveaxis(x, axes, range(-len(axes), 0)) for x in (y, p)]
    rest = moved[1].shape[: 3 - len(axes)]
    joined = [np.ascontiguousarray(x).reshape((*rest, -1)) for x in moved]
    for reduction in (None, "sum_over_batch_size"):
        expected = case.make(reduction=reduction).value_and_grad(*joined)
        value, gradient = case.make({"axis": axis}, reduction=reduction).value_and_grad(y, p)
        assert np.shape(value) == np.shape(expected[0])
        assert value == pytest.approx(expected[0], rel=1e-6 if dtype == "float32" else 1e-14)
        back = np.moveaxis(expected[1].reshape(moved[1].shape), range(-len(axes), 0), axes)
        assert gradient == pytest.approx(back, rel=2e-6 if dtype == "float32" else 1e-14)
    if rest:
        weights = np.random.default_rng(seed).random(rest)
        expected = case.make()(*joined, sample_weight=weights)
        assert case.make({"axis": axis})(y, p, sample_weight=weights) == pytest.approx(expected, rel=1e-6)
    else:
        with pytest.raises(ValueError, match=r"^sample_weight: shape \(4,\)|^sample_weight: shape \(8,\)"):
            case.make({"axis": axis})(y, p, sample_weight=np.ones(len(p)))


EMPTY = ((3, 0), (10, 5, 0), (8, 16, 2, 0), (5, 0, 3), (7, 0, 9, 4))


@pytest.mark.parametrize("case", [c for c in CASES.values() if not c.lacks_axis], indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_samples_without_elements(case, dtype, isa, seed, shape):
    """They all cost the same, and their gradient has no elements, along whichever axes these would lie."""
    p = np.zeros(shape, dtype)
    own = case.make(reduction=None)(np.zeros((1, 0), dtype), np.zeros((1, 0), dtype))
    for axis in (-1, (0, -1), (0, 1), (1, 2), None) if takes_axes(case) else (-1,):
        axes = range(p.ndim) if axis is None else np.atleast_1d(axis)
        if p.ndim <= max(axes) or all(shape[d] for d in axes):
            continue
        for reduction, given, pred in itertools.product(REDUCTIONS, (None, 0.0, 2.0), (p, p.T.copy().T)):
            loss = case.make({"axis": axis} if axis != -1 else {}, reduction=reduction)
            value, gradient = loss.value_and_grad(p, pred, sample_weight=given)
            assert gradient.shape == shape
            assert_same_bits([loss(p, pred, sample_weight=given)], [value])
            if reduction is None:
                assert (value == own * (1.0 if given is None else given)).all()
            if case.hessian:
                assert [x.shape for x in loss.grad_and_hess(p, pred, sample_weight=given)] == [shape, shape]


@pytest.mark.parametrize("case", [c for c in CASES.values() if takes_axes(c)], indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("axis", [(0, 0), (0, -3), (3,), (0, -4)], ids=str)
def test_axes_that_do_not_fit(case, seed, axis):
    y, p = batch(case, seed, (4, 5, 6), "float32")
    with pytest.raises(ValueError, match=r"^axis: "):
        case.make({"axis": axis})(y, p)
