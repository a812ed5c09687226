# SPDX-License-Identifier: BSD-3-Clause
"""Names of losses and reductions, and configurations, as Keras's users have them in their programs and files."""

import copy
import inspect
import json
import pickle

import numpy as np
import pytest

import fastloss as fl

# Class: function and other names that keras.losses.get takes, or took.
KERAS = {
    "MeanSquaredError": ("mean_squared_error", "mse", "MSE"),
    "MeanAbsoluteError": ("mean_absolute_error", "mae", "MAE"),
    "MeanAbsolutePercentageError": ("mean_absolute_percentage_error", "mape", "MAPE"),
    "MeanSquaredLogarithmicError": ("mean_squared_logarithmic_error", "msle", "MSLE"),
    "CosineSimilarity": ("cosine_similarity", "cosine_proximity"),
    "Huber": ("huber", "huber_loss"),
    "LogCosh": ("log_cosh", "logcosh"),
    "Hinge": ("hinge",),
    "SquaredHinge": ("squared_hinge",),
    "CategoricalHinge": ("categorical_hinge",),
    "KLDivergence": ("kl_divergence", "kld", "KLD", "kullback_leibler_divergence"),
    "Poisson": ("poisson",),
    "BinaryCrossentropy": ("binary_crossentropy", "bce", "BCE"),
    "BinaryFocalCrossentropy": ("binary_focal_crossentropy",),
    "CategoricalCrossentropy": ("categorical_crossentropy",),
    "CategoricalFocalCrossentropy": ("categorical_focal_crossentropy",),
    "SparseCategoricalCrossentropy": ("sparse_categorical_crossentropy",),
    "CategoricalGeneralizedCrossEntropy": ("categorical_generalized_cross_entropy",),
    "CTC": ("ctc",),
    "Dice": ("dice",),
    "Tversky": ("tversky",),
    "Circle": ("circle",),
}

CLASSES = fl.losses.native_classes()
each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


# Names


@pytest.mark.parametrize("name", KERAS)
def test_names_of_keras(name):
    function, *aliases = KERAS[name]
    cls = getattr(fl, name)
    assert type(fl.get(name)) is cls
    assert cls.function is getattr(fl, function)
    assert set(aliases) == set(cls.aliases)
    for known in (function, *aliases):
        for found in (fl.get(known), fl.deserialize(known), getattr(fl, known), getattr(fl.losses, known)):
            assert found is cls.function


@each_class
def test_every_way_to_say_it(cls):
    function = cls.function
    assert fl.get is fl.losses.get
    assert fl.get(None) is None
    assert fl.get(function) is function
    assert type(fl.get(cls)) is cls
    loss = cls(reduction="sum")
    assert fl.get(loss) is loss
    assert fl.get({"class_name": cls.__name__}).get_config() == cls().get_config()
    configured = fl.get({"class_name": cls.__name__, "config": {"reduction": "sum"}})
    assert (type(configured), configured.reduction) == (cls, "sum")
    assert fl.serialize(function) == function.__name__
    for name in (function.__name__, *cls.aliases):
        written = {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
        assert fl.get(written) is fl.deserialize(written) is function


def test_other_callables_are_themselves():
    class Callable:
        def __call__(self, y_true, y_pred):
            return 0.0

    own = lambda y_true, y_pred: 0.0  # noqa: E731
    assert fl.get(own) is own
    assert isinstance(fl.get(Callable), Callable)


def test_aliases_hide_nothing():
    aliases = [name for cls in CLASSES for name in cls.aliases]
    assert len(set(aliases)) == len(aliases)
    assert not {*aliases} & {*fl.__all__, *fl.losses.__all__}
    others = {name for cls in CLASSES for name in (cls.__name__, cls.function.__name__, cls.__module__.rpartition(".")[2])}
    assert not {*aliases} & others


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("Bce", ["bce", "BCE"]),
        (" mse ", ["mse", "MSE"]),
        ("mean_squared", ["mean_squared_error"]),
        ("meansquarederror", ["mean_squared_error", "MeanSquaredError"]),
        ("BinaryCrossEntropy", ["BinaryCrossentropy", "binary_crossentropy"]),
        ("binary-crossentropy", ["binary_crossentropy", "BinaryCrossentropy"]),
        ("Hubber", ["Huber", "huber"]),
    ],
)
def test_the_nearest_names_are_suggested(wrong, near):
    for call in (fl.get, fl.deserialize):
        with pytest.raises(ValueError, match=f"^unknown loss '{wrong}'; did you mean '{near[0]}'") as caught:
            call(wrong)
        assert all(repr(name) in str(caught.value) for name in near)
        assert str(caught.value).count("'") <= 8


