# SPDX-License-Identifier: BSD-3-Clause
"""fastloss against the installed Keras: random calls of every class and function that both have.

Each call must agree in value, gradient, shape and dtype, or a row of docs/keras-differences.md must explain why
not. Names no loss: classes, functions and arguments are found by introspection. Keras fixes its backend when it
is imported, so each backend runs in a process of its own. By hand, with counts for each class:

    python tests/test_keras.py --cases 100000
"""

import argparse
import functools
import importlib.util
import inspect
import json
import os
import re
import subprocess
import sys
import tempfile
import traceback
import warnings
import zlib
from collections import Counter
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

import fastloss as fl
from fastloss import registry
from keras_differences import HALF, ROWS, Call, weighed

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("numpy", "torch")
CASES = 4000  # of all classes and both backends
SECONDS = 600

COMMON = ("reduction", "name", "dtype")
REDUCTIONS = ("sum_over_batch_size", "mean", "sum", "mean_with_sample_weight", "none", None)

# What Keras may be off by. It computes in float32: a few roundings relative to the loss, and a few relative to
# the terms that the loss is the difference of.
ROUNDING = float(np.finfo(np.float32).eps)
RELATIVE = 2e-5
TERMS = 8 * ROUNDING
# By how much more the terms grow with an argument of the constructor.
AMPLIFIED_BY = {"gamma": lambda gamma: max(1.0, gamma), "q": lambda q: 1 / q}


# Strategies


def palette(edges, ordinary):
    """256 numbers for a byte to choose from; float32 holds each."""
    numbers = np.resize(np.asarray(ordinary, np.float64), 256)
    # Not the first, which Hypothesis draws most.
    numbers[1 : len(edges) + 1] = edges
    return numbers.astype(np.float32).astype(np.float64)


ORDINARY = np.random.default_rng(0)
NORMAL = ORDINARY.normal(0, 1.5, 256)
UNIFORM = ORDINARY.uniform(0.02, 0.98, 256)
REALS = [0, 1, -1, 0.5, -0.0, 2, 1e-3, -1e-4, 1e-7, 1e-10, 1e-20, 30, -100, 1e4, 1e10]
LOGITS = [0, 1, -1, -0.0, 1e-4, 5, -5, 10, -10, 20, -20, 50, -50, 100, -100, 1000, -1000, 1e10]
SHARES = [0, 1, 1e-7, 1e-8, 2e-7, 1e-3, 0.5, 1 - 2.0**-24, 1 - 2.0**-23, 1 - 2.0**-20]

# By the words that a loss describes its arguments with: ordinary numbers, with edges, outside of the domain.
PREDICTIONS = {
    "real": (palette([0, 1, -1], NORMAL), palette(REALS, NORMAL)),
    "positive": (palette([1], ORDINARY.gamma(2, 1, 256)), palette([abs(x) for x in REALS], ORDINARY.gamma(2, 1, 256))),
    "logit": (palette([0, 1, -1], NORMAL), palette(LOGITS, NORMAL)),
    "logits": (palette([0, 1, -1], NORMAL), palette(LOGITS, NORMAL)),
    "probability": (palette([0.5], UNIFORM), palette(SHARES, UNIFORM), palette([-0.5, 1.5, -1e-8, 1 + 2.0**-23], UNIFORM)),
    "distribution": (palette([0.5], UNIFORM), palette(SHARES, UNIFORM), palette([-0.5, -1e-8], UNIFORM)),
    "steps": (palette([0], NORMAL), palette([0, 5, -5, 20, -20], NORMAL)),
    "embedding": (palette([0, 1], NORMAL / 3), palette([0, 1, -1], NORMAL / 6)),
}
RANKS = {"steps": 3, "embedding": 2}
TARGETS = {
    "real": PREDICTIONS["real"],
    "sign": (palette([], [-1, 1]), palette([], [0, 1])),
    "binary": (palette([], [0, 1]), palette([], [0, 1, 0.25, 0.75, 1e-3]), palette([2, -1], [0, 1])),
    "count": (palette([], [0, 1, 2, 3, 7]), palette([0.5], [0, 1, 2, 300])),
    "distribution": (palette([0.5], UNIFORM), palette(SHARES, UNIFORM)),
    "one_hot": (),
    "label": (),
    "sequence": (),
    "group": (),
}
FLOATS = ("float32", "float32", "float32", "float64", "float16", "bfloat16")
INTEGERS = ("bool", "int8", "int16", "int32", "int64", "uint8")


def unknown(what, name, table):
    known = ", ".join(map(repr, table))
    return AssertionError(f"{what} {name!r} is unknown to tests/test_keras.py, which has {known}: say there what it holds")


