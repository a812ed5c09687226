# SPDX-License-Identifier: BSD-3-Clause
"""Wrong calls, and what they say: the type of the error and the whole message, as a user reads it."""

import functools
from typing import Any, NamedTuple

import numpy as np

import fastloss as fl
from fastloss import InputError

DTYPES = "expected bool, an integer, float16, bfloat16, float32 or float64"
NESTED = "not an array of numbers: nested sequences of different lengths"
REDUCTIONS = "expected one of 'sum_over_batch_size', 'mean', 'auto', 'sum', 'mean_with_sample_weight', 'none', None"
FLOATS = "expected None or one of 'float32', 'float64', 'float16', 'bfloat16'"
KNOWN = "expected a name in fastloss.losses, or one in the custom_objects of deserialize"
NAMELESS = "which cannot be found again by name; expected a function without a closure, defined with def"
LABELS = "does not fit y_pred of shape (2, 3): expected shape (2,), or a class axis of length 1"
PER_SAMPLE = "does not fit the per-sample losses of shape (2,); expected a scalar, (2,), or a shape that broadcasts to (2,)"


def ones(*shape, dtype="float32"):
    return np.ones(shape, dtype)


def y():
    return np.zeros((2, 3), np.float32)


def p():
    return np.full((2, 3), 0.5, np.float32)


def spoilt(value):
    array = p()
    array[1, 2] = value
    return array


def mse():
    return fl.MeanSquaredError()


def sparse(**arguments):
    return fl.SparseCategoricalCrossentropy(**arguments)


# Stands for an array that is as it should be.
FINE = object()


class Call(NamedTuple):
    """A call of a loss, in each of the ways that take these arguments."""

    loss: Any
    error: type
    message: str
    y_true: Any = FINE
    y_pred: Any = FINE
    sample_weight: Any = None
    mask: Any = None


