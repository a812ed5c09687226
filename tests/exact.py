# SPDX-License-Identifier: BSD-3-Clause
"""Evaluates references over arrays and compares results with them: the one place that decides what is close enough."""

import functools

import ml_dtypes
import numpy as np

from cases import CASES
from reference import add, mpf

# An exact number as a sum of two float64 (hi + lo), and the other fields of reference.Exact.
PACKED = np.dtype([(name, np.float64) for name in ("hi", "lo", "scale", "condition", "margin")])


def pack(results):
    """Array of reference.Exact -> PACKED array of the same shape."""
    results = np.asarray(results, dtype=object)
    packed = np.empty(results.shape, PACKED)
    for index in np.ndindex(results.shape):
        r = results[index]
        hi = float(r.value)
        lo = float(r.value - hi) if np.isfinite(hi) else 0.0
        packed[index] = hi, lo, float(r.scale), float(r.condition), float(r.margin)
    return packed


def pack_floats(values):
    """Floats that are themselves the exact result, NaN and inf included."""
    values = np.asarray(values, np.float64)
    packed = np.zeros(values.shape, PACKED)
    packed["hi"], packed["scale"], packed["margin"] = values, np.abs(values), np.inf
    return packed


def object_array(items, shape):
    array = np.empty(len(items), dtype=object)
    array[:] = items  # Exact is a tuple: NumPy must not look inside
    return array.reshape(shape)


def boxed(result):
    """An Exact as one object for an object array."""
    box = np.empty((), dtype=object)
    box[()] = result
    return box


def numbers(array):
    """Exact mpf of every element, as nested lists of the array's shape."""
    array = np.asarray(array)
    if array.ndim == 0:
        return mpf(float(array)) if array.dtype.kind not in "iu" else int(array)
    return [numbers(x) for x in array]


def evaluate_elements(case, parameters, y_true, y_pred):
    """{output: object array of Exact, one per element}."""
    y_true = case.convert(np.asarray(y_true))
    flat = [
        case.reference(y, p, **parameters)
        for y, p in zip(numbers(y_true.ravel()), numbers(np.ravel(y_pred)), strict=True)
    ]
    return {
        name: object_array([boxed(r[i]).item() for r in flat], np.shape(y_pred)) for i, name in enumerate(case.outputs)
    }


def evaluate_rows(case, parameters, y_true, y_pred):
    """{output: object array of Exact}: one value per row of the last axis, gradients and hessians of each row's own loss.

    For the elementwise losses the gradient and hessian are those of the element, before the division by the row's length.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    shape, width = y_pred.shape[:-1], y_pred.shape[-1]
    if case.elementwise:
        results = evaluate_elements(case, parameters, y_true, y_pred)
        values = [add(row).times(case.row_factor(width)) for row in results["value"].reshape(-1, width)]
        return results | {"value": object_array(values, shape)}
    rows = zip(numbers(y_true.reshape(-1) if case.lacks_axis else y_true.reshape(-1, width)),
               numbers(y_pred.reshape(-1, width)), strict=True)
    flat = [case.reference(y, p, **parameters) for y, p in rows]
    return {
        name: object_array([x for r in flat for x in r[i]] if i else [r[0] for r in flat], y_pred.shape if i else shape)
        for i, name in enumerate(case.outputs)
    }


@functools.cache
def samples(name, variant, dtype, seed):
    """[(Sample, {output: PACKED})] of one case, shared by all instruction sets."""
    case = CASES[name]
    parameters = case.parameters[variant]
    evaluate = evaluate_elements if case.elementwise else evaluate_rows
    return [
        (sample, {k: pack(v) for k, v in evaluate(case, parameters, sample.y_true, sample.y_pred).items()})
        for sample in case.samples(np.random.default_rng(seed), np.dtype(dtype))
    ]


def ulp_errors(actual, exact, dtype, blur=0.5, strict=False, relative=False):
    """The error of each element of `actual` against the PACKED array `exact`, in ulp of its scale; inf where it is wrong.

    `relative`: to the scale itself, but for results below the smallest normal number two of the smallest subnormals.
    What no implementation can avoid is taken off first: unit roundoff * condition (unless `strict`). inf stands for
    anything above the largest number. Elements closer to a jump than `blur` epsilons, but not on it, are left out: their
    error is 0.
    """
    limits = ml_dtypes.finfo(dtype)
    largest, epsilon, least = (float(x) for x in (limits.max, limits.eps, limits.smallest_subnormal))
    with np.errstate(all="ignore"):
        got = actual.astype(np.float64)
        size = np.abs(exact["hi"])
        error = np.abs((got - exact["hi"]) - exact["lo"])
        infinite = np.isinf(got) & (np.sign(got) == np.sign(exact["hi"]))
        error = np.where(infinite, np.maximum(largest - size, 0), error)
        excused = 0 if strict else epsilon / 2 * exact["condition"]
        excused += np.where(relative & (size < float(limits.smallest_normal)), 2 * least, 0)
        _, exponent = np.frexp(np.clip(exact["scale"], least, largest))
        unit = exact["scale"] if relative else np.maximum(np.ldexp(epsilon, exponent - 1), least)
        error = np.where((error <= excused) & (error < np.inf), 0, (error - excused) / unit)
    left_out = (exact["margin"] > 0) & (exact["margin"] < blur * epsilon)
    left_out |= np.isnan(got) & np.isnan(exact["hi"])
    return np.where(left_out, 0, np.nan_to_num(error, nan=np.inf, posinf=np.inf))


def without_excuses(exact):
    """The PACKED array with every error relative to the result itself."""
    plain = exact.copy()
    plain["scale"], plain["condition"] = np.abs(exact["hi"]), 0
    return plain


def assert_close(actual, exact, dtype, ulps, blur=0.5, strict=False, **inputs):
    """Compares `actual` with the PACKED array `exact`, and shows the worst element with its `inputs`."""
    actual = np.asarray(actual)
    assert actual.shape == exact.shape, f"shape {actual.shape}, expected {exact.shape}"
    errors = ulp_errors(actual, exact, dtype, blur, strict)
    good = errors <= ulps
    if good.all():
        return
    worst = np.unravel_index(np.argmax(errors), good.shape)
    shown = {}
    for name, array in inputs.items():
        array = np.asarray(array)
        shown[name] = array[worst[: array.ndim]] if array.ndim else array[()]
    raise AssertionError(
        f"{np.count_nonzero(~good)} of {good.size} elements are off; worst at {tuple(map(int, worst))}: "
        f"got {float(actual[worst])!r}, exact {exact['hi'][worst]!r}, off by {errors[worst]:.3g} ulp where {ulps:.3g} "
        f"are allowed (scale {exact['scale'][worst]:.3g}, {np.dtype(dtype).name}); inputs {shown}"
    )