def strategies():
    """Those of calls and parts of calls. Hypothesis is loaded where calls are drawn."""
    from hypothesis import strategies as st

    rarely = st.sampled_from([False] * 15 + [True])
    sometimes = st.sampled_from([False, False, False, True])

    def axis(default, rank):
        axes = st.integers(-rank, rank - 1)
        return st.one_of(st.just(default), st.just(default), axes)

    def several_axes(default, rank):
        several = st.lists(st.integers(0, rank - 1), unique=True, min_size=1).map(tuple)
        return st.one_of(axis(default, rank), st.none(), several)

    # By name: default, rank of y_pred -> strategy
    arguments = {
        "from_logits": lambda default, rank: st.booleans(),
        "label_smoothing": lambda default, rank: st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0] * 3 + [-0.1, 2.0]),
        "axis": axis,
        "ignore_class": lambda default, rank: st.sampled_from([None, None, 0, 1, -1, 255]),
        "delta": lambda default, rank: st.sampled_from([1.0, 0.5, 2.0, 0.1, 10.0] * 3 + [0.0, -1.0]),
        "alpha": lambda default, rank: st.sampled_from([0.25, 0.5, 0.75, 1.0, 0.0]),
        "beta": lambda default, rank: st.sampled_from([0.25, 0.5, 0.75, 1.0, 0.0]),
        "gamma": lambda default, rank: st.sampled_from([80.0, 64.0, 256.0] if default > 10 else [2.0, 1.0, 0.0, 0.5, 5.0]),
        "margin": lambda default, rank: st.sampled_from([0.4, 0.25, 0.5]),
        "q": lambda default, rank: st.sampled_from([0.5, 0.1, 0.7, 0.9]),
        "apply_class_balancing": lambda default, rank: st.booleans(),
        "remove_diagonal": lambda default, rank: st.booleans(),
    }

    def numbers(draw, table, shape):
        chosen = np.frombuffer(draw(st.binary(min_size=(n := int(np.prod(shape))), max_size=n)), np.uint8)
        return table[chosen].reshape(shape)

    def dtype_of(draw, values, names):
        # As the dtype holds it, and never more than float32 does: what Keras casts to float32 it must not change.
        dtype = np.dtype(draw(st.sampled_from(names)))
        return values.astype(np.float32).astype(dtype)

    def targets(draw, kind, shape, axis):
        """y_true for y_pred of a shape."""
        if kind not in TARGETS:
            raise unknown("the target", kind, TARGETS)
        if TARGETS[kind]:
            choice = draw(st.sampled_from([0, 0, 0, 1, 1, *range(2, len(TARGETS[kind]))]))
            values = numbers(draw, TARGETS[kind][choice], shape)
            whole = kind not in ("real", "distribution") and (values == np.floor(values)).all() and choice < 2
            return dtype_of(draw, values, FLOATS + (INTEGERS if whole and values.min(initial=0) >= 0 else ()))
        if kind == "group":
            labels = numbers(draw, palette([0], [0, 1, 1, 2]), (*shape[:1], 1)[: draw(st.integers(1, 2))])
            return dtype_of(draw, labels, ("int32", "int64", "uint8", "float32"))
        classes = shape[axis]
        if kind == "sequence":
            longest = draw(st.integers(0, shape[1] + 1))
            labels = numbers(draw, np.arange(256) % max(classes - 1, 1) + 1, (shape[0], longest))
            lengths = numbers(draw, np.arange(256) % (longest + 1), (shape[0], 1))
            good = classes > 1 and not draw(rarely)
            labels = np.where(np.arange(longest) < lengths, labels, 0) if good else labels - 2
            return dtype_of(draw, labels, ("int32", "int64", "float32"))
        rest = shape[:axis] + shape[axis:][1:] if axis != -1 else shape[:-1]
        labels = numbers(draw, np.arange(256) % max(classes, 1), rest)
        if kind == "one_hot":
            values = np.moveaxis((labels[..., None] == np.arange(classes)).astype(np.float64), -1, axis)
            if draw(sometimes):
                values = numbers(draw, PREDICTIONS["distribution"][1], shape)
            return dtype_of(draw, values, FLOATS + INTEGERS)
        good = not draw(rarely)
        if not good:
            labels = numbers(draw, palette([-1, 255, classes, 0.5, -3, np.nan], np.arange(max(classes, 1))), rest)
        form = draw(st.sampled_from(["plain", "plain", "plain", "plain", "last", "axis"]))
        if form != "plain":
            labels = np.expand_dims(labels, -1 if form == "last" else axis)
        whole = (labels == np.floor(labels)).all()
        names = ("int32", "int64", "int16", "float32") + (("uint8", "int8", "float64") if labels.min(initial=0) >= 0 else ())
        return dtype_of(draw, labels, names if whole and labels.max(initial=0) < 128 else ("float32", "float64"))

    def weights(draw, call, table):
        shape = call.samples_shape
        shapes = [(), shape, shape, shape, shape[:1], (*shape[:1], 1), (*shape, 1), (1,) * len(shape)]
        shapes += [shape[1:], (1, *shape[1:]), shape[:1] + (1,) * (len(shape) - 1)]
        if draw(rarely):
            shapes = [(2,), (3, 1), (2, 3), (1, 1, 2), (4, 4)]
        return numbers(draw, table, draw(st.sampled_from(shapes)))

    @st.composite
    def calls(draw, cls, backend):
        rank = draw(st.sampled_from([1, 2, 2, 2, 2, 3, 3, 4]))
        sizes = st.sampled_from([1, 2, 3, 2, 3, 4, 5] if rank < 4 else [1, 2, 3])
        shape = tuple(draw(st.lists(sizes, min_size=rank, max_size=rank)))
        if draw(rarely):
            shape = tuple(draw(st.lists(st.sampled_from([0, 1, 2]), min_size=rank, max_size=rank)))
        given = {}
        for name, parameter in parameters(cls).items():
            if name not in arguments:
                raise unknown("the argument", name, arguments)
            if draw(st.booleans()):
                several = name == "axis" and cls.target not in ("label", "one_hot")
                given[name] = draw((several_axes if several else arguments[name])(parameter.default, rank))
        if cls.prediction in RANKS:
            shape = tuple(draw(st.lists(sizes, min_size=RANKS[cls.prediction], max_size=RANKS[cls.prediction])))
        call = Call(cls, backend, np.ones(shape), np.ones(shape), given, function=draw(sometimes))

        if call.prediction not in PREDICTIONS:
            raise unknown("the prediction", call.prediction, PREDICTIONS)
        tables = PREDICTIONS[call.prediction]
        choice = draw(st.sampled_from([0, 0, 0, 0, 1, 1, 1] + ([2] if len(tables) > 2 and draw(sometimes) else [])))
        values = numbers(draw, tables[choice], shape)
        axis = call.argument("axis") if "axis" in inspect.signature(cls).parameters else -1
        y_true = targets(draw, call.target, shape, axis if isinstance(axis, int) else -1)
        if call.target == call.prediction == "real" and draw(sometimes):
            y_true = values.astype(y_true.dtype)
        if values.size and draw(rarely):
            np.put(values, draw(st.integers(0, 99)) % values.size, draw(st.sampled_from([np.nan, np.inf, -np.inf])))
        integers = call.prediction == "real" and np.isfinite(values).all()
        names = FLOATS + (("int32", "uint8", "bool", "int64") if integers else ())
        with np.errstate(all="ignore"):
            y_pred = dtype_of(draw, values, names)

        forms = ["same"] * 12 + ["other"] + ([] if call.labels else ["column", "column", "squeeze"])
        form = draw(st.sampled_from(forms))
        if form == "column":
            y_true, y_pred = draw(st.sampled_from([(y_true, y_pred[..., None]), (y_true[..., None], y_pred)]))
        elif form == "squeeze" and y_pred.shape[-1] == 1 and y_true.ndim == y_pred.ndim:
            y_true, y_pred = draw(st.sampled_from([(y_true[..., 0], y_pred), (y_true, y_pred[..., 0])]))
        elif form == "other" and y_true.size and y_true.ndim:
            y_true = draw(st.sampled_from([y_true[:1], y_true[..., :1], y_true[0], y_true[..., 0], y_true[None]]))
        call = call.but(y_true=y_true, y_pred=y_pred)
        if call.function or call.bad_parameter:
            return call

        call = call.but(
            reduction=draw(st.sampled_from(REDUCTIONS)),
            dtype=draw(st.sampled_from([None] * 8 + ["float32", "float32", "float64", *HALF])),
        )
        if draw(st.booleans()):
            # Dyadic, so that Keras's sums of weights are exact.
            table = palette([0], [1, 0.5, 2, 3, 0, -1] if draw(sometimes) else [1, 0.5, 2, 3])
            if draw(rarely):
                table = palette([np.nan], table)
            call = call.but(sample_weight=weights(draw, call, table))
        if draw(sometimes):
            call = call.but(mask=weights(draw, call, palette([], [1, 1, 0, 1])).astype(bool))
        return call

    return calls