CALLS = [
    # Shapes
    Call(mse(), ValueError, "y_true: shape (2, 2) differs from y_pred's shape (2, 3); nothing is broadcast", ones(2, 2)),
    Call(mse(), ValueError, "y_true: shape (1, 3) differs from y_pred's shape (2, 3); nothing is broadcast", ones(1, 3)),
    Call(mse(), ValueError, "y_true: shape (2,) differs from y_pred's shape (2, 3); nothing is broadcast", [0, 1]),
    Call(mse(), ValueError, "y_true: shape () differs from y_pred's shape (2, 3); nothing is broadcast", 1.0),
    Call(mse(), ValueError, "y_true: shape (2, 3) differs from y_pred's shape (0,); nothing is broadcast", y_pred=[]),
    Call(mse(), ValueError, "y_true: shape (2, 3) differs from y_pred's shape (2, 3, 2); nothing is broadcast",
         y_pred=ones(2, 3, 2)),
    Call(mse(), ValueError, "y_pred: 17 dimensions, at most 16 are supported", np.ones((1,) * 17), np.ones((1,) * 17)),
    Call(sparse(), ValueError, f"y_true: shape (3,) {LABELS}", [0, 1, 2]),
    Call(sparse(), ValueError, f"y_true: shape (2, 3) {LABELS}", np.eye(3)[:2]),
    Call(fl.CategoricalCrossentropy(axis=2), ValueError, "axis: 2 is out of range for y_pred of shape (2, 3)"),
    Call(fl.BinaryCrossentropy(axis=-3), ValueError, "axis: -3 is out of range for y_pred of shape (2, 3)"),
    Call(fl.BinaryCrossentropy(axis=(0, -2)), ValueError, "axis: (0, -2) names an axis twice"),
    # Elements
    Call(fl.BinaryCrossentropy(), InputError, "y_pred: -0.5 at index (1, 2), expected a number from 0 to 1",
         y_pred=spoilt(-0.5)),
    Call(fl.BinaryCrossentropy(), InputError, "y_pred: inf at index (1, 2), expected a number from 0 to 1",
         y_pred=spoilt(np.inf)),
    Call(fl.CategoricalCrossentropy(), InputError, "y_pred: -1.5 at index (1, 2), expected a finite number >= 0",
         y_pred=spoilt(-1.5)),
    Call(sparse(), InputError, "y_pred: inf at index (1, 2), expected a finite number >= 0", [0, 1], spoilt(np.inf)),
    Call(fl.BinaryCrossentropy(True), InputError, "y_true: 2.0 at index (1, 2), expected a number from 0 to 1", spoilt(2)),
    Call(fl.CategoricalCrossentropy(axis=0), InputError, "y_true: -1.0 at index (1, 2), expected a number >= 0", spoilt(-1)),
    Call(fl.KLDivergence(), InputError, "y_true: -0.5 at index (1, 2), expected a number from 0 to 1", spoilt(-0.5)),
    # Labels
    Call(sparse(), InputError, "y_true: label 3 at index (1,), expected an integer from 0 to 2", [0, 3]),
    Call(sparse(), InputError, "y_true: label -1 at index (0,), expected an integer from 0 to 2", [-1, 5]),
    Call(sparse(), InputError, "y_true: label 0.5 at index (1,), expected an integer from 0 to 2", [0, 0.5]),
    Call(sparse(), InputError, "y_true: label nan at index (0,), expected an integer from 0 to 2", [np.nan, 0]),
    Call(sparse(), InputError, "y_true: label 255 at index (0,), expected an integer from 0 to 2", np.array([255, 0], "u1")),
    Call(sparse(), InputError, "y_true: label 7 at index (1,), expected an integer from 0 to 2", [[0], [7]]),
    Call(sparse(), InputError, "y_true: label 3 at index (), expected an integer from 0 to 1", 3, p()[0, :2]),
    Call(sparse(), InputError,
         "y_true: label 0 at index (0,), expected no label: y_pred has no classes", [0, 1], ones(2, 0)),
    Call(sparse(ignore_class=-1), InputError, "y_true: label -2 at index (1,), expected an integer from 0 to 2", [-1, -2]),
    # Types of arrays
    Call(mse(), TypeError, "y_pred: expected an array, got None", y_pred=None),
    Call(mse(), TypeError, "y_true: expected an array, got None", None),
    Call(mse(), TypeError, "y_pred: expected an array of numbers, got str", y_pred="0.5"),
    Call(mse(), TypeError, "y_true: expected an array of numbers, got set", {0.0, 1.0}),
    Call(mse(), TypeError, "y_true: expected an array of numbers, got dict", {"a": 1.0}),
    Call(mse(), TypeError, "y_pred: expected an array of numbers, got generator", y_pred=(x for x in [0.5])),
    Call(mse(), TypeError, "y_pred: expected an array of numbers, got function", y_pred=fl.huber),
    Call(mse(), ValueError, f"y_true: {NESTED}", [[1.0, 2.0], [1.0]]),
    Call(mse(), ValueError, f"y_pred: {NESTED}", y_pred=[[1.0, 2.0], 1.0]),
    Call(mse(), TypeError, "y_true: None at index (0, 1), expected a number", [[1.0, None, 3.0]]),
    Call(mse(), TypeError, "y_true: 'x' at index (1,), expected a number", [1.0, "x"]),
    Call(mse(), TypeError, f"y_true: dtype object is not supported; {DTYPES}", y().astype(object)),
    Call(mse(), TypeError, f"y_pred: dtype complex64 is not supported; {DTYPES}", y_pred=p().astype("complex64")),
    Call(mse(), TypeError, f"y_pred: dtype <U1 is not supported; {DTYPES}", y_pred=np.array(["1", "2"])),
    Call(mse(), TypeError, f"y_true: dtype datetime64[s] is not supported; {DTYPES}", np.zeros((2, 3), "M8[s]")),
    Call(mse(), TypeError, f"y_true: dtype timedelta64[D] is not supported; {DTYPES}", np.zeros((2, 3), "m8[D]")),
    Call(mse(), TypeError,
         f"y_pred: dtype [('a', '<f4')] is not supported; {DTYPES}", y_pred=np.zeros((2, 3), [("a", "<f4")])),
    Call(mse(), TypeError,
         "y_pred: masked arrays are not supported; pass the data, and mask=~array.mask", y_pred=np.ma.array(p())),
    # Weights
    Call(mse(), ValueError, f"sample_weight: shape (3,) {PER_SAMPLE}", sample_weight=[1, 2, 3]),
    Call(mse(), ValueError, f"sample_weight: shape (2, 3) {PER_SAMPLE}", sample_weight=np.ones((2, 3))),
    Call(mse(), ValueError, f"sample_weight: shape (0,) {PER_SAMPLE}", sample_weight=[]),
    Call(mse(), InputError, "sample_weight: nan at index (1,), expected a number", sample_weight=[1.0, np.nan]),
    Call(mse(), TypeError, "sample_weight: 'x' at index (0,), expected a number", sample_weight=["x", 1]),
    Call(mse(), TypeError, f"sample_weight: dtype complex128 is not supported; {DTYPES}", sample_weight=[1j, 1]),
    Call(mse(), TypeError, "sample_weight: expected an array of numbers, got dict", sample_weight={0: 1.0}),
    # Masks
    Call(mse(), ValueError, f"mask: shape (3,) {PER_SAMPLE}", mask=[True, True, False]),
    Call(mse(), ValueError, f"mask: shape (2, 3) {PER_SAMPLE}", mask=np.ones((2, 3), bool)),
    Call(mse(), InputError, "mask: 0.5 at index (1,), expected True, False, 0 or 1", mask=[1.0, 0.5]),
    Call(mse(), InputError, "mask: nan at index (0,), expected True, False, 0 or 1", mask=[np.nan, 1.0]),
    Call(mse(), InputError, "mask: 255 at index (1, 0), expected True, False, 0 or 1", mask=np.array([[1], [255]], "u1")),
    Call(mse(), InputError, "mask: -1 at index (), expected True, False, 0 or 1", mask=-1),
    Call(mse(), TypeError, "mask: 'no' at index (1,), expected a number", mask=[True, "no"]),
]


