# SPDX-License-Identifier: BSD-3-Clause
"""Losses by name, and their configurations. Names come from the classes themselves."""

import inspect

from fastloss import _validate
from fastloss.base import Loss, LossFunctionWrapper, NativeLoss, plain

# Whose configurations of losses name the same losses.
KERAS = ("keras", "tf_keras", "tensorflow", "builtins")

# What to do instead of asking for these by name.
BASES = {
    Loss: "derive a class from it that defines call(y_true, y_pred)",
    LossFunctionWrapper: "give it a function, LossFunctionWrapper(fn)",
}


def native_classes():
    """The classes of the losses that run in C, in the order of their definition.

    >>> "Huber" in [cls.__name__ for cls in native_classes()]
    True
    """
    return [cls for cls in NativeLoss.__subclasses__() if cls.__module__.startswith("fastloss.losses.")]


def native_instances():
    """A label and an instance for each native loss and kind of y_pred.

    >>> [label for label, loss in native_instances() if loss.name == "huber_loss"]
    ['huber']
    """
    return [
        (f"{cls.function.__name__}{' (from logits)' if getattr(loss, 'from_logits', False) else ''}", loss)
        for cls in native_classes()
        for loss in cls.variants()
    ]


def aliases():
    """Short and older names of the functions.

    >>> aliases()["mse"].__name__
    'mean_squared_error'
    """
    return {name: cls.function for cls in native_classes() for name in cls.aliases}


def names():
    """Every string that `get` takes: class names give classes, the others functions."""
    table = {}
    for cls in native_classes():
        table[cls.__name__] = cls
        table[cls.function.__name__] = cls.function
    return {**table, **aliases()}


def get(identifier):
    """A loss from a name, a configuration or a callable.

    Args:
        identifier: A class name ("Huber": an instance with default arguments), a function name or alias
            ("huber", "mse": the function), a dict as `serialize` returns it or Keras writes it, a class (an
            instance), any other callable (itself), or None (None).

    Raises:
        ValueError: Nothing is known by that name; the message suggests the nearest.
        TypeError: Not one of these.

    Example:
        >>> get("mse").__name__
        'mean_squared_error'
        >>> get({"class_name": "Huber", "config": {"delta": 2.0}})
        Huber(delta=2.0)
    """
    if identifier is None:
        return None
    if isinstance(identifier, dict):
        return deserialize(identifier)
    if isinstance(identifier, str):
        return _made(_find(identifier, _known()))
    found = _made(identifier)
    if not callable(found):
        raise TypeError(f"identifier: expected a name, a dict, a callable or None, got {identifier!r}")
    return found


def serialize(loss):
    """A configuration of a loss that JSON holds: a dict for an instance, its name for a function.

    Raises:
        TypeError: Not a loss, a lambda or a closure, or an argument that JSON does not hold.

    Example:
        >>> from fastloss import Huber
        >>> serialize(Huber(2.0))["config"]["delta"]
        2.0
    """
    if loss is None or isinstance(loss, str):
        return loss
    if not isinstance(loss, Loss):
        return function_name(loss)
    # Not at import, which it would slow down.
    import json

    cls, config = type(loss), plain(loss.get_config())
    for name, value in config.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            raise TypeError(
                f"{cls.__name__}: JSON does not hold the argument {name}={value!r}; define get_config and from_config"
            ) from None
    return {
        "module": "fastloss.losses" if cls.__module__.startswith("fastloss.") else cls.__module__,
        "class_name": cls.__name__,
        "config": config,
        "registered_name": None,
    }


def deserialize(config, custom_objects=None):
    """A loss from what `serialize` returned, or Keras wrote for a loss of its own.

    Args:
        config: A dict with "class_name" and "config", or a name.
        custom_objects: Classes and functions of your own by name, or None.

    Raises:
        ValueError: An unknown class or name.
        TypeError: An argument that the class does not have.

    Example:
        >>> from fastloss import Huber
        >>> deserialize(serialize(Huber(2.0)))
        Huber(delta=2.0)
    """
    if config is None:
        return None
    own = {} if custom_objects is None else custom_objects
    if not isinstance(own, dict):
        raise TypeError(f"custom_objects: expected a dict of classes and functions by name, got {custom_objects!r}")
    if isinstance(config, str):
        return _made(_find(config, _known(own)))
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise ValueError(f"config: expected a dict with 'class_name', or a name, got {config!r}")
    name, arguments = config["class_name"], config.get("config", {})
    module, table = config.get("module"), _known(own)
    # What another module calls Huber is not ours.
    if module is not None and str(module).partition(".")[0] not in ("fastloss", *KERAS) and name not in own:
        raise ValueError(f"unknown loss {name!r} of the module {module!r}; expected it in custom_objects")
    if name == "function":
        return function(arguments, table)
    cls = _find(name, {key: value for key, value in table.items() if _is_loss_class(value)})
    if cls in BASES and "fn" not in _validate.configuration(cls, arguments):
        raise _base_error(cls)
    if issubclass(cls, LossFunctionWrapper) and "fn" in _validate.configuration(cls, arguments):
        arguments = {**arguments, "fn": function(arguments["fn"], table)}
    return cls.from_config(arguments)


def function_name(fn):
    """The name by which `function` finds a function again."""
    name = getattr(fn, "__name__", "")
    if isinstance(fn, type) or not callable(fn):
        raise TypeError(f"cannot serialize {fn!r}; expected an instance of Loss, or a function")
    if not name.isidentifier() or inspect.ismethod(fn) or getattr(fn, "__closure__", None):
        raise TypeError(
            f"cannot serialize {fn!r}, which cannot be found again by name; expected a function without a closure, "
            "defined with def"
        )
    if names().get(name, fn) is not fn:
        raise TypeError(f"cannot serialize {fn!r}, which has the name of a loss of fastloss; expected another name")
    return name


def function(config, table=None):
    """The function that a name, or a dict with a name as Keras writes it, stands for."""
    if callable(config):
        return config
    name = config.get("config") if isinstance(config, dict) else config
    known = {key: value for key, value in (table or names()).items() if not isinstance(value, type)}
    return _find(name, known)


def _is_loss_class(value):
    return isinstance(value, type) and issubclass(value, Loss)


def _known(own=None):
    return {**{base.__name__: base for base in BASES}, **names(), **(own or {})}


def _made(found):
    """An instance, if it is a class."""
    if not isinstance(found, type):
        return found
    if found in BASES:
        raise _base_error(found)
    return found()


def _base_error(cls):
    return ValueError(f"{cls.__name__} is no loss by itself; {BASES[cls]}")


def _find(name, known):
    """What is known by that name."""
    if isinstance(name, str) and name in known:
        return known[name]
    near = _nearest(str(name), known)
    if near:
        hint = f"did you mean {' or '.join(map(repr, near))}?"
    else:
        hint = "expected a name in fastloss.losses, or one in the custom_objects of deserialize"
    raise ValueError(f"unknown loss {name!r}; {hint}")


def _nearest(name, known):
    """At most three names, the nearest first; those that differ in case and punctuation only, if there are any."""
    import difflib

    def plain_text(text):
        return "".join(filter(str.isalnum, text)).lower()

    spelt = {}
    for key in known:
        spelt.setdefault(plain_text(key), []).append(key)
    text = plain_text(name)
    longer = [known for known in spelt if len(text) > 2 and text in known]
    groups = [text] if text in spelt else difflib.get_close_matches(text, spelt, n=3) or longer
    near = [key for group in groups for key in spelt[group]]
    return sorted(near, key=lambda key: -difflib.SequenceMatcher(None, name, key).ratio())[:3]
