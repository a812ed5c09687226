# SPDX-License-Identifier: BSD-3-Clause
"""Losses of a user's own, as tutorials write them."""

import inspect
import math
import pickle

import numpy as np
import pytest

import fastloss as fl
from fastloss.losses import BinaryCrossentropy, Loss, LossFunctionWrapper, Reduction, binary_crossentropy

# A function


def quartic(y_true, y_pred, scale=1.0):
    return scale * np.mean((y_pred - y_true) ** 4, axis=-1)


# A function that makes one


def focal_loss(gamma=2.0, alpha=0.25):
    def focal_loss_fixed(y_true, y_pred):
        y_pred = np.clip(y_pred, 1e-7, 1 - 1e-7)
        p_t = np.where(np.equal(y_true, 1), y_pred, 1 - y_pred)
        alpha_factor = np.where(np.equal(y_true, 1), alpha, 1 - alpha)
        return np.mean(-alpha_factor * (1 - p_t) ** gamma * np.log(p_t), axis=-1)

    return focal_loss_fixed


# One that overwrites its arguments: in TensorFlow `/=` makes a new tensor


def weighted_categorical_crossentropy(weights):
    def loss(y_true, y_pred):
        y_pred /= np.sum(y_pred, axis=-1, keepdims=True)
        y_pred = np.clip(y_pred, 1e-7, 1 - 1e-7)
        loss = y_true * np.log(y_pred) * weights
        loss = -np.sum(loss, -1)
        return loss

    return loss


# A class


class ThresholdLoss(Loss):
    def __init__(self, threshold=1.0, **kwargs):
        self.threshold = threshold
        super().__init__(**kwargs)

    def call(self, y_true, y_pred):
        error = y_true - y_pred
        is_small_error = np.abs(error) < self.threshold
        squared_loss = np.square(error) / 2
        linear_loss = self.threshold * np.abs(error) - self.threshold**2 / 2
        return np.where(is_small_error, squared_loss, linear_loss)

    def get_config(self):
        base_config = super().get_config()
        return {**base_config, "threshold": self.threshold}


# A class that wraps a function


def pinball(y_true, y_pred, tau):
    error = y_true - y_pred
    return np.mean(np.maximum(tau * error, (tau - 1) * error), axis=-1)


class PinballLoss(LossFunctionWrapper):
    def __init__(self, tau=0.5, reduction=Reduction.AUTO, name="pinball_loss"):
        super().__init__(pinball, reduction=reduction, name=name, tau=tau)


# A class that calls a loss of fastloss, and gives a loss for each class


class WeightedBinaryCrossentropy(Loss):
    def __init__(self, pos_weight=3.0, name="weighted_bce", **kwargs):
        super().__init__(name=name, **kwargs)
        self.pos_weight = pos_weight

    def call(self, y_true, y_pred):
        bce = binary_crossentropy(y_true, y_pred)[:, None]
        return bce * (y_true * self.pos_weight + (1 - y_true))


# A class that forgets to call its base's constructor


class Forgetful(Loss):
    def __init__(self, power=4):
        self.power = power

    def call(self, y_true, y_pred):
        return np.mean((y_pred - y_true) ** self.power, axis=-1)


class Auto(Loss):
    def __init__(self, reduction=Reduction.AUTO, name="auto"):
        super().__init__(reduction=reduction, name=name)

    def call(self, y_true, y_pred):
        return np.max(np.abs(y_true - y_pred), axis=-1)

    def grad(self, y_true, y_pred):
        error = y_pred - y_true
        return np.sign(error) * (np.abs(error) == np.max(np.abs(error), axis=-1, keepdims=True))