def parameters(cls):
    """The arguments of a loss's own that Keras has too, in Keras's class."""
    import keras

    of_keras = inspect.signature(getattr(keras.losses, cls.__name__)).parameters
    return {name: parameter for name, parameter in of_keras.items() if name not in COMMON}


# Answers


class Answer:
    """What a call returned, or raised."""

    error = value = gradient = shape = dtype = None

    def __init__(self, compute):
        try:
            self.value, self.gradient = compute()
        except Exception as error:
            self.error = error
            return
        self.shape, self.dtype = np.shape(self.value), self.value.dtype.name
        self.value = np.asarray(self.value, np.float64)

    def __str__(self):
        if self.error is not None:
            return f"{type(self.error).__name__}: {str(self.error).strip()[:300]}"
        gradient = "" if self.gradient is None else f", gradient {self.gradient.tolist()}"
        return f"{self.value.tolist()} (shape {self.shape}, {self.dtype}){gradient}"


def by_fastloss(call, gradient):
    """fastloss's answer."""
    weights = {} if call.function else dict(sample_weight=call.sample_weight, mask=call.mask)

    def compute():
        value = (
            call.cls.function(call.y_true, call.y_pred, **{**missing_default(call.cls.function, call), **call.arguments})
            if call.function
            else call.loss(call.y_true, call.y_pred, **weights)
        )
        if not gradient or call.y_pred.dtype.kind in "biu":
            return value, None
        loss = call.cls(**call.arguments, reduction=None) if call.function else call.loss
        return value, loss.value_and_grad(call.y_true, call.y_pred, **weights)[1].astype(np.float64)

    return Answer(compute)


