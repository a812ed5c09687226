# SPDX-License-Identifier: BSD-3-Clause
"""Options of the losses of classes: weights of classes, smoothed labels, an ignored class, and all of them at once."""

import functools
import itertools

import numpy as np
import pytest

from cases import CASES
from exact import assert_close, evaluate_rows, pack

# With the rows' own class counts: vectors across rows, one row a loop, several blocks.
WIDTHS = (3, 17, 100, 1100)

NAMES = ("class_weight", "label_smoothing", "ignore_class")
OPTIONS = [chosen for n in (1, 2, 3) for chosen in itertools.combinations(NAMES, n)]


def has_options(case):
    return set(NAMES) <= set(case.make().get_config())


CLASS_CASES = [case for case in CASES.values() if not case.elementwise and has_options(case)]


def make(chosen, rng, classes):
    values = {"class_weight": rng.integers(0, 9, classes) / 4, "label_smoothing": 0.25, "ignore_class": 1}
    return {name: values[name] for name in chosen}


@functools.cache
def exact_call(name, chosen, classes, dtype, seed):
    """Arguments, y_true, y_pred, what the reference makes of them, and which samples count, for all instruction sets."""
    case, rng = CASES[name], np.random.default_rng(seed)
    rows = 40 if classes < 50 else 3
    y, p = case.draw(rng, (rows, classes))
    y[0] = 1 if case.sparse else np.eye(classes)[1]
    if not case.sparse:
        y[2] = rng.dirichlet(np.ones(classes))
    y, p = y if case.sparse else y.astype(dtype), p.astype(dtype)
    made = make(chosen, rng, classes)
    # The reference takes an ignored class for integer labels only.
    ignored = made.get("ignore_class")
    counted = np.ones(rows, bool) if ignored is None else (y if case.sparse else y.argmax(-1)) != ignored
    options = {name: value for name, value in made.items() if name != "ignore_class"}
    exact = {name: pack(array) for name, array in evaluate_rows(case, options, y, p).items()}
    for packed in exact.values():
        for field in ("hi", "lo", "scale", "condition"):
            packed[field][~counted] = 0
    return made, y, p, exact, counted


def test_there_are_such_cases():
    assert {case.sparse for case in CLASS_CASES} == {False, True}


@pytest.mark.parametrize("classes", WIDTHS)
@pytest.mark.parametrize("chosen", OPTIONS, ids="-".join)
@pytest.mark.parametrize("case", CLASS_CASES, indirect=True, ids=lambda case: case.name)
def test_options(case, isa, dtype, seed, rng, chosen, classes):
    made, y, p, exact, counted = exact_call(case.name, chosen, classes, dtype, seed)
    losses, gradient = case.make(made, reduction=None).value_and_grad(y, p)
    hessian = case.make(made).grad_and_hess(y, p)[1]
    for name, result in zip(case.outputs, (losses, gradient, hessian), strict=True):
        # The weight of the class is a factor.
        assert_close(result, exact[name], dtype, case.bound_of_sum(name), case.blur, y_pred=p)
    # The weights of classes belong to the loss: means divide by samples and by their own weights.
    weights = rng.integers(0, 5, len(p)) / 2
    expected = (exact["value"]["hi"] * weights).sum()
    for reduction, divisor in (
        ("sum_over_batch_size", counted.sum()),
        ("mean_with_sample_weight", weights[counted].sum()),
        ("sum", 1),
    ):
        value = case.make(made, reduction=reduction)(y, p, sample_weight=weights)
        assert value == pytest.approx(expected / divisor, rel=2e-6 if dtype == "float32" else 1e-13)


# What is added to the logits of a row: some rows then share a range of exponents, some have one of their own, and some
# none. The last ones are of sure labels, right and wrong.
OFFSETS = (0, -1e4, -400, -191, -189, -100, -20, 20, 45, 100, 149, 151, 189, 191, 250, 289, 291, 400, 1e4, 0, 0)
SURE = (60.0, -60.0)


@functools.cache
def far_rows(name, classes, dtype, seed):
    case = CASES[name]
    y, p = case.draw(np.random.default_rng(seed), (len(OFFSETS), classes))
    labels = y if case.sparse else y.argmax(-1)
    for row, sure in zip((-2, -1), SURE, strict=True):
        p[row, labels[row]] += sure
    y, p = y if case.sparse else y.astype(dtype), (p + np.array(OFFSETS)[:, None]).astype(dtype)
    return y, p, {key: pack(array) for key, array in evaluate_rows(case, {}, y, p).items()}


@pytest.mark.parametrize("classes", [2, 5, 40, 300])
@pytest.mark.parametrize(
    "case",
    [case for case in CLASS_CASES if case.make().get_config()["from_logits"]],
    indirect=True,
    ids=lambda case: case.name,
)
def test_rows_far_from_each_other(case, isa, dtype, seed, classes):
    y, p, exact = far_rows(case.name, classes, dtype, seed)
    loss = case.make(reduction=None)
    losses, gradient = loss.value_and_grad(y, p)
    for name, result in zip(case.outputs, (losses, gradient, loss.grad_and_hess(y, p)[1]), strict=True):
        assert_close(result, exact[name], dtype, case.bound(name), case.blur, y_pred=p)
    for row in range(len(p)):
        alone = loss.value_and_grad(y[row : row + 1], p[row : row + 1])
        np.testing.assert_array_equal(alone[0], losses[row : row + 1])
        np.testing.assert_array_equal(alone[1], gradient[row : row + 1])


