# SPDX-License-Identifier: BSD-3-Clause
"""Losses by name, and their configurations. Names come from the classes themselves."""

import difflib

from fastloss.base import Loss, LossFunctionWrapper, NativeLoss


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


def names():
    """Every string that `get` takes: class names give classes, the others functions."""
    table = {}
    for cls in native_classes():
        table[cls.__name__] = cls
        for name in (cls.function.__name__, *getattr(cls, "aliases", ())):
            table[name] = cls.function
    return table


def get(identifier):
    """A loss from a name, a configuration or a callable.

    Args:
        identifier: A class name ("Huber": an instance with default arguments), a function name or alias
            ("huber", "mse": the function), a dict as `serialize` returns it, a class (an instance), any other
            callable (itself), or None (None).

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
        return _named(identifier, names())
    if isinstance(identifier, type) and issubclass(identifier, Loss):
        return identifier()
    if callable(identifier):
        return identifier
    raise TypeError(f"identifier: expected a name, a dict, a callable or None, got {identifier!r}")


def serialize(loss):
    """A JSON-able configuration of a loss: a dict for an instance, the name of a function handle.

    Raises:
        TypeError: Neither a loss nor a function handle.

    Example:
        >>> from fastloss import Huber
        >>> serialize(Huber(2.0))["config"]["delta"]
        2.0
    """
    if loss is None or isinstance(loss, str):
        return loss
    if isinstance(loss, Loss):
        config = loss.get_config()
        if isinstance(loss, LossFunctionWrapper):
            config["fn"] = loss.fn.__name__
        return {
            "module": "fastloss.losses" if type(loss).__module__.startswith("fastloss.") else type(loss).__module__,
            "class_name": type(loss).__name__,
            "config": config,
            "registered_name": None,
        }
    if hasattr(loss, "loss_class"):
        return loss.__name__
    raise TypeError(f"loss: cannot serialize {loss!r}")


def deserialize(config, custom_objects=None):
    """A loss from what `serialize` returned.

    Args:
        config: A dict with "class_name" and "config", or a name.
        custom_objects: Further classes or functions by name, or None; a wrapped function of your own is
            found here.

    Raises:
        ValueError: An unknown class or name.

    Example:
        >>> from fastloss import Huber
        >>> deserialize(serialize(Huber(2.0)))
        Huber(delta=2.0)
    """
    table = {**names(), **(custom_objects or {})}
    if config is None:
        return None
    if isinstance(config, str):
        return _named(config, table)
    if not isinstance(config, dict) or "class_name" not in config:
        raise ValueError(f"config: expected a dict with 'class_name', or a name, got {config!r}")
    name, arguments = config["class_name"], config.get("config", {})
    if name == "function":
        return _named(arguments, table)
    if name == LossFunctionWrapper.__name__:
        return LossFunctionWrapper(**{**arguments, "fn": _named(arguments.get("fn"), table)})
    cls = table.get(name)
    if not isinstance(cls, type):
        raise _unknown(name, [key for key, value in table.items() if isinstance(value, type)])
    return cls.from_config(arguments)


def _named(name, table):
    if name not in table:
        raise _unknown(name, table)
    found = table[name]
    return found() if isinstance(found, type) else found


def _unknown(name, known):
    near = difflib.get_close_matches(str(name), list(known), n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return ValueError(f"unknown loss {name!r}{hint}")