def by_keras(call, gradient):
    """Keras's answer."""
    import keras
    from keras.src import backend

    options = {} if call.function else dict(reduction=call.reduction, dtype=call.dtype)

    def compute():
        if call.target == "sequence" and call.bad_labels.any():
            raise ValueError("not asked: PyTorch would write out of bounds")
        of_keras = getattr(keras.losses, (call.cls.function if call.function else call.cls).__name__)
        # The NumPy backend would make its tensors of integers int32; it takes arrays.
        tensors = np.copy if call.backend == "numpy" else keras.ops.convert_to_tensor
        y_true, y_pred = tensors(call.y_true), tensors(call.y_pred)
        tensor = gradient and call.y_pred.dtype.kind not in "biu"
        if tensor:
            y_pred.requires_grad_()
        if call.function:
            required = missing_default(of_keras, call)
            value = of_keras(y_true, y_pred, **{**required, **call.arguments})
        else:
            if call.mask is not None:
                backend.set_keras_mask(y_pred, keras.ops.convert_to_tensor(call.mask))
            weight = None if call.sample_weight is None else call.sample_weight.astype(np.float32)
            value = of_keras(**call.arguments, **options)(y_true, y_pred, sample_weight=weight)
        derivative = None
        if tensor:
            derivative = np.zeros(y_pred.shape)
            try:
                if value.requires_grad:
                    value.sum().backward()
                derivative = as_float64(y_pred.grad) if y_pred.grad is not None else derivative
            except RuntimeError:
                derivative[...] = np.nan
            value = value.detach()
        return array_of(value), derivative

    return Answer(compute)


def missing_default(function, call):
    """What a function of Keras has no default for, its class has."""
    wanted = {name for name, p in list(inspect.signature(function).parameters.items())[2:] if p.default is p.empty}
    return {name: call.argument(name) for name in wanted}


def as_float64(tensor):
    return tensor.detach().double().numpy() if hasattr(tensor, "detach") else np.asarray(tensor, np.float64)