def test_reductions():
    names = ["AUTO", "NONE", "SUM", "SUM_OVER_BATCH_SIZE", "MEAN", "MEAN_WITH_SAMPLE_WEIGHT"]
    assert sorted(name for name in vars(fl.Reduction) if name.isupper()) == sorted(names)
    losses, weight = np.array([1.0, 2.0, 6.0]), np.array([1.0, 2.0, 0.5])
    expected = {"AUTO": 8 / 3, "SUM_OVER_BATCH_SIZE": 8 / 3, "MEAN": 8 / 3, "SUM": 8.0, "MEAN_WITH_SAMPLE_WEIGHT": 8 / 3.5}
    for name, value in expected.items():
        assert getattr(fl.Reduction, name) == name.lower()
        for reduction in (getattr(fl.Reduction, name), name.lower(), np.str_(name.lower())):
            loss = fl.MeanAbsoluteError(reduction=reduction)
            assert loss(np.zeros((3, 1)), losses[:, None], weight) == pytest.approx(value, rel=1e-15)
    for none in (fl.Reduction.NONE, "none", None):
        assert fl.MeanAbsoluteError(none)(np.zeros((3, 1)), losses[:, None], weight).tolist() == [1, 4, 3]
    for reduction in fl.Reduction.all():
        fl.Reduction.validate(reduction)


# Instances


SET = {
    "reduction": "sum",
    "name": "mine",
    "dtype": "float64",
    "axis": 0,
    "ignore_class": 3,
    "class_weight": [1.0, 0.5],
    "pos_weight": 2.0,
}


def arguments(cls):
    """Each argument of the constructor, with another value than the default."""
    chosen = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        default = parameter.default
        changed = (lambda x: not x) if isinstance(default, bool) else (lambda x: 0.9 * (x or 0.5))
        chosen[name] = SET[name] if name in SET else changed(default)
        assert chosen[name] != default
    return chosen


def as_numpy(value):
    return value if isinstance(value, str) else np.array(value)[()]


@each_class
def test_every_argument_round_trips(cls):
    given = arguments(cls)
    loss = cls(**given)
    assert loss.get_config() == given
    again = json.loads(json.dumps(fl.serialize(loss)))
    assert again == {"module": "fastloss.losses", "class_name": cls.__name__, "config": given, "registered_name": None}
    copies = [fl.deserialize(again), fl.get(again), cls.from_config(given), pickle.loads(pickle.dumps(loss))]
    for other in [*copies, copy.copy(loss), copy.deepcopy(loss)]:
        assert type(other) is cls
        assert other.get_config() == given
        assert repr(other) == repr(loss)


@each_class
def test_numbers_of_numpy_become_plain(cls):
    given = arguments(cls)
    loss = cls(**{name: as_numpy(value) for name, value in given.items()})
    for name, value in given.items():
        setattr(loss, name, as_numpy(value))
        assert type(loss.get_config()[name]) is type(value)
    assert json.loads(json.dumps(loss.get_config())) == given


def test_several_axes_round_trip():
    loss = fl.BinaryCrossentropy(axis=(np.int8(-1), 0))
    config = json.loads(json.dumps(loss.get_config()))
    assert config["axis"] == [-1, 0]
    assert fl.BinaryCrossentropy.from_config(config).axis == loss.axis == (-1, 0)


@each_class
@pytest.mark.parametrize("none", [None, ""])
def test_default_name(cls, none):
    default = inspect.signature(cls).parameters["name"].default
    assert (cls().name, cls(name=none).name, cls.from_config({"name": none}).name) == (default,) * 3


@each_class
def test_configurations_of_keras(cls):
    names = inspect.signature(cls).parameters
    for module in ("keras.losses", "keras.src.losses.losses", "tf_keras.losses", "tensorflow.keras.losses", None):
        written = {"module": module, "class_name": cls.__name__, "registered_name": None}
        # Keras 2
        function = cls.function.__name__
        for fn in (function, {"class_name": "function", "config": function, "module": "builtins"}, *cls.aliases):
            loss = fl.deserialize({**written, "config": {"reduction": "auto", "name": "x", "fn": fn}})
            assert (type(loss), loss.name, loss.reduction) == (cls, "x", "auto")
        # Keras 3
        policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float64"}, "registered_name": None}
        loss = fl.deserialize({**written, "config": {"name": "x", "reduction": None, "dtype": policy}})
        assert (loss.name, loss.reduction, loss.dtype) == ("x", None, "float64")
        policy["config"]["name"] = "mixed_bfloat16"
        assert cls(dtype=policy).dtype == cls(dtype="mixed_bfloat16").dtype == "bfloat16"
    with pytest.raises(TypeError) as caught:
        cls.from_config({"fn": "another"})
    assert str(caught.value) == f"config: {cls.__name__} has no argument 'fn'; it has {', '.join(names)}"
    with pytest.raises(TypeError) as caught:
        fl.get({"class_name": cls.__name__, "config": {"width": 1, "reduction": "sum", "height": 2}})
    assert str(caught.value) == f"config: {cls.__name__} has no argument 'width' or 'height'; it has {', '.join(names)}"


