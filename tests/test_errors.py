# SPDX-License-Identifier: BSD-3-Clause
"""Wrong input raises ValueError or TypeError, says which argument and where, and writes nothing."""

import re

import numpy as np
import pytest

import fastloss as fl
import wrong_calls
from cases import CASES

SPARSE = [case for case in CASES.values() if case.sparse]
DENSE = [case for case in CASES.values() if not case.sparse]


def refuses(*words):
    """Expects an error whose message contains all these words, in any order: the argument's name, numbers."""
    pattern = "(?s)" + "".join(rf"(?=.*(?<![\w.]){re.escape(str(word))}(?!\w))" for word in words)
    return pytest.raises((ValueError, TypeError), match=pattern)


def batch(case, rng, shape=(6, 4), dtype="float32"):
    y, p = case.draw(rng, shape)
    return (y if case.sparse else y.astype(dtype)), p.astype(dtype)


def calls(case, **arguments):
    """Every way to call a loss of the case; one without Hessian has one less."""
    loss = case.make(**arguments)
    return {
        "call": loss,
        "value_and_grad": loss.value_and_grad,
        "grad_and_hess": loss.grad_and_hess if case.hessian else loss.value_and_grad,
        "function": case.function(),
    }


WAYS = ("call", "value_and_grad", "grad_and_hess", "function")

WEIGHTED = WAYS[:3]


# Shapes


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", DENSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("y_shape", "p_shape"),
    [
        ((6, 4), (6, 5)),
        ((6, 4), (7, 4)),
        # What NumPy would broadcast
        ((1, 4), (6, 4)),
        ((6, 1), (6, 4)),
        ((6, 4), (1, 4)),
        ((6,), (6, 4)),
        ((6,), (6, 6)),
        ((6, 4), (4,)),
        ((), (6, 4)),
        ((2, 6, 4), (6, 4)),
    ],
    ids=str,
)
def test_shapes_that_differ(case, way, y_shape, p_shape):
    y, p = np.ones(y_shape, "float32"), np.full(p_shape, 0.5, "float32")
    numbers = [n for shape in (y_shape, p_shape) for n in shape]
    with refuses("y_true", "y_pred", *numbers):
        calls(case)[way](y, p)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("y_shape", "p_shape"),
    [((7,), (6, 4)), ((6, 4), (6, 4)), ((6, 2), (6, 4)), ((1,), (6, 4)), ((), (6, 4)), ((6,), (6, 3, 4)), ((2, 6), (6, 4))],
    ids=str,
)
def test_label_shapes_that_do_not_fit(case, way, y_shape, p_shape):
    y, p = np.zeros(y_shape, "int64"), np.full(p_shape, 0.5, "float32")
    with refuses("y_true", "y_pred", *y_shape, *p_shape):
        calls(case)[way](y, p)