def array_of(value):
    """An array in the dtype of a tensor."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    name = str(value.dtype).removeprefix("torch.")
    return as_float64(value).astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


# Comparison


def disagreements(call, ours, keras):
    """The aspects in which two answers differ."""
    if ours.error is not None and not isinstance(ours.error, TypeError | ValueError):
        return ["crash"]
    if ours.error is not None or keras.error is not None:
        return ["error"] if (ours.error is None) != (keras.error is None) else []
    found = [aspect for aspect in ("dtype", "shape") if getattr(ours, aspect) != getattr(keras, aspect)]
    if ours.value.size != keras.value.size:
        return [*found, "value"] if "shape" not in found else found
    bound = Bound(call)
    if not bound.holds_value(ours.value.ravel(), keras.value.ravel()):
        found.append("value")
    elif ours.gradient is not None and keras.gradient is not None and not bound.holds_gradient(keras.gradient):
        found.append("gradient")
    return found


class Bound:
    """How far Keras may be from fastloss: relative to the losses of the samples, and to their terms."""

    def __init__(self, call):
        self.call = call
        self.exact = call.cls(**call.arguments, reduction=None, dtype="float64")
        self.losses = self.samples(call.y_true, call.y_pred)
        shape = self.losses.shape
        self.weight = np.ones(shape)
        if call.sample_weight is not None:
            self.weight = weighed(call.sample_weight, shape).astype(np.float64)
        self.counted = np.ones(shape, bool) if call.mask is None else weighed(call.mask, shape)
        if self.counted.shape == call.ignored.shape:
            self.counted = self.counted & ~call.ignored
        self.weight = np.where(self.counted, self.weight, 0)
        self.degree = self.degree_of_loss()
        self.unit = self.unit_of_terms() if self.degree in (None, 0) else 0.0

    def samples(self, y_true, y_pred):
        """Losses of what weights are for, unweighted, in float64; 0 where they are hidden."""
        ones = {}
        if self.call.sample_weight is not None:
            ones["sample_weight"] = (self.call.sample_weight != 0).astype(np.float64)
        if self.call.mask is not None:
            ones["mask"] = self.call.mask
        with np.errstate(all="ignore"):
            return np.asarray(self.exact(y_true, y_pred, **ones), np.float64)

    def degree_of_loss(self):
        """k if the loss grows with the k-th power of its arguments; its roundings are relative to it for k > 0."""
        if self.call.prediction != "real" or self.call.target != "real":
            return None
        y_true, y_pred = self.call.y_true.astype(np.float64), self.call.y_pred.astype(np.float64)
        # Not where errors happen to be 0.
        y_pred = y_pred + 0.37 * (max(np.abs(y_true).max(initial=0), self.call.largest) or 1)
        once, twice = self.samples(y_true, y_pred), self.samples(2 * y_true, 2 * y_pred)
        return next((k for k in (2, 1, 0) if np.array_equal(2**k * once, twice)), None)

    def unit_of_terms(self):
        """A bound of the terms of a sample's loss that does not come from the loss itself."""
        y_true = np.abs(self.call.y_true.astype(np.float64)) if not self.call.labels else np.ones(())
        terms = y_true.max(initial=0) * (max(1, self.call.largest) if self.call.prediction in ("real", "positive") else 1)
        unit = 1 + np.nan_to_num(terms, nan=0.0, posinf=0.0)
        for name, grows in AMPLIFIED_BY.items():
            if self.call.argument(name) is not None:
                unit *= grows(self.call.argument(name))
        return unit

    def divisor(self):
        if self.call.function or self.call.reduction in ("none", None, "sum"):
            return 1.0
        if self.call.reduction == "mean_with_sample_weight":
            return abs(self.weight.sum())
        return float(self.counted.sum())

    def holds_value(self, ours, keras):
        finite = np.where(np.isfinite(self.losses), np.abs(self.losses), 0)
        one_by_one = RELATIVE * finite + TERMS * self.unit
        allowed = np.where(self.weight != 0, np.abs(self.weight) * one_by_one, 0)
        each = ours.size == allowed.size and ours.size != 1
        allowed = allowed.ravel() if each else allowed.sum() / (self.divisor() or 1)
        with np.errstate(all="ignore"):
            close = np.abs(ours - keras) <= allowed
        # float32 overflows where float64 does not.
        return bool(np.all(close | (ours == keras) | (np.isnan(ours) & np.isnan(keras))))

    def holds_gradient(self, keras):
        """Whether Keras's gradient lies between the gradients of the neighbours of y_pred, up to rounding.

        At a kink of the loss these are its one-sided derivatives: any value between them is right.
        """
        y_pred = self.call.y_pred.astype(np.float64)
        rng = np.random.default_rng(0)
        options = dict(reduction=None if self.call.function else self.call.reduction, dtype="float64")
        loss = self.call.cls(**self.call.arguments, **options)
        around = []
        for step in (0, *[4 * ROUNDING] * 8):
            near = y_pred * (1 + step * rng.uniform(-1, 1, y_pred.shape))
            if self.call.prediction in ("probability", "distribution"):
                near = np.where(y_pred <= 1, np.minimum(near, 1), near)
            around.append(loss.value_and_grad(self.call.y_true, near, self.call.sample_weight, self.call.mask)[1])
        storage = self.call.y_pred.dtype
        low, high = (bound(around, axis=0).astype(storage).astype(np.float64) for bound in (np.min, np.max))
        scale = np.abs(self.weight).max(initial=0) / (self.divisor() or 1)
        terms = TERMS * self.unit * scale * self.slope(y_pred)
        limits = ml_dtypes.finfo(storage)
        size = np.maximum(np.abs(low), np.abs(high))
        allowed = (RELATIVE + float(limits.eps)) * size + terms + float(limits.smallest_normal)
        keras = keras.reshape(low.shape)
        with np.errstate(invalid="ignore"):
            inside = (keras >= low - allowed) & (keras <= high + allowed)
        return bool(np.all(inside | np.isnan(low) | (keras == low) | (keras == high)))

    def axes(self):
        return self.call.axes if self.call.shapes[1] == self.call.y_pred.shape else None

    def slope(self, y_pred):
        """What the terms of a gradient have grown by since they were terms of the loss."""
        if self.call.prediction == "probability":
            near = np.clip(np.minimum(y_pred, 1 - y_pred), 1e-7, None)
            return 1 / near
        if self.call.prediction == "distribution" or self.degree == 0:
            return 1 / np.fmax.reduce(np.abs(y_pred), axis=self.axes(), keepdims=True, initial=1e-30)
        return 1.0


def explained(call, aspects):
    """The rows that explain each of these aspects; None if one is not explained."""
    holding = [name for name, row in ROWS.items() if row.explains(call)]
    names = set()
    for aspect in aspects:
        covering = [
            n for n in holding if aspect in ROWS[n].aspects or (aspect == "gradient" and "value" in ROWS[n].aspects)
        ]
        if not covering:
            return None
        names.update(covering)
    return names