Y_TRUE = [[1.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
Y_PRED = [[0.75, 0.5], [0.125, 0.25], [0.5, 0.0625], [0.875, 0.375]]
WEIGHT, MASK = [1.0, 0.0, 2.0, 0.5], [True, True, False, True]


def mean(terms):
    terms = list(terms)
    return sum(terms) / len(terms)


def pairs(of_element, average=True):
    """The losses of the samples from the loss of an element, in Python's own numbers."""
    rows = [[of_element(y, p) for y, p in zip(*row, strict=True)] for row in zip(Y_TRUE, Y_PRED, strict=True)]
    return np.array([mean(row) for row in rows] if average else rows)


def focal(y, p):
    return -0.25 * (1 - p) ** 2 * math.log(p) if y else -0.75 * p**2 * math.log(1 - p)


def cross_entropy(y, p):
    return -math.log(p if y else 1 - p)


# What makes the loss, and its losses of the samples.
LOSSES = {
    "function": (lambda **k: LossFunctionWrapper(quartic, **k), pairs(lambda y, p: (p - y) ** 4)),
    "function through get": (
        lambda **k: LossFunctionWrapper(fl.get(quartic), scale=3.0, **k),
        pairs(lambda y, p: 3 * (p - y) ** 4),
    ),
    "closure": (lambda **k: LossFunctionWrapper(focal_loss(2.0, 0.25), **k), pairs(focal)),
    "closure that overwrites": (
        lambda **k: LossFunctionWrapper(weighted_categorical_crossentropy(np.array([0.5, 2.0])), **k),
        np.array([
            -y * math.log(p / (p + q)) / 2 - 2 * z * math.log(q / (p + q))
            for (y, z), (p, q) in zip(Y_TRUE, Y_PRED, strict=True)
        ]),
    ),
    "class": (
        lambda **k: ThresholdLoss(0.5, **k),
        pairs(lambda y, p: (y - p) ** 2 / 2 if abs(y - p) < 0.5 else 0.5 * abs(y - p) - 0.125, average=False),
    ),
    "class of a function": (
        lambda **k: PinballLoss(0.75, **k),
        pairs(lambda y, p: 0.75 * (y - p) if y > p else 0.25 * (p - y)),
    ),
    "class of a loss": (
        lambda **k: WeightedBinaryCrossentropy(3.0, **k),
        pairs(cross_entropy)[:, None] * (1 + 2 * np.array(Y_TRUE)),
    ),
    "auto": (lambda **k: Auto(**k), np.array([0.5, 0.25, 0.9375, 0.875])),
}

each_loss = pytest.mark.parametrize(("make", "losses"), LOSSES.values(), ids=LOSSES)


def reduced(losses, reduction, weight, mask):
    """The value, by hand."""
    total = weights = count = 0.0
    for index in np.ndindex(losses.shape):
        w = 1.0 if weight is None else weight[index[0]]
        if mask is None or mask[index[0]]:
            total, weights, count = total + w * losses[index], weights + w, count + 1
    return total / {"sum": 1, "mean_with_sample_weight": weights}.get(reduction, count)


@each_loss
@pytest.mark.parametrize("mask", [None, MASK], ids=["", "mask"])
@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["", "weight"])
@pytest.mark.parametrize("reduction", ["sum_over_batch_size", "mean", "auto", "sum", "mean_with_sample_weight"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_weights_masks_and_reductions(make, losses, dtype, reduction, weight, mask):
    y_true, y_pred = np.array(Y_TRUE, dtype), np.array(Y_PRED, dtype)
    loss = make(reduction=reduction)
    rtol = {"float32": 2e-6, "float64": 1e-14}[dtype]
    value = loss(y_true, y_pred, sample_weight=weight, mask=mask)
    assert value.dtype == dtype
    np.testing.assert_allclose(value, reduced(losses, reduction, weight, mask), rtol=rtol)
    np.testing.assert_array_equal(y_true, Y_TRUE)
    np.testing.assert_array_equal(y_pred, Y_PRED)
    # Weights of a column, booleans as numbers, and arrays as lists mean the same.
    column = None if weight is None else np.array(weight)[:, None]
    numbers = None if mask is None else [int(m) for m in mask]
    assert loss(y_true, y_pred, column, numbers) == value
    if dtype == "float64":
        assert loss(Y_TRUE, Y_PRED, weight, mask) == value


@each_loss
@pytest.mark.parametrize("none", [None, "none", Reduction.NONE])
def test_no_reduction(make, losses, none):
    per_sample = (len(losses),) + (1,) * (losses.ndim - 1)
    expected = losses * np.reshape(np.multiply(WEIGHT, MASK), per_sample)
    np.testing.assert_allclose(make(reduction=none)(Y_TRUE, Y_PRED, WEIGHT, MASK), expected, rtol=1e-14)


@each_loss
def test_hidden_samples_do_not_leak(make, losses):
    spoilt = np.array(Y_PRED)
    spoilt[1:3] = np.nan
    # The functions' own warnings are not the point.
    with np.errstate(all="ignore"):
        value = make()(Y_TRUE, spoilt, WEIGHT, MASK)
    np.testing.assert_allclose(value, reduced(losses, "mean", WEIGHT, MASK), rtol=1e-14)


@each_loss
def test_without_grad_there_is_an_error(make, losses):
    loss = make()
    if hasattr(loss, "grad"):
        return
    out = np.full((4, 2), 7.0)
    with pytest.raises(TypeError) as caught:
        loss.value_and_grad(Y_TRUE, Y_PRED, out=out)
    assert str(caught.value) == f"{type(loss).__name__} does not define grad(y_true, y_pred), so it has no gradient"
    assert (out == 7).all()


def test_defaults_apply_without_init():
    loss = Forgetful()
    assert (loss.name, loss.reduction, loss.dtype) == ("forgetful", "sum_over_batch_size", None)
    losses = pairs(lambda y, p: (p - y) ** 4)
    np.testing.assert_allclose(loss(Y_TRUE, Y_PRED, WEIGHT), reduced(losses, "mean", WEIGHT, None), rtol=1e-14)
    assert type(fl.deserialize(fl.serialize(loss), {"Forgetful": Forgetful})) is Forgetful


# Gradients


@pytest.mark.parametrize("reduction", ["mean", "sum", "mean_with_sample_weight", None])
def test_gradient(reduction):
    count = {"mean": 3, "mean_with_sample_weight": 1.5}.get(reduction, 1)
    expected = np.array([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.5, 0.0]]) / count
    spoilt = np.array(Y_PRED)
    spoilt[1], spoilt[2] = np.nan, np.inf
    loss = Auto(reduction=reduction)
    place = spoilt.copy()
    with np.errstate(all="ignore"):
        value, gradient = loss.value_and_grad(Y_TRUE, spoilt, WEIGHT, MASK)
        assert loss.value_and_grad(Y_TRUE, place, WEIGHT, MASK, out=place)[1] is place
    np.testing.assert_allclose(gradient, expected, rtol=1e-14)
    np.testing.assert_array_equal(place, gradient)
    np.testing.assert_array_equal(value, loss(Y_TRUE, Y_PRED, WEIGHT, MASK))


class Overwriting(Loss):
    def call(self, y_true, y_pred):
        y_pred -= y_true
        y_pred *= y_pred
        return y_pred

    def grad(self, y_true, y_pred):
        y_pred -= y_true
        y_pred *= 2
        return y_pred


def test_gradient_of_a_loss_that_overwrites():
    y_true, y_pred = np.array(Y_TRUE), np.array(Y_PRED)
    _, gradient = Overwriting("sum", "sum").value_and_grad(y_true, y_pred)
    np.testing.assert_array_equal(gradient, 2 * (np.array(Y_PRED) - Y_TRUE))
    np.testing.assert_array_equal(y_true, Y_TRUE)
    np.testing.assert_array_equal(y_pred, Y_PRED)


class Returns(Loss):
    """Returns what it is given."""

    def __init__(self, losses, gradient=None):
        super().__init__()
        self.losses, self.gradient = losses, gradient

    def call(self, y_true, y_pred):
        return self.losses

    def grad(self, y_true, y_pred):
        return self.gradient


@pytest.mark.parametrize("losses", [3.0, [3.0] * 4, [[3.0]] * 4, [[3.0, 3.0]] * 4, np.int8(3)], ids=str)
def test_losses_of_any_shape_that_fits_the_gradient(losses):
    value, gradient = Returns(losses, np.ones((4, 2))).value_and_grad(Y_TRUE, Y_PRED, 2.0)
    assert value == 6
    np.testing.assert_array_equal(gradient, np.full((4, 2), 2 / np.size(losses)))


# Wrapped functions


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_wrapped_function_gets_labels_as_they_are(batch):
    def pick(y_true, y_pred):
        return -np.take_along_axis(y_pred, y_true.astype(int)[:, None], -1)[:, 0]

    y_pred = np.arange(5.0 * batch).reshape(batch, 5)
    assert LossFunctionWrapper(pick, reduction="sum")(np.ones(batch, int), y_pred) == -y_pred[:, 1].sum()


def test_a_wrapped_function_gets_aligned_ranks():
    shapes = []
    LossFunctionWrapper(lambda y, p: shapes.append((y.shape, p.shape)) or p[:, 0])(np.ones(3), np.ones((3, 1)))
    assert shapes == [((3, 1), (3, 1))]


def targets(loss):
    """y_true for Y_PRED."""
    return [1, 0, 1, 1] if loss.target in ("label", "scalar") else Y_TRUE


@pytest.mark.parametrize("label", [label for label, loss in fl.losses.native_instances() if loss.rowwise])
def test_a_wrapped_native_function_is_the_native_loss(label):
    native = dict(fl.losses.native_instances())[label]
    y_true = targets(native)
    kwargs = {"from_logits": True} if getattr(native, "from_logits", False) else {}
    for reduction in ("mean", "sum", None):
        wrapped = LossFunctionWrapper(fl.get(native.function.__name__), reduction, dtype="float32", **kwargs)
        native = type(native)(reduction=reduction, dtype="float32", **kwargs)
        value, gradient = wrapped.value_and_grad(y_true, Y_PRED, WEIGHT, MASK)
        expected, slope = native.value_and_grad(y_true, Y_PRED, WEIGHT, MASK)
        np.testing.assert_array_equal(value, expected)
        np.testing.assert_array_equal(gradient, slope)
        np.testing.assert_array_equal(wrapped(y_true, Y_PRED, WEIGHT, MASK), expected)
        assert wrapped(y_true, Y_PRED, WEIGHT, MASK).dtype == np.float32


def test_a_call_of_ones_own_is_called():
    class Double(LossFunctionWrapper):
        def call(self, y_true, y_pred):
            return 2 * super().call(y_true, y_pred)

    np.testing.assert_allclose(
        Double(binary_crossentropy)(Y_TRUE, Y_PRED), 2 * BinaryCrossentropy()(Y_TRUE, Y_PRED), rtol=1e-14
    )


# Attributes may change


def test_changed_attributes_count():
    for loss in [loss for _, loss in fl.losses.native_instances() if loss.rowwise]:
        config = loss.get_config()
        loss(targets(loss), Y_PRED)
        loss.reduction = "median"
        with pytest.raises(ValueError, match="reduction: 'median'"):
            loss(targets(loss), Y_PRED)
        for name in {"delta", "label_smoothing"} & set(config):
            setattr(loss, name, -1.5)
            with pytest.raises((ValueError, TypeError), match=name):
                loss._native  # noqa: B018
            setattr(loss, name, config[name])
        loss.reduction = "sum"
        total = loss(targets(loss), Y_PRED)
        del loss.reduction
        assert loss.reduction == "sum_over_batch_size"
        np.testing.assert_allclose(loss(targets(loss), Y_PRED) * np.size(loss.call(targets(loss), Y_PRED)), total)


# Functions keep the kernels of their arguments


def test_arguments_of_a_function_are_looked_at_in_every_call():
    y_true, y_pred = np.zeros((2, 3)), np.full((2, 3), 4.0)
    assert fl.huber(y_true, y_pred).tolist() == fl.huber(y_true, y_pred, 1).tolist() == [3.5, 3.5]
    assert fl.huber(y_true, y_pred, delta=2.0).tolist() == [6.0, 6.0]
    for equal in (True, np.bool_(True)):
        with pytest.raises(TypeError, match="delta"):
            fl.huber(y_true, y_pred, equal)
    for _ in range(2):
        with pytest.raises(ValueError, match="delta"):
            fl.huber(y_true, y_pred, -1.0)


def test_an_argument_that_changes_counts():
    weights = [1.0, 1.0]
    for factor in (1.0, 2.0):
        weights[1] = factor
        losses = fl.categorical_crossentropy([[0.0, 1.0]], [[0.5, 0.5]], class_weight=weights)
        np.testing.assert_allclose(losses, factor * np.log(2))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_loss_is_pickled_without_its_kernel(protocol):
    loss = fl.Huber(2.0)
    before = pickle.dumps(loss, protocol)
    loss([0.0], [1.0])
    assert pickle.dumps(loss, protocol) == before
    assert pickle.loads(before).get_config() == loss.get_config()


def test_the_signature_of_a_loss_is_that_of_its_call():
    assert list(inspect.signature(fl.Huber()).parameters) == ["y_true", "y_pred", "sample_weight", "mask"]