@pytest.mark.parametrize("case", [c for c in CASES.values() if c.has_axis], indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("axis", [2, -3, 7])
def test_axis_out_of_range(case, axis, rng):
    y, p = batch(case, rng)
    with refuses("axis", axis):
        case.make({"axis": axis})(y, p)


# Labels


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize(
    ("label", "dtype"),
    [
        (4, "int64"),
        (4, "uint8"),
        (-1, "int8"),
        (-1, "int64"),
        (2**31, "uint32"),
        (2**32 + 1, "int64"),
        (2**63 + 5, "uint64"),
        (-(2**63), "int64"),
        (4.0, "float32"),
        (-1.0, "float64"),
        (1.5, "float32"),
        (1.5, "float64"),
        (-0.5, "float32"),
        (np.nan, "float32"),
        (np.inf, "float64"),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", [0, 4, 103])
def test_bad_label(case, way, isa, rng, label, dtype, place):
    y, p = batch(case, rng, (105, 4))
    y = y.astype(dtype)
    y[place] = label
    y[104] = label  # a second one: the first is reported
    text = str(int(label)) if np.isfinite(label) and label == int(label) else str(label)
    with refuses("y_true", place):
        calls(case)[way](y, p)
    with pytest.raises((ValueError, TypeError), match=rf"(?<![\w.]){re.escape(text)}(?:\.0)?(?![\w.]*\w)"):
        calls(case)[way](y, p)


@pytest.mark.parametrize("case", [case for case in SPARSE if "ignore_class" in case.make().get_config()], indirect=True,
                         ids=lambda case: case.name)  # fmt: skip
def test_labels_beyond_int64_are_not_negative_ones(case, isa, rng):
    y, p = batch(case, rng, (5, 4))
    y = y.astype(np.uint64)
    y[3] = 2**64 - 1
    with refuses("y_true", 3):
        case.make(ignore_class=-1)(y, p)


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
def test_the_first_of_bad_labels_in_several_tasks(case, isa, rng):
    y, p = batch(case, rng, (100_003, 4))
    y[[5, 60_000]] = 9
    with refuses("y_true", 5, 9):
        case.make()(y, p)


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
def test_bad_label_of_a_grid(case, isa, rng):
    y, p = batch(case, rng, (5, 7, 4))
    y[3, 2] = 9
    with refuses("y_true", 3, 2, 9):
        case.make()(y, p)


IGNORING = [case for case in SPARSE if any("ignore_class" in parameters for parameters in case.parameters)]


@pytest.mark.parametrize("case", IGNORING, indirect=True, ids=lambda case: case.name)
def test_only_the_ignored_label_is_excused(case, isa, rng):
    y, p = batch(case, rng)
    y[2], y[5] = -1, -2
    with refuses("y_true", 5, -2):
        case.make({"ignore_class": -1})(y, p)


@pytest.mark.parametrize("case", SPARSE, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("rows", [6, 100_003])
def test_no_output_is_half_written(case, isa, rng, rows):
    y, p = batch(case, rng, (rows, 4))
    y[-1] = 4
    out = np.full_like(p, 7)
    with refuses("y_true", rows - 1, 4):
        case.make().value_and_grad(y, p, out=out)
    assert (out == 7).all()
    pair = out, out.copy()
    with refuses("y_true", rows - 1, 4):
        case.make().grad_and_hess(y, p, out=pair)
    assert (pair[0] == 7).all()
    assert (pair[1] == 7).all()
    place = p.copy()
    with refuses("y_true", rows - 1, 4):
        case.make().value_and_grad(y, place, out=place)
    np.testing.assert_array_equal(place, p)


# Weights and masks


@pytest.mark.parametrize("way", WEIGHTED)
@pytest.mark.parametrize(
    ("shape", "weights"),
    [
        ((6, 4), (5,)),
        ((6, 4), (4,)),
        ((6, 4), (0,)),
        ((6, 4), (6, 4)),
        ((6, 4), (5, 1)),
        # Shapes that would enlarge the losses
        ((6, 4), (6, 6)),
        ((6, 4), (2, 6)),
        ((6, 4), (6, 1, 1)),
        ((6, 3, 4), (2, 6, 3)),
        ((6, 3, 4), (6, 4)),
        ((6, 3, 4), (5, 1)),
        ((1, 4), (6,)),
        ((6, 1, 4), (6, 3)),
    ],
    ids=str,
)
def test_weights_that_do_not_fit(case, way, rng, shape, weights):
    y, p = batch(case, rng, shape)
    with refuses("sample_weight", *weights):
        calls(case)[way](y, p, sample_weight=np.ones(weights))


@pytest.mark.parametrize("way", WEIGHTED)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("place", [0, 5, 100])
def test_weight_that_is_no_number(case, way, isa, rng, dtype, place):
    y, p = batch(case, rng, (101, 4))
    weights = np.ones(101, dtype)
    weights[place] = weights[100] = np.nan
    with refuses("sample_weight", place, "nan"):
        calls(case)[way](y, p, sample_weight=weights)


@pytest.mark.parametrize("way", WEIGHTED)
def test_scalar_weight_that_is_no_number(case, way, rng):
    y, p = batch(case, rng)
    with refuses("sample_weight", "nan"):
        calls(case)[way](y, p, sample_weight=float("nan"))


@pytest.mark.parametrize("reduction", ["sum", "sum_over_batch_size", "mean_with_sample_weight"])
def test_weight_of_a_single_sample_that_is_no_number(case, rng, reduction):
    y, p = batch(case, rng, (1, 4))
    with refuses("sample_weight", "nan"):
        case.make(reduction=reduction)(y[0], p[0], sample_weight=float("nan"))


@pytest.mark.parametrize("way", WEIGHTED)
@pytest.mark.parametrize("weights", ["x", ["1"] * 6, [1j] * 6, [None] * 6, {"a": 1}], ids=str)
def test_weights_of_a_wrong_type(case, way, rng, weights):
    y, p = batch(case, rng)
    with refuses("sample_weight"):
        calls(case)[way](y, p, sample_weight=weights)


@pytest.mark.parametrize("way", WEIGHTED[:2])
@pytest.mark.parametrize("shape", [(5,), (6, 4), (6, 6), (2, 6)], ids=str)
def test_mask_that_does_not_fit(case, way, rng, shape):
    y, p = batch(case, rng)
    with refuses("mask", *shape):
        calls(case)[way](y, p, mask=np.ones(shape, bool))


@pytest.mark.parametrize("mask", [["x"] * 6, [1j] * 6], ids=str)
def test_mask_of_a_wrong_type(case, rng, mask):
    y, p = batch(case, rng)
    with refuses("mask"):
        case.make()(y, p, mask=mask)


# Constructors


@pytest.mark.parametrize("reduction", ["median", "SUM", "", 3, True], ids=repr)
def test_unknown_reduction(case, reduction):
    with pytest.raises((ValueError, TypeError), match=f"reduction.*{re.escape(repr(reduction))}"):
        case.make(reduction=reduction)


BAD = [pytest.param(case, bad, id=f"{case.name}-{bad.name}-{bad.value!r}") for case in CASES.values() for bad in case.bad]


@pytest.mark.parametrize(("case", "bad"), BAD)
def test_bad_parameter(case, bad, rng):
    with refuses(bad.name):
        case.make({bad.name: bad.value})
    y, p = batch(case, rng)
    with refuses(bad.name):
        case.function({bad.name: bad.value})(y, p)


# Array types


STRANGE = {
    "object": lambda x: x.astype(object),
    "complex": lambda x: x.astype(complex),
    "strings": lambda x: x.astype(str),
    "bytes": lambda x: x.astype("S"),
    "dates": lambda x: x.astype("int64").astype("datetime64[s]"),
    "records": lambda x: np.zeros(x.shape, [("a", "f4")]),
    "ragged": lambda x: [[1.0, 2.0], [1.0]],
    "None": lambda x: None,
    "set": lambda x: {1.0, 2.0},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("strange", STRANGE)
def test_arrays_of_a_wrong_type(case, way, rng, strange):
    y, p = batch(case, rng)
    with refuses("y_pred"):
        calls(case)[way](y, STRANGE[strange](p))
    with refuses("y_true"):
        calls(case)[way](STRANGE[strange](y), p)


# out=


def frozen(x):
    x = x.copy()
    x.flags.writeable = False
    return x


OUT = {
    "too long": lambda p: np.empty((7, 4), p.dtype),
    "other rank": lambda p: np.empty(24, p.dtype),
    "transposed": lambda p: np.empty((4, 6), p.dtype),
    "wider": lambda p: np.empty(p.shape, "float64"),
    "half": lambda p: np.empty(p.shape, "float16"),
    "integers": lambda p: np.empty(p.shape, "int32"),
    "read-only": frozen,
    "list": lambda p: p.tolist(),
    "number": lambda p: 1.0,
}


@pytest.mark.parametrize("wrong", OUT)
def test_wrong_out(case, rng, wrong):
    y, p = batch(case, rng)
    loss = case.make()
    with refuses("out"):
        loss.value_and_grad(y, p, out=OUT[wrong](p))
    if not case.hessian:
        return
    good = np.full_like(p, 7)
    for pair in ((good, OUT[wrong](p)), (OUT[wrong](p), good)):
        with refuses("out"):
            loss.grad_and_hess(y, p, out=pair)
        assert (good == 7).all()


WITH_HESSIAN = [case for case in CASES.values() if case.hessian]


@pytest.mark.parametrize("case", WITH_HESSIAN, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("wrong", [lambda p: p, lambda p: (p,), lambda p: (p, p.copy(), p.copy()), lambda p: 1.0])
def test_out_that_is_no_pair(case, rng, wrong):
    y, p = batch(case, rng)
    with refuses("out"):
        case.make().grad_and_hess(y, p, out=wrong(p.copy()))


@pytest.mark.parametrize("case", WITH_HESSIAN, indirect=True, ids=lambda case: case.name)
def test_out_that_is_one_array_twice(case, rng):
    """Gradient and Hessian cannot share memory."""
    y, p = batch(case, rng)
    out = np.empty_like(p)
    with refuses("out"):
        case.make().grad_and_hess(y, p, out=(out, out))


# Elements out of bounds


def excess(bounds):
    """Numbers just and far out of bounds that float32 has."""
    low, high = bounds
    below = [] if low == -np.inf else [-1e-30, -1.0, -np.inf] if low == 0 else [0.0, -1.0]
    above = [] if high == np.inf else [np.nextafter(np.float32(high), np.float32(2)), 7.0] if high < 2 else [np.inf]
    return [float(x) for x in (*below, *above)]


def excessive():
    for case in CASES.values():
        for argument, bounds in (("y_true", case.true_bounds), ("y_pred", case.pred_bounds)):
            for value in excess(bounds):
                yield pytest.param(case, argument, value, id=f"{case.name}-{argument}-{value:g}")


def exceeding(case, rng, argument, value, place, shape=(105, 4)):
    y, p = batch(case, rng, shape)
    (y if argument == "y_true" else p)[place] = value
    return y, p


@pytest.mark.parametrize(("case", "argument", "value"), list(excessive()))
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", [(0, 0), (57, 2), (104, 3)], ids=str)
def test_element_out_of_bounds(case, way, isa, rng, argument, value, place):
    y, p = exceeding(case, rng, argument, value, place)
    message = re.escape(f"{argument}: {np.float32(value)} at index {place}, expected a ")
    with pytest.raises(fl.InputError, match=f"^{message}") as error:
        calls(case)[way](y, p)
    assert (error.value.argument, error.value.index, error.value.value) == (argument, place, np.float32(value))


@pytest.mark.parametrize(("case", "argument", "value"), list(excessive()))
def test_hidden_elements_may_be_out_of_bounds(case, rng, argument, value):
    y, p = exceeding(case, rng, argument, value, (57, 2))
    kept = np.arange(105) != 57
    loss = case.make()
    expected = loss(y[kept], p[kept])
    assert loss(y, p, mask=kept) == pytest.approx(expected, rel=1e-6)
    hidden, gradient = loss.value_and_grad(y, p, sample_weight=kept.astype("float32"))
    assert hidden == pytest.approx(expected * 104 / 105, rel=1e-6)
    assert (gradient[57] == 0).all()
    _, written = loss.value_and_grad(y, p, sample_weight=kept.astype("float32"), out=p)
    np.testing.assert_array_equal(written, gradient)


@pytest.mark.parametrize(("case", "argument", "value"), list(excessive()))
@pytest.mark.parametrize("rows", [6, 30_003])
def test_nothing_is_written_for_an_element_out_of_bounds(case, rng, argument, value, rows):
    y, p = exceeding(case, rng, argument, value, (rows - 1, 1), (rows, 4))
    out = np.full_like(p, 7)
    for call in (
        lambda: case.make().value_and_grad(y, p, out=out),
        lambda: case.make().grad_and_hess(y, p, out=(out, out.copy())),
    )[: 2 if case.hessian else 1]:
        with refuses(argument, rows - 1, 1):
            call()
        assert (out == 7).all()


@pytest.mark.parametrize(("case", "argument", "value"), list(excessive()))
def test_a_chunk_that_is_refused_adds_nothing(case, rng, argument, value):
    total = case.make().accumulator()
    total.update(*batch(case, rng))
    before = total.value(), total.count
    with refuses(argument, 57, 2):
        total.update(*exceeding(case, rng, argument, value, (57, 2)))
    assert (total.value(), total.count) == before


@pytest.mark.parametrize(("case", "argument", "value"), list(excessive()))
def test_element_out_of_bounds_in_a_long_row(case, rng, argument, value):
    y, p = exceeding(case, rng, argument, value, (1, 2990), (2, 3000))
    with refuses(argument, 1, 2990):
        case.make()(y, p)
    if case.has_axis:
        with refuses(argument, 2990, 1):
            case.make({"axis": 0})(y.T, p.T)


def test_no_hessian(case, rng):
    """A loss that has none says so, and says it of its class."""
    loss = case.make()
    assert loss.has_hessian == case.hessian
    if not case.hessian:
        with pytest.raises(TypeError, match=f"^{case.loss} has no Hessian"):
            loss.grad_and_hess(*batch(case, rng))


FIXED = [case for case in CASES.values() if case.columns]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", FIXED, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("shape", [(6, 4), (6, 1), (6, 0), (3, 6, 5), (1,)], ids=str)
def test_last_axis_of_a_wrong_length(case, way, shape):
    with refuses("y_true", "y_pred", *shape, case.columns):
        calls(case)[way](np.ones(shape[:-1], "float32"), np.ones(shape, "float32"))


# Messages


def same_error(function, error, message):
    with pytest.raises(error) as caught:
        function()
    assert (caught.type, str(caught.value)) == (error, message)


@pytest.mark.parametrize("call", wrong_calls.CALLS, ids=lambda call: call.message)
def test_message_of_a_wrong_call(call):
    y_true = wrong_calls.y() if call.y_true is wrong_calls.FINE else call.y_true
    y_pred = wrong_calls.p() if call.y_pred is wrong_calls.FINE else call.y_pred
    weights = {name: getattr(call, name) for name in ("sample_weight", "mask") if getattr(call, name) is not None}
    out = [np.full(getattr(y_pred, "shape", (2, 3)), 7, "float32") for _ in range(3)]
    ways = {
        "call": lambda: call.loss(y_true, y_pred, **weights),
        "value_and_grad": lambda: call.loss.value_and_grad(y_true, y_pred, **weights, out=out[0]),
    }
    if "mask" not in weights:
        ways["grad_and_hess"] = lambda: call.loss.grad_and_hess(y_true, y_pred, **weights, out=out[1:])
    for function in ways.values():
        same_error(function, call.error, call.message)
    assert all((array == 7).all() for array in out)


@pytest.mark.parametrize(("function", "error", "message"), wrong_calls.OTHERS)
def test_message(function, error, message):
    out = np.full((2, 3), 7, "float32")
    threads = fl.get_num_threads()
    same_error(lambda: function(out), error, message)
    assert (out == 7).all()
    assert fl.get_num_threads() == threads