def judge(call):
    """(verdict, names of rows, message): "agrees", "explained" or "fails"."""
    gradient = call.backend == "torch"
    ours = by_fastloss(call, gradient)
    must_raise = [name for name, row in ROWS.items() if row.raises and row.explains(call)]
    if must_raise:
        if isinstance(ours.error, ValueError | TypeError):
            return "explained", must_raise, ""
        return "fails", must_raise, f"by row {must_raise} fastloss raises:\n{describe(call)}\nfastloss: {ours}"
    keras = by_keras(call, gradient)
    message = f"{describe(call)}\nfastloss: {ours}\nKeras ({call.backend}): {keras}"
    wide = call.dtype == "float64" or (call.dtype is None and call.y_pred.dtype == np.float64)
    if ours.error is None and ours.dtype != ("float64" if wide else "float32"):
        return "fails", (), f"the dtype is not what fastloss documents:\n{message}"
    aspects = disagreements(call, ours, keras)
    if not aspects:
        return "agrees", (), message
    names = explained(call, aspects)
    if names is None:
        return "fails", (), f"differs in {', '.join(aspects)}, which no row explains:\n{message}"
    if ours.error is None and "value" in aspects + ["value"] * ("error" in aspects) and not documented(call, ours):
        return "fails", names, f"differs from what fastloss documents for {', '.join(names)}:\n{message}"
    return "explained", names, message


def documented(call, ours):
    """Whether fastloss answers by its own documentation where Keras answers otherwise."""
    bound = Bound(call)
    y_true, y_pred = call.y_true.astype(np.float64), call.y_pred.astype(np.float64).reshape(call.shapes[1] or (1,))
    if call.target == "group":
        y_true = y_true.reshape(-1)
    elif call.target == "sequence":
        y_true = np.where(call.bad_labels, 0, y_true).astype(np.int64)
    elif call.sparse:
        y_true = np.where(call.ignored | call.bad_labels.reshape(call.ignored.shape), 0, y_true.reshape(call.ignored.shape))
        y_true = y_true.astype(np.int64)
    else:
        y_true = y_true.reshape(call.shapes[0] or (1,))
    arguments = dict(call.arguments)
    if bound.losses.shape == y_pred.shape and y_pred.ndim == 1:
        y_true, y_pred = y_true[:, None], y_pred[:, None]
        arguments |= {"axis": -1} if "axis" in arguments else {}
    # The formula is NaN, or fails, for an empty sample; that it has no NaN is what is documented.
    losses = call.cls(**arguments).numpy_formula(y_true, y_pred) if y_pred.size else np.nan_to_num(bound.losses, nan=1e9)
    weighted = np.where(bound.weight != 0, losses * bound.weight, 0)
    if call.function or call.reduction in ("none", None):
        expected = weighted
    else:
        divisor = bound.weight.sum() if call.reduction == "mean_with_sample_weight" else bound.divisor()
        expected = weighted.sum() / divisor if divisor else np.zeros(())
    known = np.isfinite(expected)
    ours, expected = (np.where(known, value, 0) for value in (ours.value, expected))
    return ours.shape == expected.shape and bound.holds_value(ours.ravel(), expected.ravel())


def describe(call):
    """The call as Python."""

    def written(array):
        return "None" if array is None else f"np.array({np.asarray(array).tolist()}, {np.asarray(array).dtype.name!r})"

    arguments = [f"{name}={value!r}" for name, value in call.arguments.items()]
    y = f"{written(call.y_true)}, {written(call.y_pred)}"
    if call.function:
        return f"{call.cls.function.__name__}({', '.join([y, *arguments])})"
    arguments += [f"reduction={call.reduction!r}"] + [f"dtype={call.dtype!r}"] * (call.dtype is not None)
    weights = "".join(
        f", {name}={written(array)}"
        for name, array in (("sample_weight", call.sample_weight), ("mask", call.mask))
        if array is not None
    )
    return f"{call.cls.__name__}({', '.join(arguments)})({y}{weights})"


# A process of one backend


def compared_classes():
    """fastloss's classes that Keras has too."""
    import keras

    return [cls for cls in fl.losses.native_classes() if hasattr(keras.losses, cls.__name__)]


