# SPDX-License-Identifier: BSD-3-Clause
"""Values, gradients and Hessians of every case, dtype and instruction set against the exact ones, element by element."""

import numpy as np
import pytest

from cases import CASES, VARIANTS
from exact import assert_close, evaluate_rows, numbers, pack, pack_floats, samples


def times(exact, factor):
    """PACKED results times a small integer."""
    out = exact.copy()
    for name in ("hi", "lo", "scale", "condition"):
        out[name] *= factor
    return out


def layouts(case, sample, exact, outputs):
    """(y_true, y_pred, {output: PACKED}) of one sample in the shapes that reach different loops."""
    y, p = sample.y_true, sample.y_pred
    if case.elementwise:
        # One element a row, and all in one row, where a vector loop sees them at every position.
        yield y[:, None], p[:, None], {k: exact[k] if k == "value" else exact[k][:, None] for k in outputs}
        if "value" not in outputs:
            yield y[None], p[None], {k: exact[k][None] for k in outputs}
        return
    yield y, p, {k: exact[k] for k in outputs}
    # Again and again, so that each row meets each place in a group of rows; a prime number of rows leaves a ragged end.
    if y.shape[0] * p.shape[-1] < 500:
        rows = np.arange(211) % len(p)
        yield y[rows], p[rows], {k: exact[k][rows] for k in outputs}


def test_value(variant, dtype, isa, seed):
    case, index = variant
    function = case.function(case.parameters[index])
    for sample, exact in samples(case.name, index, dtype, seed):
        for y, p, expected in layouts(case, sample, exact, ["value"]):
            value = function(y, p)
            assert value.dtype == dtype
            assert_close(
                value, expected["value"], dtype, case.bound("value"), case.blur, sample.strict, y_true=y, y_pred=p
            )


# The rowwise cases have rows of every length among their samples.
ELEMENTWISE = [v for v in VARIANTS if CASES[v[0]].elementwise]


@pytest.mark.parametrize("variant", ELEMENTWISE, indirect=True, ids=lambda v: f"{v[0]}-{v[1]}")
# A vector register and a bit; an unrolled step and a bit; several blocks.
@pytest.mark.parametrize("width", [5, 67, 4099])
def test_value_of_rows_of_equal_elements(variant, dtype, isa, seed, width):
    """The mean of equal elements is the element, so the vector loops are held to the bound of a single one."""
    case, index = variant
    function = case.function(case.parameters[index])
    for sample, exact in samples(case.name, index, dtype, seed):
        # Not where the sum, though not the mean, is beyond the largest number.
        used = np.flatnonzero(np.abs(exact["value"]["hi"]) < float(np.finfo(dtype).max) / 1e4)
        used = used[:: 1 if width < 1000 else 7]
        y, p = sample.y_true[used], sample.y_pred[used]
        value = function(np.repeat(y[:, None], width, axis=1), np.repeat(p[:, None], width, axis=1))
        expected = times(exact["value"][used], width if case.row == "sum" else 1)
        bound = case.bound_of_sum("value") if case.row == "sum" else case.bound("value") + 1
        assert_close(value, expected, dtype, bound, case.blur, y_true=y, y_pred=p)


LONG = 40_009  # columns of a row that is cut into parts


