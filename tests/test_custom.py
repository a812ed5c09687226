# SPDX-License-Identifier: BSD-3-Clause
"""Losses of a user's own, configurations, and names."""

import copy
import json
import pickle

import numpy as np
import pytest

import fastloss as fl

Y_TRUE, Y_PRED = np.zeros((4, 2), np.float32), np.arange(8, dtype=np.float32).reshape(4, 2)
# The mean of e**4 over each row.
LOSSES = (Y_PRED.astype(np.float64) ** 4).mean(axis=-1)
WEIGHT, MASK = np.array([1.0, 0.0, 2.0, 3.0]), np.array([True, True, False, True])


class Quartic(fl.Loss):
    def call(self, y_true, y_pred):
        return np.mean((y_pred - y_true) ** 4, axis=-1)

    def grad(self, y_true, y_pred):
        return 4 * (y_pred - y_true) ** 3 / y_pred.shape[-1]


class Forgetful(Quartic):
    def __init__(self, power=4):
        self.power = power


def quartic(y_true, y_pred, scale=1.0):
    return scale * np.mean((y_pred - y_true) ** 4, axis=-1)


@pytest.mark.parametrize("make", [Quartic, lambda **k: fl.LossFunctionWrapper(quartic, **k)])
@pytest.mark.parametrize(
    ("reduction", "weight", "mask", "expected"),
    [
        ("sum_over_batch_size", None, None, LOSSES.mean()),
        ("mean", WEIGHT, None, LOSSES @ WEIGHT / 4),
        ("sum", WEIGHT, MASK, (LOSSES * WEIGHT)[MASK].sum()),
        ("sum_over_batch_size", WEIGHT, MASK, (LOSSES * WEIGHT)[MASK].sum() / 3),
        ("mean_with_sample_weight", WEIGHT, MASK, (LOSSES * WEIGHT)[MASK].sum() / 4),
        ("mean_with_sample_weight", 0.0, None, 0.0),
    ],
)
def test_reductions(make, reduction, weight, mask, expected):
    value = make(reduction=reduction)(Y_TRUE, Y_PRED, sample_weight=weight, mask=mask)
    assert value.dtype == np.float32
    np.testing.assert_allclose(value, expected, rtol=1e-6)


@pytest.mark.parametrize("none", [None, "none"])
def test_no_reduction(none):
    np.testing.assert_allclose(Quartic(reduction=none)(Y_TRUE, Y_PRED, WEIGHT, MASK), LOSSES * WEIGHT * MASK, rtol=1e-6)


def test_hidden_samples_do_not_leak():
    spoilt = Y_PRED.copy()
    spoilt[1], spoilt[2] = np.nan, np.inf
    value, gradient = Quartic().value_and_grad(Y_TRUE, spoilt, WEIGHT, MASK)
    np.testing.assert_allclose(value, (LOSSES * WEIGHT)[MASK].sum() / 3, rtol=1e-6)
    np.testing.assert_allclose(gradient[0], 4 * Y_PRED[0] ** 3 / 2 / 3, rtol=1e-6)
    assert not gradient[1:3].any()


def test_gradient_in_place():
    place = Y_PRED.copy()
    _, gradient = Quartic(reduction="sum").value_and_grad(Y_TRUE, place, out=place)
    assert gradient is place
    np.testing.assert_allclose(place, 4 * Y_PRED**3 / 2, rtol=1e-6)


def test_defaults_apply_without_init():
    loss = Forgetful()
    assert (loss.name, loss.reduction, loss.dtype) == ("forgetful", "sum_over_batch_size", None)
    np.testing.assert_allclose(loss(Y_TRUE, Y_PRED), LOSSES.mean(), rtol=1e-6)


def test_without_grad_there_is_an_error():
    with pytest.raises(TypeError, match="does not define grad"):
        fl.LossFunctionWrapper(quartic).value_and_grad(Y_TRUE, Y_PRED)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_a_wrapped_function_gets_labels_as_they_are(batch):
    def pick(y_true, y_pred):
        return -np.take_along_axis(y_pred, y_true.astype(int)[:, None], -1)[:, 0]

    y_pred = np.arange(5.0 * batch).reshape(batch, 5)
    assert fl.LossFunctionWrapper(pick, reduction="sum")(np.ones(batch, int), y_pred) == -y_pred[:, 1].sum()


def test_a_wrapped_function_gets_aligned_ranks():
    shapes = []
    fl.LossFunctionWrapper(lambda y, p: shapes.append((y.shape, p.shape)) or p[:, 0])(np.ones(3), np.ones((3, 1)))
    assert shapes == [((3, 1), (3, 1))]


@pytest.mark.parametrize("label", [label for label, _ in fl.losses.native_instances()])
def test_configurations_round_trip(label):
    loss = dict(fl.losses.native_instances())[label]
    loss = type(loss)(**{**loss.get_config(), "reduction": "sum", "name": "mine", "dtype": "float64"})
    again = json.loads(json.dumps(fl.serialize(loss)))
    copies = [fl.deserialize(again), fl.losses.get(again), pickle.loads(pickle.dumps(loss)), copy.deepcopy(loss)]
    for other in [*copies, copy.copy(loss), type(loss).from_config(loss.get_config())]:
        assert type(other) is type(loss)
        assert other.get_config() == loss.get_config()


def test_a_wrapper_round_trips():
    loss = fl.LossFunctionWrapper(quartic, reduction="sum", scale=2.0)
    again = fl.deserialize(json.loads(json.dumps(fl.serialize(loss))), custom_objects={"quartic": quartic})
    assert again(Y_TRUE, Y_PRED) == loss(Y_TRUE, Y_PRED)


@pytest.mark.parametrize("cls", fl.losses.native_classes(), ids=lambda cls: cls.__name__)
def test_names(cls):
    assert fl.serialize(cls.function) == cls.function.__name__
    assert fl.deserialize(cls.function.__name__) is cls.function
    assert type(fl.losses.get(cls)) is cls
    for alias in getattr(cls, "aliases", ()):
        assert fl.losses.get(alias) is cls.function


def test_unknown_names():
    near = fl.losses.native_classes()[0].function.__name__
    with pytest.raises(ValueError, match=f"unknown loss '{near}s'; did you mean '{near}'"):
        fl.losses.get(f"{near}s")
    with pytest.raises(ValueError, match="unknown loss"):
        fl.deserialize({"class_name": "Nothing", "config": {}})
    with pytest.raises(TypeError, match="identifier"):
        fl.losses.get(3)
    assert fl.losses.get(None) is None


def test_changed_attributes_count():
    for loss in [loss for _, loss in fl.losses.native_instances() if loss.rowwise]:
        config = loss.get_config()
        loss(np.full((1, 2), 0.5) if loss.target != "label" else [1], np.full((1, 2), 0.5))
        loss.reduction = "median"
        with pytest.raises(ValueError, match="reduction: 'median'"):
            loss(np.full((1, 2), 0.5) if loss.target != "label" else [1], np.full((1, 2), 0.5))
        for name in {"delta", "label_smoothing"} & set(config):
            setattr(loss, name, -1.5)
            with pytest.raises((ValueError, TypeError), match=name):
                loss._native  # noqa: B018
            setattr(loss, name, config[name])
