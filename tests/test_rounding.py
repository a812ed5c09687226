# SPDX-License-Identifier: BSD-3-Clause
"""What is computed in which dtype: no path drops digits, whatever dtypes meet in a call."""

import ml_dtypes
import numpy as np
import pytest

from cases import CASES

DTYPES = {name: np.dtype(getattr(ml_dtypes, name, name)) for name in ("float16", "bfloat16", "float32", "float64")}
HALF = ("float16", "bfloat16")

# What has fewer digits than a dtype.
COARSER = {"float32": [ml_dtypes.bfloat16, np.float16], "float64": [np.float32]}


def computed_in(stored, argument):
    """The rule of the documentation: the argument, else y_pred's dtype, but never less than float32."""
    asked = argument or stored
    return "float32" if asked in HALF else asked


def batch(case, stored, labels, seed, shape=(23, 5)):
    y, p = case.draw(np.random.default_rng(seed), shape)
    return y if case.sparse else y.astype(DTYPES[labels]), p.astype(DTYPES[stored])


def outputs(case, y, p, **arguments):
    """{output: arrays}, by every way to have it."""
    per_sample, mean = case.make(reduction=None, **arguments), case.make(**arguments)
    value, gradient = per_sample.value_and_grad(y, p)
    fused, mean_gradient = mean.value_and_grad(y, p)
    found = {"value": [per_sample(y, p), value, mean(y, p), fused], "gradient": [gradient, mean_gradient]}
    if case.hessian:
        gradient, hessian = per_sample.grad_and_hess(y, p)
        found |= {"gradient": [*found["gradient"], gradient], "hessian": [hessian]}
    return found


def rounded(exact, dtype):
    """To nearest even, once: a conversion of float64 to a half dtype may round to float32 first."""
    near = exact.astype(dtype)
    if dtype.itemsize > 2 or exact.dtype != np.float64:
        return near
    with np.errstate(all="ignore"):
        around = [near, *((near.view(np.int16) + step).astype(np.int16).view(dtype) for step in (1, -1))]
        errors = [np.abs(x.astype(np.float64) - exact) for x in around]
    closest = np.where(errors[1] < errors[0], around[1].view(np.int16), near.view(np.int16))
    return np.where(errors[2] < errors[0], around[2].view(np.int16), closest).view(dtype)


@pytest.mark.parametrize("argument", [None, *DTYPES])
@pytest.mark.parametrize(("stored", "labels"), list(zip(DTYPES, reversed(DTYPES), strict=True)))
def test_dtype_of_the_computation(case, isa, seed, stored, argument, labels):
    """A call gives the bits of one whose arrays are in the dtype it computes in, rounded to y_pred's for derivatives."""
    y, p = batch(case, stored, labels, seed)
    computed = computed_in(stored, argument)
    wide = outputs(case, y if case.sparse else y.astype(computed), p.astype(computed))
    for name, results in outputs(case, y, p, dtype=argument).items():
        for result, exact in zip(results, wide[name], strict=True):
            expected = exact if name == "value" else rounded(exact, DTYPES[stored])
            assert result.dtype == expected.dtype == (computed if name == "value" else DTYPES[stored])
            np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("argument", [None, "float32", "float64"])
def test_values_have_all_digits(case, dtype, isa, seed, argument):
    """Losses are no numbers of a dtype with fewer digits."""
    y, p = batch(case, dtype, dtype, seed, (2003, 5))
    values = case.make(reduction=None, dtype=argument)(y, p)
    values = values[(values != 0) & (values != values.max())]
    # Of the digits of float64 a float32 array has no use for all where the loss is a sum of its elements.
    for coarser in COARSER[min(dtype, argument or dtype)]:
        with np.errstate(over="ignore"):
            assert (values.astype(coarser).astype(values.dtype) != values).mean() > 0.9


@pytest.mark.parametrize("weights", DTYPES)
def test_dtype_of_weights(case, dtype, isa, seed, weights):
    """Weights of any dtype count as they are: those of a half dtype as their float64."""
    y, p = batch(case, dtype, dtype, seed)
    w = np.random.default_rng(seed).random(len(p)).astype(DTYPES[weights])
    loss = case.make(reduction="mean_with_sample_weight")
    for ours, exact in zip(
        loss.value_and_grad(y, p, sample_weight=w), loss.value_and_grad(y, p, sample_weight=w.astype("float64")), strict=True
    ):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, exact)


def test_float64_weights_keep_their_digits(case, isa, seed):
    """A weight is not rounded to float32 before float64 losses are multiplied by it."""
    y, p = batch(case, "float64", "float64", seed)
    loss, weight = case.make(reduction="sum"), 1 + 2.0**-40
    value, gradient = loss.value_and_grad(y, p, sample_weight=np.full(len(p), weight))
    bare, bare_gradient = loss.value_and_grad(y, p)
    np.testing.assert_allclose(value, bare * weight, rtol=2.0**-50)
    np.testing.assert_allclose(gradient, bare_gradient * weight, rtol=2.0**-50)


@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
def test_doubles_are_rounded_to_halves_once(isa, rng, stored):
    """Ties of the half dtype and what is next to them, of which float32 has no digits, in every lane of a vector."""
    half = DTYPES[stored]
    limits = ml_dtypes.finfo(half)
    near = np.concatenate([rng.normal(size=400), 2.0 ** rng.uniform(-30, 10, 400), np.zeros(9)]).astype(half).astype(float)
    step = np.maximum(np.spacing(near.astype(half)).astype(float), float(limits.smallest_subnormal))
    exact = (near + step / 2) * (1 + rng.choice([0, 2.0**-26, -(2.0**-26), 2.0**-50, -(2.0**-50)], near.size))
    # Of the residual's square: whatever the number is, it is a gradient.
    loss = next(iter(CASES.values())).make(reduction="sum", dtype="float64")
    for skipped in range(9):
        y = -exact[skipped:, None] / 2
        np.testing.assert_array_equal(loss.value_and_grad(y, np.zeros(y.shape))[1], -2 * y)
        gradient = loss.value_and_grad(y, np.zeros(y.shape, half))[1]
        np.testing.assert_array_equal(gradient.view(np.int16), rounded(-2 * y, half).view(np.int16))