def search(cls, backend, cases, seed):
    """Counts of a class's calls by verdict and by row, and the smallest failing call that Hypothesis finds."""
    import hypothesis

    calls = strategies()(cls, backend)
    counts, rows = Counter(), Counter()
    options = dict(
        max_examples=cases, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck),
        verbosity=hypothesis.Verbosity.quiet,
    )  # fmt: skip

    def property_of(check):
        test = hypothesis.settings(**options)(hypothesis.given(calls)(check))
        return hypothesis.seed(zlib.crc32(f"{cls.__name__} {backend} {seed}".encode()))(test)

    def count(call):
        verdict, names, _ = judge(call)
        counts[verdict] += 1
        rows.update(names if verdict == "explained" else ())

    def hold(call):
        verdict, _, message = judge(call)
        assert verdict != "fails", message

    failure = None
    property_of(count)()
    if counts["fails"]:
        try:
            property_of(hold)()
        except AssertionError as error:
            failure = str(error).partition("\nassert ")[0]
    return {"counts": counts, "rows": rows, "failure": failure}


def example_calls(name, backend):
    """The calls that a row shows, one for each class that they fit."""
    example = dict(ROWS[name].example)
    target, prediction = example.pop("target"), example.pop("prediction", None)
    for field in ("y_true", "y_pred", "sample_weight", "mask"):
        if isinstance(example.get(field), list | float):
            labels = field == "y_true" and target == "label"
            example[field] = np.asarray(example[field], np.int64 if labels else bool if field == "mask" else np.float32)
    for cls in compared_classes():
        call = Call(cls, backend, **example)
        fits = set(call.arguments) <= set(parameters(cls)) and call.target == target
        if fits and prediction in (None, call.prediction) and ROWS[name].explains(call):
            yield call


def shown(name, backend):
    """Whether an example of a row differs in the aspects that the row explains."""
    for call in example_calls(name, backend):
        ours, keras = by_fastloss(call, backend == "torch"), by_keras(call, backend == "torch")
        if set(disagreements(call, ours, keras)) & ROWS[name].aspects:
            return True
    return False


def checks():
    """Checks of names, signatures and configurations by their names."""
    return {name.removeprefix("check_"): check for name, check in globals().items() if name.startswith("check_")}


def process_of_backend(backend, cases, seed):
    """Everything that one backend answers, for the process of the tests."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if backend == "torch":
        import torch

        torch.set_num_threads(1)
    import keras

    assert keras.backend.backend() == backend
    classes = compared_classes()
    report = {"checks": {}, "classes": {}, "shown": [name for name in ROWS if shown(name, backend)]}
    for name, check in checks().items():
        try:
            check(keras)
        except AssertionError:
            report["checks"][name] = traceback.format_exc()
    for cls in classes:
        try:
            report["classes"][cls.__name__] = search(cls, backend, max(1, cases // len(BACKENDS) // len(classes)), seed)
        except Exception:
            report["classes"][cls.__name__] = {"counts": {}, "rows": {}, "failure": traceback.format_exc()}
    return report


def start(backend, cases, seed=0):
    """A process of a backend, whose output is its report."""
    command = [sys.executable, __file__, "--process", backend, "--cases", str(cases), "--seed", str(seed)]
    environment = {
        **os.environ, "KERAS_BACKEND": backend, "KERAS_HOME": tempfile.gettempdir(), "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "tests"), os.environ.get("PYTHONPATH")])),
    }  # fmt: skip
    return subprocess.Popen(
        command,
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


# Names, signatures, configurations


def check_exports(keras):
    """Every class and function that keras.losses exports exists in fastloss."""
    exported = {name for name, value in vars(keras.losses).items() if callable(value)}
    missing = sorted(name for name in exported if not hasattr(fl.losses, name))
    assert not missing, f"fastloss.losses lacks {', '.join(missing)}"


def check_names(keras):
    """`get` takes the same strings, and gives the same kind of thing; fastloss's own further names aside."""
    from keras.src.losses import ALL_OBJECTS_DICT
    from keras.src.losses.losses import LossFunctionWrapper

    ours = registry.names()
    for name, found in ALL_OBJECTS_DICT.items():
        if found in (keras.losses.Loss, LossFunctionWrapper):
            continue
        known = hasattr(fl.losses, found.__name__)
        assert not known or name in ours, f"fastloss.get does not know {name!r}"
        if known:
            assert fl.get(name).__class__.__name__ == keras.losses.get(name).__class__.__name__, name
            assert getattr(fl.get(name), "__name__", None) == getattr(keras.losses.get(name), "__name__", None), name
            assert getattr(fl.get(name), "name", None) == getattr(keras.losses.get(name), "name", None), name
    # Of the two kinds of Keras's names, further ones, of older Kerases, are aliases of functions.
    shared = {name for cls in compared_classes() for name in (cls.__name__, cls.function.__name__)}
    further = {name for name, found in ours.items() if found.__name__ in shared} - set(ALL_OBJECTS_DICT)
    further -= {name for name in dir(keras.losses) if not name.startswith("_")}
    assert further <= set(registry.aliases()), further - set(registry.aliases())


def signature(function):
    return [(p.name, p.default) for p in inspect.signature(function).parameters.values() if p.kind is not p.KEYWORD_ONLY]