class Own(fl.Loss):
    """Returns what it is given."""

    def __init__(self, losses, gradient=None, **kwargs):
        super().__init__(**kwargs)
        self.losses, self.gradient = losses, gradient

    def call(self, y_true, y_pred):
        return self.losses

    def grad(self, y_true, y_pred):
        return self.gradient


class Hidden(fl.Loss):
    def __init__(self, gamma, **kwargs):
        super().__init__(**kwargs)
        self._gamma = gamma


class Empty(fl.Loss):
    pass


def huber(y_true, y_pred):
    return y_pred


def closure(gamma):
    def fn(y_true, y_pred):
        return gamma * y_pred

    return fn


ANONYMOUS, CLOSURE, PARTIAL = lambda y_true, y_pred: y_pred, closure(2.0), functools.partial(huber, y_pred=1)


def out_of(out):
    return lambda given: mse().value_and_grad(y(), p(), out=out)


def pair_of(out):
    return lambda given: mse().grad_and_hess(y(), p(), out=out)


def with_grad(losses, gradient=None, **arguments):
    return lambda given: Own(losses, gradient).value_and_grad(y(), p(), out=given, **arguments)


def config(**arguments):
    return {"class_name": "Huber", "config": arguments}


def overlapping(strides):
    return np.lib.stride_tricks.as_strided(np.zeros(9, "float32"), (2, 3), strides)


def enter(n):
    with fl.threads(n):
        return 1.0