@pytest.mark.parametrize("variant", ELEMENTWISE, indirect=True, ids=lambda v: f"{v[0]}-{v[1]}")
def test_value_of_a_long_row_of_equal_elements(variant, dtype, isa, seed):
    case, index = variant
    function = case.function(case.parameters[index])
    sample, exact = samples(case.name, index, dtype, seed)[0]
    used = np.flatnonzero(np.abs(exact["value"]["hi"]) < float(np.finfo(dtype).max) / 1e5)
    for i in used[:: max(1, len(used) // 3)]:
        y, p = sample.y_true[i], sample.y_pred[i]
        value = function(np.full((1, LONG), y), np.full((1, LONG), p))
        expected = times(exact["value"][i : i + 1], LONG if case.row == "sum" else 1)
        bound = case.bound_of_sum("value") if case.row == "sum" else case.bound("value") + 1
        assert_close(value, expected, dtype, bound, case.blur, y_true=y, y_pred=p)


def padding(case, y, p):
    """What may stand before a row of classes, with labels of 0, and leaves its loss as it is: a score, or nothing."""
    for score in (0.0, -1e4):
        longer = [score, *p], y + 1 if case.lacks_axis else [0.0, *y]
        values = [case.reference(numbers(np.asarray(b)), numbers(a), **case.parameters[0])[0] for a, b in (longer, (p, y))]
        if values[0].value == values[1].value:
            return score
    raise AssertionError("the loss depends on all classes")


@pytest.mark.parametrize(
    "case", [c for c in CASES.values() if not c.elementwise and c.columns is None], indirect=True, ids=lambda case: case.name
)
def test_classes_at_the_end_of_a_long_row(case, dtype, isa, seed):
    y, p = case.draw(np.random.default_rng(seed), (3, 7))
    y, p = (y if case.sparse else y.astype(dtype)), p.astype(dtype)
    exact = {k: pack(v) for k, v in evaluate_rows(case, case.parameters[0], y, p).items()}
    score = padding(case, y[0], p[0])
    before = LONG - p.shape[-1]
    loss = case.make(case.parameters[0], reduction=None)
    for i in range(len(p)):
        longer = np.full((1, LONG), score, dtype)
        longer[:, before:] = p[i]
        if case.lacks_axis:
            labels = y[i : i + 1] + before
        else:
            labels = np.zeros((1, LONG), dtype)
            labels[:, before:] = y[i]
        value, gradient = loss.value_and_grad(labels, longer)
        for name, result in (("value", loss(labels, longer)), ("value", value), ("gradient", gradient[:, before:])):
            assert_close(result, exact[name][i : i + 1], dtype, case.bound(name), case.blur)


WITH_HESSIAN = [v for v in VARIANTS if CASES[v[0]].hessian]


@pytest.mark.parametrize("variant", WITH_HESSIAN, indirect=True, ids=lambda v: f"{v[0]}-{v[1]}")
def test_gradient_and_hessian(variant, dtype, isa, seed):
    case, index = variant
    loss = case.make(case.parameters[index])
    for sample, exact in samples(case.name, index, dtype, seed):
        for y, p, expected in layouts(case, sample, exact, ["gradient", "hessian"]):
            results = loss.grad_and_hess(y, p)
            for result, name in zip(results, ("gradient", "hessian"), strict=True):
                assert result.dtype == dtype
                assert_close(
                    result, expected[name], dtype, case.bound(name), case.blur, sample.strict,
                    y_true=case.shown(y, p.shape), y_pred=p,
                )  # fmt: skip


def test_fused_value_and_gradient(variant, dtype, isa, seed):
    """The pass that computes both, with the sum over samples: each element's gradient is its own."""
    case, index = variant
    per_sample = case.make(case.parameters[index], reduction=None)
    summed = case.make(case.parameters[index], reduction="sum")
    for sample, exact in samples(case.name, index, dtype, seed):
        for y, p, expected in layouts(case, sample, {k: exact[k] for k in ("value", "gradient")}, ["value", "gradient"]):
            value, gradient = per_sample.value_and_grad(y, p)
            _, gradient_of_sum = summed.value_and_grad(y, p)
            shown = case.shown(y, p.shape)
            for name, result in (("value", value), ("gradient", gradient), ("gradient", gradient_of_sum)):
                assert_close(
                    result, expected[name], dtype, case.bound(name), case.blur, sample.strict,
                    y_true=y if name == "value" else shown, y_pred=p,
                )  # fmt: skip


def special_cases():
    for case in CASES.values():
        for i, special in enumerate(case.specials):
            yield pytest.param(case, special, id=f"{case.name}-{i}")


@pytest.mark.parametrize(("case", "special"), list(special_cases()))
def test_special_values(case, special, dtype, isa, rng):
    """inf and NaN give what the mathematics says, and leave the rows around them alone."""
    p_row = np.atleast_1d(np.asarray(special.y_pred, dtype))
    y_row = special.y_true if case.lacks_axis else np.atleast_1d(np.asarray(special.y_true, dtype))
    y, p = case.draw(rng, (41, p_row.size))
    y, p = (y if case.sparse else y.astype(dtype)), p.astype(dtype)
    per_sample = case.make(special.parameters, reduction=None)

    def derivatives(y, p):
        return per_sample.grad_and_hess(y, p) if case.hessian else per_sample.value_and_grad(y, p)[1:]

    before = (per_sample(y, p), *derivatives(y, p))
    for place in (0, 5, 40):
        y_special, p_special = y.copy(), p.copy()
        y_special[place], p_special[place] = y_row, p_row
        value, fused_gradient = per_sample.value_and_grad(y_special, p_special)
        gradient, *hessian = derivatives(y_special, p_special)
        for got, name in (
            (per_sample(y_special, p_special), "value"),
            (value, "value"),
            (fused_gradient, "gradient"),
            (gradient, "gradient"),
            *((x, "hessian") for x in hessian),
        ):
            expected = getattr(special, name)
            if expected is not None:
                expected = pack_floats(np.broadcast_to(expected, got[place].shape))
                assert_close(got[place], expected, dtype, case.bound(name), y_true=y_row, y_pred=p_row)
        rest = np.arange(len(p)) != place
        for got, expected in zip((per_sample(y_special, p_special), gradient, *hessian), before, strict=True):
            np.testing.assert_array_equal(got[rest], expected[rest])


def test_few_elements_are_left_out(variant, dtype, seed):
    """Jumps excuse elements from the comparison; they must stay the exception."""
    case, index = variant
    total = skipped = 0
    for _, exact in samples(case.name, index, dtype, seed):
        margin = exact[case.outputs[-1]]["margin"]
        total += margin.size
        skipped += np.count_nonzero((margin > 0) & (margin < case.blur * np.finfo(dtype).eps))
    assert skipped <= total / 10