def check_signatures(keras):
    """Keras's arguments, in Keras's order, with Keras's defaults; what fastloss adds is keyword-only."""
    for cls in compared_classes():
        of_keras = getattr(keras.losses, cls.__name__)
        assert signature(cls) == signature(of_keras), cls.__name__
        name = cls.function.__name__
        ours, theirs = signature(cls.function), signature(getattr(keras.losses, name))
        required = {name: default for name, default in theirs if default is inspect.Parameter.empty}
        assert [n for n, _ in ours] == [n for n, _ in theirs], name
        assert all(default == dict(ours)[n] for n, default in theirs if n not in required), name


def check_default_names(keras):
    for cls in compared_classes():
        assert cls().name == getattr(keras.losses, cls.__name__)().name, cls.__name__


def check_configurations(keras):
    """fastloss's configuration has every key of Keras's, and reads what Keras writes."""
    for cls in compared_classes():
        of_keras = getattr(keras.losses, cls.__name__)
        theirs = of_keras(reduction="sum", name="given")
        config = cls(reduction="sum", name="given").get_config()
        assert {**config, **theirs.get_config()} == config, cls.__name__
        for written in (keras.losses.serialize(theirs), {"class_name": cls.__name__, "config": theirs.get_config()}):
            read = fl.deserialize(json.loads(json.dumps(written)))
            assert type(read) is cls
            assert {**read.get_config(), **theirs.get_config()} == read.get_config(), cls.__name__
        function = getattr(keras.losses, cls.function.__name__)
        assert fl.deserialize(keras.losses.serialize(function)) is cls.function


# Tests


def installed():
    """The backends whose packages are here. Keras's NumPy backend imports JAX and SciPy."""
    needed = {"numpy": ("keras", "jax", "scipy", "hypothesis"), "torch": ("keras", "torch", "hypothesis")}
    return [b for b in BACKENDS if all(importlib.util.find_spec(module) for module in needed[b])]


@functools.cache
def reports():
    """Those of every backend; they run side by side."""
    running = {backend: start(backend, CASES) for backend in installed()}
    found = {}
    for backend, process in running.items():
        output, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 0, errors
        found[backend] = json.loads(output.splitlines()[-1])
    return found


@pytest.fixture(params=BACKENDS)
def report(request):
    if request.param not in installed():
        pytest.skip(f"needs the packages of Keras's {request.param} backend")
    return reports()[request.param]


def test_calls_agree(report):
    failures = {name: result["failure"] for name, result in report["classes"].items() if result["failure"]}
    assert report["classes"]
    assert not failures, "\n\n".join(f"{name}: {failure}" for name, failure in failures.items())


def test_calls_are_compared(report):
    """The rows do not swallow what could be tested."""
    for name, result in report["classes"].items():
        agreed, total = result["counts"].get("agrees", 0), sum(result["counts"].values())
        assert agreed > total / 3, f"{name}: {agreed} of {total} calls were compared"


@pytest.mark.parametrize("name", checks())
def test_names_and_signatures(report, name):
    assert name not in report["checks"], report["checks"][name]


def test_every_row_is_shown_to_differ():
    if set(installed()) != set(BACKENDS):
        pytest.skip("needs the packages of every backend")
    dead = set(ROWS).difference(*(report["shown"] for report in reports().values()))
    assert not dead, f"rows whose example does not differ: {sorted(dead)}"


def test_rows_and_predicates_are_the_same():
    table = (ROOT / "docs" / "keras-differences.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|", table, re.MULTILINE)
    assert sorted(rows) == sorted(ROWS)
    for line in table.splitlines():
        if line.startswith("| `"):
            assert len(line.split(" | ")) == 5, line


# By hand


def printed(backend, report):
    """Counts for each class, and what failed."""
    print(f"{backend} backend")
    for name, result in report["classes"].items():
        counts = {verdict: result["counts"].get(verdict, 0) for verdict in ("agrees", "explained", "fails")}
        print(f"  {name}: " + ", ".join(f"{verdict} {count}" for verdict, count in counts.items()))
        for row, count in sorted(result["rows"].items(), key=lambda item: -item[1]):
            print(f"      {count:6} {row}")
        if result["failure"]:
            print(f"    {result['failure']}")
    for name, failure in report["checks"].items():
        print(f"  {name}: {failure}")
    print(f"  rows not shown: {sorted(set(ROWS) - set(report['shown']))}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES, help="number of calls, of all classes and backends")
    parser.add_argument("--seed", type=int, default=0, help="of the random calls")
    parser.add_argument("--process", choices=BACKENDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.process:
        print(json.dumps(process_of_backend(options.process, options.cases, options.seed)))
        return
    running = {backend: start(backend, options.cases, options.seed) for backend in installed()}
    for backend, process in running.items():
        output, errors = process.communicate()
        if process.returncode:
            sys.exit(errors)
        printed(backend, json.loads(output.splitlines()[-1]))


if __name__ == "__main__":
    main()