# Each function gets an array of the shape and dtype that out= should have.
OTHERS = [
    # Arguments of constructors
    (lambda out: fl.Huber(-1.0), ValueError, "delta: expected a finite number > 0, got -1.0"),
    (lambda out: fl.Huber(np.nan), ValueError, "delta: expected a finite number > 0, got nan"),
    (lambda out: fl.Huber(10**400), ValueError,
     "delta: expected a finite number > 0, got 100000000000000000...0000000000000000000"),
    *((lambda out, q=q: fl.CategoricalGeneralizedCrossEntropy(q), ValueError,
       f"q: expected a finite number > 0 and < 1, got {q}") for q in (0.0, 1.0, -0.5, np.nan)),
    (lambda out: fl.Quantile(1.0), ValueError, "quantile: expected a finite number > 0 and < 1, got 1.0"),
    (lambda out: fl.Tweedie(2.0), ValueError, "power: expected a finite number > 1 and < 2, got 2.0"),
    (lambda out: fl.CategoricalFocalCrossentropy(gamma=-1.0), ValueError, "gamma: expected a finite number >= 0, got -1.0"),
    (lambda out: fl.CosineSimilarity(axis=(0, "x")), TypeError, "axis: expected an integer, got 'x'"),
    (lambda out: fl.Huber("1"), TypeError, "delta: expected a number, got '1'"),
    (lambda out: fl.Huber(True), TypeError, "delta: expected a number, got True"),
    (lambda out: fl.Huber(None), TypeError, "delta: expected a number, got None"),
    (lambda out: fl.Huber(1j), TypeError, "delta: expected a number, got 1j"),
    (lambda out: fl.Huber([1.0, 2.0]), TypeError, "delta: expected a number, got [1.0, 2.0]"),
    (lambda out: fl.Huber(np.array("a")), TypeError, "delta: expected a number, got array('a', dtype='<U1')"),
    (lambda out: fl.huber(y(), p(), 0), ValueError, "delta: expected a finite number > 0, got 0"),
    (lambda out: fl.LossFunctionWrapper(fl.huber, delta=0)(y(), p()), ValueError,
     "delta: expected a finite number > 0, got 0"),
    (lambda out: fl.BinaryCrossentropy(label_smoothing=1.5), ValueError,
     "label_smoothing: expected a number from 0 to 1, got 1.5"),
    (lambda out: fl.Poisson(epsilon=0.5), ValueError, "epsilon: expected a finite number > 0 and < 0.5, got 0.5"),
    (lambda out: fl.Quantile(0), ValueError, "quantile: expected a finite number > 0 and < 1, got 0"),
    (lambda out: fl.Expectile(1.0), ValueError, "expectile: expected a finite number > 0 and < 1, got 1.0"),
    (lambda out: sparse(class_weight=[1.0, -2.0]), InputError,
     "class_weight: -2.0 at index (1,), expected a finite number >= 0"),
    (lambda out: sparse(class_weight=np.ones((3, 1))), ValueError,
     "class_weight: shape (3, 1), expected a number or one for each class"),
    (lambda out: sparse(class_weight={0: 1.0}), TypeError, "class_weight: expected an array of numbers, got dict"),
    (lambda out: sparse(class_weight=[1.0, 2.0])([0, 1], p()), ValueError, "class_weight: 2 weights for 3 classes"),
    (lambda out: fl.BinaryCrossentropy(pos_weight=np.nan), InputError, "pos_weight: nan, expected a finite number >= 0"),
    (lambda out: fl.CategoricalCrossentropy("yes"), TypeError, "from_logits: expected True or False, got 'yes'"),
    (lambda out: fl.CategoricalCrossentropy(1), TypeError, "from_logits: expected True or False, got 1"),
    (lambda out: fl.CategoricalCrossentropy(axis=1.0), TypeError, "axis: expected an integer, got 1.0"),
    (lambda out: fl.CategoricalCrossentropy(axis=True), TypeError, "axis: expected an integer, got True"),
    (lambda out: fl.CategoricalCrossentropy(axis=None), TypeError, "axis: expected an integer, got None"),
    (lambda out: sparse(ignore_class=1.0), TypeError, "ignore_class: expected an integer, got 1.0"),
    (lambda out: sparse(ignore_class=2**63), ValueError,
     "ignore_class: expected an integer between -2**63 and 2**63, got 9223372036854775808"),
    (lambda out: fl.MeanSquaredError("median"), ValueError, f"reduction: 'median' is unknown; {REDUCTIONS}"),
    (lambda out: fl.Loss(reduction="SUM"), ValueError, f"reduction: 'SUM' is unknown; {REDUCTIONS}"),
    (lambda out: fl.LossFunctionWrapper(huber, True), ValueError, f"reduction: True is unknown; {REDUCTIONS}"),
    (lambda out: fl.Reduction.validate(["sum"]), ValueError, f"reduction: ['sum'] is unknown; {REDUCTIONS}"),
    (lambda out: fl.get(config(reduction="")), ValueError, f"reduction: '' is unknown; {REDUCTIONS}"),
    (lambda out: fl.MeanSquaredError(y(), p()), ValueError,
     f"reduction: array([[0., 0...dtype=float32) is unknown; {REDUCTIONS}"),
    (lambda out: fl.Huber(dtype="int32"), ValueError, f"dtype: {FLOATS}, got 'int32'"),
    (lambda out: fl.Loss(dtype=3), ValueError, f"dtype: {FLOATS}, got 3"),
    (lambda out: fl.Huber(dtype={"config": {}}), ValueError, f"dtype: {FLOATS}, got {{'config': {{}}}}"),
    (lambda out: fl.Huber(name=3), TypeError, "name: expected a string or None, got 3"),
    (lambda out: fl.LossFunctionWrapper("mse"), TypeError, "fn: expected a function of y_true and y_pred, got 'mse'"),
    (lambda out: fl.LossFunctionWrapper(float), TypeError,
     "fn: expected a function of y_true and y_pred, got <class 'float'>"),
    # Names and configurations
    (lambda out: fl.get("cosine"), ValueError,
     "unknown loss 'cosine'; did you mean 'cosine_proximity' or 'cosine_similarity' or 'CosineSimilarity'?"),
    (lambda out: fl.get("Bce"), ValueError, "unknown loss 'Bce'; did you mean 'bce' or 'BCE'?"),
    (lambda out: fl.get(" mse "), ValueError, "unknown loss ' mse '; did you mean 'mse' or 'MSE'?"),
    (lambda out: fl.get("nothing at all"), ValueError, f"unknown loss 'nothing at all'; {KNOWN}"),
    (lambda out: fl.get(""), ValueError, f"unknown loss ''; {KNOWN}"),
    (lambda out: fl.get("Loss"), ValueError,
     "Loss is no loss by itself; derive a class from it that defines call(y_true, y_pred)"),
    (lambda out: fl.get(fl.LossFunctionWrapper), ValueError,
     "LossFunctionWrapper is no loss by itself; give it a function, LossFunctionWrapper(fn)"),
    (lambda out: fl.deserialize({"class_name": "LossFunctionWrapper"}), ValueError,
     "LossFunctionWrapper is no loss by itself; give it a function, LossFunctionWrapper(fn)"),
    (lambda out: fl.get(3), TypeError, "identifier: expected a name, a dict, a callable or None, got 3"),
    (lambda out: fl.get([1]), TypeError, "identifier: expected a name, a dict, a callable or None, got [1]"),
    (lambda out: fl.get({"class_name": "Hubr"}), ValueError, "unknown loss 'Hubr'; did you mean 'Huber'?"),
    (lambda out: fl.get({"class_name": "huber"}), ValueError, "unknown loss 'huber'; did you mean 'Huber'?"),
    (lambda out: fl.get({"module": "mine", "class_name": "Huber"}), ValueError,
     "unknown loss 'Huber' of the module 'mine'; expected it in custom_objects"),
    (lambda out: fl.get({"class_name": "function", "config": "pois"}), ValueError,
     "unknown loss 'pois'; did you mean 'poisson'?"),
    (lambda out: fl.get({"config": {}}), ValueError,
     "config: expected a dict with 'class_name', or a name, got {'config': {}}"),
    (lambda out: fl.deserialize(3), ValueError, "config: expected a dict with 'class_name', or a name, got 3"),
    (lambda out: fl.get({"class_name": "Huber", "config": 3}), TypeError,
     "config: expected a dict of the arguments of Huber, got 3"),
    (lambda out: fl.Huber.from_config("delta"), TypeError, "config: expected a dict of the arguments of Huber, got 'delta'"),
    (lambda out: fl.LossFunctionWrapper.from_config(None), TypeError,
     "config: expected a dict of the arguments of LossFunctionWrapper, got None"),
    (lambda out: fl.get(config(width=1)), TypeError,
     "config: Huber has no argument 'width'; it has delta, reduction, name, dtype"),
    (lambda out: fl.deserialize("mse", [huber]), TypeError,
     f"custom_objects: expected a dict of classes and functions by name, got [{huber!r}]"),
    (lambda out: fl.serialize(3), TypeError, "cannot serialize 3; expected an instance of Loss, or a function"),
    (lambda out: fl.serialize(fl.Huber), TypeError,
     f"cannot serialize {fl.Huber!r}; expected an instance of Loss, or a function"),
    (lambda out: fl.serialize(fl.LossFunctionWrapper(ANONYMOUS)), TypeError, f"cannot serialize {ANONYMOUS!r}, {NAMELESS}"),
    (lambda out: fl.LossFunctionWrapper(CLOSURE).get_config(), TypeError, f"cannot serialize {CLOSURE!r}, {NAMELESS}"),
    (lambda out: fl.serialize(PARTIAL), TypeError, f"cannot serialize {PARTIAL!r}, {NAMELESS}"),
    (lambda out: fl.serialize(fl.LossFunctionWrapper(huber)), TypeError,
     f"cannot serialize {huber!r}, which has the name of a loss of fastloss; expected another name"),
    (lambda out: fl.serialize(Hidden(2.0)), TypeError,
     "Hidden: has no attribute 'gamma' for the constructor's argument of that name; set self.gamma, or define get_config"),
    (lambda out: fl.serialize(Own({1})), TypeError,
     "Own: JSON does not hold the argument losses={1}; define get_config and from_config"),
    # out=
    (out_of(p().tolist()), TypeError, "out: expected a NumPy array, got list"),
    (out_of(1.0), TypeError, "out: expected a NumPy array, got float"),
    (out_of(ones(3, 2)), ValueError, "out: shape (3, 2) differs from y_pred's shape (2, 3)"),
    (out_of(ones(2, 3, dtype="float64")), TypeError, "out: dtype float64, expected float32"),
    (out_of(ones(2, 3, dtype="int32")), TypeError, "out: dtype int32, expected float32"),
    (out_of(np.broadcast_to(ones(3), (2, 3))), ValueError, "out: the array is read-only"),
    (out_of(overlapping((0, 4))), ValueError, "out: elements of the array overlap each other"),
    (out_of(overlapping((4, 4))), ValueError, "out: elements of the array overlap each other"),
    (out_of(overlapping((8, 4))), ValueError, "out: elements of the array overlap each other"),
    (pair_of(p()), TypeError, "out: expected a pair (gradient, hessian), got ndarray"),
    (pair_of((p(),)), TypeError, "out: expected a pair (gradient, hessian), got tuple"),
    (pair_of((p(), ones(3, 2))), ValueError, "out[1]: shape (3, 2) differs from y_pred's shape (2, 3)"),
    (lambda out: mse().grad_and_hess(y(), p(), out=(out, out)), ValueError, "out: gradient and hessian share memory"),
    # Losses of one's own
    (lambda out: Empty()(y(), p()), TypeError, "Empty does not define call(y_true, y_pred)"),
    (lambda out: fl.Loss()(y(), p()), TypeError, "Loss does not define call(y_true, y_pred)"),
    (with_grad(None), TypeError, "Own.call: returned None, expected an array"),
    (lambda out: fl.LossFunctionWrapper(lambda y, p: None)(y(), p()), TypeError,
     "LossFunctionWrapper.call: returned None, expected an array"),
    (with_grad("x"), TypeError, "Own.call: expected an array of numbers, got str"),
    (with_grad([None, 1.0]), TypeError, "Own.call: None at index (0,), expected a number"),
    (with_grad(ones(2, dtype="complex64")), TypeError, f"Own.call: dtype complex64 is not supported; {DTYPES}"),
    (lambda out: Own([[1.0, 2.0], [3.0]])(y(), p()), ValueError, f"Own.call: {NESTED}"),
    (with_grad(3.0, sample_weight=[1, 2]), ValueError,
     "Own.call: returned a scalar, so sample_weight of shape (2,) does not fit; expected one loss for each sample"),
    (with_grad(3.0, mask=[True, False]), ValueError,
     "Own.call: returned a scalar, so mask of shape (2,) does not fit; expected one loss for each sample"),
    (with_grad(ones(3), sample_weight=[1, 2]), ValueError,
     "sample_weight: shape (2,) does not fit the per-sample losses of shape (3,); "
     "expected a scalar, (3,), or a shape that broadcasts to (3,)"),
    (with_grad(ones(2), mask=[1, 2]), InputError, "mask: 2 at index (1,), expected True, False, 0 or 1"),
    (with_grad(ones(2), sample_weight=[1, np.nan]), InputError, "sample_weight: nan at index (1,), expected a number"),
    (with_grad(ones(3), p()), ValueError,
     "Own.call: returned shape (3,), which does not go with the gradient's shape (2, 3); expected (2,) or (2, 3)"),
    (with_grad(ones(2)), TypeError, "Own.grad: returned None, expected an array"),
    (with_grad(ones(2), ones(2)), ValueError, "Own.grad: returned shape (2,), expected y_pred's shape (2, 3)"),
    (lambda out: Own(ones(2), p()).value_and_grad(y(), p(), out=out[:1]), ValueError,
     "out: shape (1, 3) differs from y_pred's shape (2, 3)"),
    (lambda out: fl.LossFunctionWrapper(lambda y, p: p[:, 0]).value_and_grad(y(), p(), out=out), TypeError,
     "LossFunctionWrapper does not define grad(y_true, y_pred), so it has no gradient"),
    (lambda out: fl.LossFunctionWrapper(fl.Huber())(y(), p(), [1, 2]), ValueError,
     "LossFunctionWrapper.call: returned a scalar, so sample_weight of shape (2,) does not fit; "
     "expected one loss for each sample"),
    # Weights of classes
    (lambda out: fl.categorical_focal_crossentropy(y(), p(), alpha=[1.0, 2.0]), ValueError,
     "alpha: 2 weights for 3 classes"),
    (lambda out: fl.CategoricalFocalCrossentropy(alpha=[1.0, 2.0], class_weight=[1.0, 2.0, 3.0])(y(), p()), ValueError,
     "class_weight: shape (3,) differs from alpha's shape (2,)"),
    (lambda out: fl.categorical_crossentropy(y(), p(), ignore_class=-1), ValueError,
     "ignore_class: -1 is no class of y_true, which has 3 of them"),
    # Axes
    (lambda out: fl.BinaryCrossentropy(axis=(0, 0))(y(), p()), ValueError, "axis: (0, 0) names an axis twice"),
    (lambda out: fl.cosine_similarity(y(), p(), axis=2), ValueError,
     "axis: 2 is out of range for y_pred of shape (2, 3)"),
    # Sequences and groups
    (lambda out: fl.ctc([[1, 0, 2]], ones(1, 4, 3)), InputError,
     "y_true: label 2 at index (0, 2) follows a 0, expected 0: padding is at the end of a row"),
    (lambda out: fl.ctc([[1, 3]], ones(1, 4, 3)), InputError,
     "y_true: label 3 at index (0, 1), expected an integer from 0 to 2"),
    (lambda out: fl.ctc([1, 2], ones(1, 4, 3)), ValueError,
     "y_true: shape (2,) and y_pred: shape (1, 4, 3), expected (batch, labels) and (batch, time, classes)"),
    (lambda out: fl.circle([1, 2, 3], ones(2, 4)), ValueError,
     "y_true: shape (3,) does not fit y_pred of shape (2, 4), expected labels (batch,) or (batch, 1) and embeddings "
     "(batch, dimensions)"),
    (lambda out: fl.Dice().grad_and_hess(y(), p()), TypeError, "Dice has no Hessian; value_and_grad gives the gradient"),
    (lambda out: fl.gaussian_nll([1.0, 2.0], p()), ValueError,
     "y_pred: shape (2, 3) does not fit y_true of shape (2,): the last axis holds the two parameters of a distribution, "
     "so its length is 2"),
    # Threads
    (lambda out: fl.set_num_threads(0), ValueError, "n: expected an integer from 1 to 4096, got 0"),
    (lambda out: fl.set_num_threads(1.5), TypeError, "n: expected an integer, got 1.5"),
    (lambda out: fl.set_num_threads("many"), ValueError, "n: expected an integer from 1 to 4096, got 'many'"),
    (lambda out: enter(-1), ValueError, "n: expected an integer from 1 to 4096, got -1"),
    (lambda out: enter(None), TypeError, "n: expected an integer, got None"),
    (lambda out: enter(True), TypeError, "n: expected an integer, got True"),
]