@pytest.mark.parametrize("case", CLASS_CASES, indirect=True, ids=lambda case: case.name)
def test_options_along_another_axis(case, rng):
    y, p = case.draw(rng, (4, 5, 3))
    y, p = y if case.sparse else y.astype("float32"), p.astype("float32")
    made = {"class_weight": [0.5, 2.0, 1.0], "label_smoothing": 0.25, "ignore_class": 2}
    expected = case.make(made, reduction=None).value_and_grad(y, p)
    moved = case.make(made | {"axis": 1}, reduction=None)
    losses, gradient = moved.value_and_grad(y if case.sparse else np.moveaxis(y, -1, 1), np.moveaxis(p, -1, 1))
    np.testing.assert_array_equal(losses, expected[0])
    np.testing.assert_array_equal(np.moveaxis(gradient, 1, -1), expected[1])


@pytest.mark.parametrize("case", CLASS_CASES, indirect=True, ids=lambda case: case.name)
def test_wrong_number_of_class_weights(case, rng):
    y, p = case.draw(rng, (4, 3))
    for weights in ([1.0, 2.0], 2.0, [1.0] * 4):
        with pytest.raises(ValueError, match=r"^class_weight: \d weights? for 3 classes$"):
            case.make({"class_weight": weights})(y, p)


@pytest.mark.parametrize("case", [c for c in CLASS_CASES if not c.sparse], indirect=True, ids=lambda case: case.name)
def test_ignored_class_that_dense_labels_do_not_have(case, rng):
    y, p = case.draw(rng, (4, 3))
    for label in (-1, 3, 255):
        with pytest.raises(ValueError, match=rf"^ignore_class: {label} is no class of y_true, which has 3 of them$"):
            case.make({"ignore_class": label})(y, p)


@pytest.mark.parametrize("case", [c for c in CLASS_CASES if not c.sparse], indirect=True, ids=lambda case: case.name)
def test_the_first_of_several_largest_labels_is_the_class(case, isa, rng):
    _, p = case.draw(rng, (3, 3))
    y = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.5, 0.0, 0.5]])
    value = case.make({"ignore_class": 1}, reduction=None)(y, p)
    np.testing.assert_array_equal(value, case.make(reduction=None)(y, p) * [1, 0, 1])
    assert value[[0, 2]].all()


@pytest.mark.parametrize("case", [c for c in CLASS_CASES if c.sparse], indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("made", [{"class_weight": [1.0] * 4}, {"label_smoothing": 0.5}], ids=str)
def test_labels_out_of_range_with_options(case, rng, made):
    y, p = case.draw(rng, (6, 4))
    y[3] = 4
    with pytest.raises(ValueError, match=r"^y_true: label 4 at index \(3,\)"):
        case.make(made)(y, p)
    # A masked sample may have any label.
    mask = np.arange(6) != 3
    assert case.make(made)(y, p, mask=mask) == pytest.approx(case.make(made)(y[mask], p[mask]), rel=1e-12)


WEIGHTED = [case for case in CASES.values() if case.class_weight]


@pytest.mark.parametrize("case", WEIGHTED, indirect=True, ids=lambda case: case.name)
@pytest.mark.parametrize("shape", [(7, 3), (2, 1500), (3, 2, 5), (4,)], ids=str)
def test_a_weight_for_each_column(case, isa, dtype, rng, shape):
    """A vector of weights is a number in each column."""
    y, p = (x.astype(dtype) for x in case.draw(rng, shape))
    weights = rng.integers(0, 9, shape[-1]) / 4
    loss = case.make({case.class_weight: weights})
    gradient, hessian = loss.grad_and_hess(y, p)
    columns = [case.make({case.class_weight: w}) for w in weights]
    expected = [c.grad_and_hess(y[..., [k]], p[..., [k]]) for k, c in enumerate(columns)]
    np.testing.assert_array_equal(gradient, np.concatenate([e[0] for e in expected], axis=-1))
    np.testing.assert_array_equal(hessian, np.concatenate([e[1] for e in expected], axis=-1))
    losses = [c(y[..., [k]], p[..., [k]]) for k, c in enumerate(columns)]
    assert loss(y, p) == pytest.approx(np.mean(losses), rel=1e-5 if dtype == "float32" else 1e-13)
    with pytest.raises(ValueError, match=rf"^{case.class_weight}: {len(weights) + 1} weights for {len(weights)} classes$"):
        case.make({case.class_weight: [*weights, 1.0]})(y, p)


@pytest.mark.parametrize("case", [case for case in CLASS_CASES if case.sparse], indirect=True, ids=lambda case: case.name)
def test_ignored_rows_need_no_classes(case):
    loss = case.make(ignore_class=-1)
    value, gradient = loss.value_and_grad(np.array([-1, -1]), np.zeros((2, 0), np.float32))
    assert value == 0
    assert gradient.shape == (2, 0)