# Losses of a user's own


def quartic(y_true, y_pred, scale=1.0):
    return scale * np.mean((y_pred - y_true) ** 4, axis=-1)


class Weighted(fl.Loss):
    def __init__(self, weights, power=2, name="weighted", **kwargs):
        super().__init__(name=name, **kwargs)
        self.weights, self.power = weights, power

    def call(self, y_true, y_pred):
        return np.mean(self.weights * np.abs(y_pred - y_true) ** self.power, axis=-1)


class Keeper(fl.Loss):
    """As tutorials write it: arguments under other names, and a get_config."""

    def __init__(self, threshold=1.0, **kwargs):
        super().__init__(**kwargs)
        self._threshold = threshold

    def call(self, y_true, y_pred):
        return np.mean(np.minimum(np.abs(y_pred - y_true), self._threshold), axis=-1)

    def get_config(self):
        return {**super().get_config(), "threshold": self._threshold}


class Wrapping(fl.LossFunctionWrapper):
    def __init__(self, scale=2.0, reduction="sum", name="wrapping"):
        super().__init__(quartic, reduction=reduction, name=name, scale=scale)


OWN = {cls.__name__: cls for cls in (Weighted, Keeper, Wrapping)} | {"quartic": quartic}
MINE = [
    Weighted(np.array([1.0, np.float32(0.5)]), np.int64(3), reduction="sum", dtype="float64"),
    Weighted([1, 2], name="w"),
    Keeper(np.float32(0.5), name="keeper", reduction=None),
    Wrapping(3.0, name="other"),
    fl.LossFunctionWrapper(quartic, reduction="sum", name="q", dtype="float64", scale=np.array([2.0])),
    fl.LossFunctionWrapper(fl.huber, delta=2.0),
    fl.LossFunctionWrapper(fl.get("mse"), "none"),
]


@pytest.mark.parametrize("loss", MINE, ids=lambda loss: type(loss).__name__)
def test_own_losses_round_trip(loss):
    config = json.loads(json.dumps(loss.get_config(), default=float))
    again = json.loads(json.dumps(fl.serialize(loss)))
    copies = [fl.deserialize(again, custom_objects=OWN), pickle.loads(pickle.dumps(loss)), copy.copy(loss)]
    if config.get("fn") != "quartic":
        copies.append(type(loss).from_config(loss.get_config()))
    y_true, y_pred = np.zeros((3, 2)), np.arange(6.0).reshape(3, 2)
    for other in [*copies, copy.deepcopy(loss)]:
        assert type(other) is type(loss)
        assert json.loads(json.dumps(other.get_config(), default=float)) == config
        np.testing.assert_array_equal(other(y_true, y_pred), loss(y_true, y_pred))
        assert repr(other).startswith(type(loss).__name__)


@pytest.mark.parametrize("scale", ["argument", "own"])
def test_a_wrapped_function_by_name(scale):
    written = {"class_name": "LossFunctionWrapper", "config": {"fn": "quartic", "reduction": "sum", "scale": 2.0}}
    if scale == "argument":
        written["config"]["fn"] = {"module": "builtins", "class_name": "function", "config": "quartic"}
    loss = fl.deserialize(written, custom_objects=OWN)
    assert (loss.fn, loss.reduction, loss.name, loss._fn_kwargs) == (quartic, "sum", "quartic", {"scale": 2.0})


def test_own_classes_and_functions_win():
    class Huber(fl.Loss):
        pass

    def huber(y_true, y_pred):
        return y_pred

    own = {"Huber": Huber, "huber": huber}
    assert type(fl.deserialize("Huber", own)) is type(fl.deserialize({"class_name": "Huber"}, own)) is Huber
    assert fl.deserialize("huber", own) is fl.deserialize({"class_name": "function", "config": "huber"}, own) is huber
    # Never taken for ours
    with pytest.raises(ValueError, match="unknown loss 'Huber' of the module"):
        fl.deserialize(fl.serialize(Huber()))
    with pytest.raises(TypeError, match="name of a loss of fastloss"):
        fl.serialize(fl.LossFunctionWrapper(huber))


@pytest.mark.parametrize(
    ("class_name", "expected"),
    [("Quartic", "quartic"), ("MyKLDLoss", "my_kld_loss"), ("L2Loss", "l2_loss"), ("GeneralizedIoU", "generalized_io_u")],
)
def test_own_names_are_snake_case_and_not_made_unique(class_name, expected):
    cls = type(class_name, (fl.Loss,), {})
    assert [cls().name, cls(name=None).name, cls(name="").name, cls(name="x").name] == [expected] * 3 + ["x"]


def test_names_of_wrappers():
    assert fl.LossFunctionWrapper(quartic).name == "quartic"
    assert fl.LossFunctionWrapper(lambda y_true, y_pred: y_pred).name == "loss_function_wrapper"
    assert Wrapping(name=None).name == "wrapping"
