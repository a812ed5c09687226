# SPDX-License-Identifier: BSD-3-Clause
"""What every loss has: reduction, weights, mask, configuration."""

import copyreg
import inspect
import re

import numpy as np

from fastloss import _kernels, _validate, reduction

MEAN = "sum_over_batch_size"


def _snake_case(name):
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=.)(?=[A-Z][a-z])", "_", name).lower()


class Loss:
    """Base class of losses, and of your own: implement `call(y_true, y_pred)`.

    Formula::

        value = reduce(sample_weight * call(y_true, y_pred))

    Args:
        name: The loss's name; by default the class's name in snake_case. Several losses may have the same.
        reduction: See `Reduction`: "sum_over_batch_size" (default; also "mean", "auto"), "sum",
            "mean_with_sample_weight", "none" or None.
        dtype: What is computed in: None for y_pred's own (float32 for half precision, integers and bool),
            "float32" or "float64".

    Calling a loss takes

        y_true, y_pred: Arrays, or anything `numpy.asarray` takes. Never modified. Native losses want equal
            shapes after Keras's rank alignment of ``(n,)`` with ``(n, 1)`` and broadcast nothing; a loss of your
            own gets copies in the dtype that is computed in.
        sample_weight: None, a scalar, ``(batch,)``, or a shape that broadcasts to the losses of the samples.
            A weight of 0 hides whatever the sample holds.
        mask: None, or booleans, or 0 and 1, of such a shape; samples at False do not count.

    Shapes:
        y_true, y_pred: ``(batch, ...)`` as `call` takes them.
        result: ``()``, or what `call` returns for ``reduction=None``.

    Raises:
        ValueError: Shapes that do not fit, an unknown reduction, a weight that is NaN.
        TypeError: A dtype that is not a real number's.

    Accuracy: Sums are taken in float64.

    Example:
        >>> class Quartic(Loss):
        ...     def call(self, y_true, y_pred):
        ...         return np.mean((y_pred - y_true) ** 4, axis=-1)
        >>> float(Quartic()([[0.0, 0.0]], [[1.0, 2.0]]))
        8.5

    References: The interface is that of keras.losses.Loss.
    """

    # Also of a subclass that does not call __init__.
    name = "loss"
    reduction = "sum_over_batch_size"
    dtype = None

    def __init__(self, name=None, reduction="sum_over_batch_size", dtype=None):
        set_common(self, name, reduction, dtype)

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            default = getattr(inspect.signature(cls.__init__).parameters.get("name"), "default", None)
            cls.name = default if isinstance(default, str) and default else _snake_case(cls.__name__)

    def call(self, y_true, y_pred):
        """The losses of the samples, before weights and reduction.

        Args:
            y_true, y_pred: Arrays of the dtype that is computed in.

        Example:
            >>> LossFunctionWrapper(lambda y_true, y_pred: abs(y_pred - y_true)).call(1.0, 3.0)
            2.0
        """
        raise TypeError(f"{type(self).__name__} does not define call(y_true, y_pred)")

    def __call__(self, y_true, y_pred, sample_weight=None, mask=None):
        kind = reduction.code(self.reduction)
        y_true, y_pred = self._inputs(y_true, y_pred)
        losses, weight, counted = self._weighed(y_true, y_pred, sample_weight, mask)
        return _reduce(losses, weight, counted, kind, y_pred.dtype)

    def value_and_grad(self, y_true, y_pred, sample_weight=None, mask=None, out=None):
        """The value, and its gradient with respect to y_pred.

        A loss of your own has it if it defines `grad(y_true, y_pred)`: the derivative of each sample's loss
        with respect to y_pred, in y_pred's shape.

        Args:
            y_true, y_pred, sample_weight, mask: As for calling the loss.
            out: None, or an array of y_pred's shape and dtype for the gradient; y_pred itself if it may be
                overwritten.

        Returns:
            ``(value, gradient)``. For ``reduction=None`` the losses of the samples, and the gradient of each.

        Example:
            >>> class Quartic(Loss):
            ...     def call(self, y_true, y_pred):
            ...         return (y_pred - y_true) ** 4
            ...     def grad(self, y_true, y_pred):
            ...         return 4 * (y_pred - y_true) ** 3
            >>> value, gradient = Quartic().value_and_grad([0.0, 0.0], [1.0, 2.0])
            >>> float(value), gradient.tolist()
            (8.5, [2.0, 16.0])
        """
        kind = reduction.code(self.reduction)
        original, given = _validate.as_array("y_pred", y_pred), (y_true, y_pred)
        y_true, y_pred = self._inputs(*given)
        grad = getattr(self, "grad", None)
        if grad is None:
            raise TypeError(f"{type(self).__name__} does not define grad(y_true, y_pred), so it has no gradient")
        losses, weight, counted = self._weighed(y_true, y_pred, sample_weight, mask)
        rows = y_pred.shape[: losses.ndim]
        if len(rows) < losses.ndim or any(n not in (1, m) for n, m in zip(losses.shape, rows, strict=True)):
            raise ValueError(
                f"{type(self).__name__}.call: returned shape {losses.shape}, which does not go with the gradient's shape "
                f"{y_pred.shape}; expected {y_pred.shape[:-1]} or {y_pred.shape}"
            )
        gradient = _returned(f"{type(self).__name__}.grad", grad(*self._inputs(*given)), y_pred.dtype)
        if gradient.shape != y_pred.shape:
            raise ValueError(
                f"{type(self).__name__}.grad: returned shape {gradient.shape}, expected y_pred's shape {y_pred.shape}"
            )
        divisor = reduction.denominator(kind, weight, counted)
        scale = np.divide(weight, divisor, out=np.zeros_like(weight), where=divisor != 0)
        scale = scale.reshape(scale.shape + (1,) * (y_pred.ndim - scale.ndim))
        dtype = original.dtype if original.dtype.kind not in "biu" else np.dtype(np.float32)
        array = _validate.output("out", out, original, dtype, ())
        result = array if out is None else out
        # A weight of 0 hides a NaN.
        product = np.multiply(gradient, scale, out=np.zeros_like(gradient), where=scale != 0)
        result[...] = product.reshape(result.shape)
        return _reduce(losses, weight, counted, kind, y_pred.dtype), result

    def _inputs(self, y_true, y_pred):
        """Copies of y_true and y_pred in the dtype that is computed in: a `call` may overwrite them."""
        y_true, y_pred = _validate.as_array("y_true", y_true), _validate.as_array("y_pred", y_pred)
        dtype = np.dtype(np.float64 if (self.dtype or y_pred.dtype.name) == "float64" else np.float32)
        return y_true.astype(dtype), y_pred.astype(dtype)

    def _weighed(self, y_true, y_pred, sample_weight, mask):
        """Losses, weights (0 where masked) and which samples count, of one shape."""
        losses = _returned(f"{type(self).__name__}.call", self.call(y_true, y_pred), y_pred.dtype)
        for name, value in (("sample_weight", sample_weight), ("mask", mask)):
            shape = () if value is None else _validate.as_array(name, value).shape
            if losses.ndim == 0 and any(n != 1 for n in shape):
                raise ValueError(
                    f"{type(self).__name__}.call: returned a scalar, so {name} of shape {shape} does not fit; "
                    "expected one loss for each sample"
                )
        weight, counted = np.ones(losses.shape), np.ones(losses.shape, dtype=bool)
        if mask is not None:
            counted = _validate.per_sample("mask", mask, losses.shape)
        if sample_weight is not None:
            given = _validate.per_sample("sample_weight", sample_weight, losses.shape)
            bad = np.isnan(given.astype(np.float64)) & counted
            if bad.any():
                raise _validate.bad_weight(given, int(np.flatnonzero(bad)[0]), losses.shape)
            weight = given.astype(np.float64)
        return losses, np.where(counted, weight, 0.0), counted

    def _arguments(self):
        """The constructor's arguments, as far as attributes tell."""
        values = getattr(self, "_fn_kwargs", {})
        names, further = _parameters(type(self))
        if further:
            names += [name for name in values if name not in names]
        return {
            name: values[name] if name in values else getattr(self, name)
            for name in names
            if name in values or hasattr(self, name)
        }

    def get_config(self):
        """The constructor's arguments, for `from_config`; numbers and arrays of NumPy become plain ones.

        Raises:
            TypeError: A loss of your own keeps an argument under another name than the constructor's.

        Example:
            >>> from fastloss import Huber
            >>> Huber(delta=2.0).get_config()
            {'delta': 2.0, 'reduction': 'sum_over_batch_size', 'name': 'huber_loss', 'dtype': None}
        """
        config = plain(self._arguments())
        missing = [name for name in _parameters(type(self))[0] if name not in config]
        # A get_config of the user's own adds what is missing.
        if missing and type(self).get_config in (Loss.get_config, LossFunctionWrapper.get_config):
            raise TypeError(
                f"{type(self).__name__}: has no attribute {missing[0]!r} for the constructor's argument of that name; "
                f"set self.{missing[0]}, or define get_config"
            )
        return config

    @classmethod
    def from_config(cls, config):
        """A loss from what `get_config` returned.

        Raises:
            TypeError: An argument that the constructor does not have.

        Example:
            >>> from fastloss import Huber
            >>> Huber.from_config({"delta": 2.0})
            Huber(delta=2.0)
        """
        names, further = _parameters(cls)
        unknown = [name for name in _validate.configuration(cls, config) if name not in names]
        if unknown and not further:
            raise TypeError(
                f"config: {cls.__name__} has no argument {' or '.join(map(repr, unknown))}; it has {', '.join(names)}"
            )
        return cls(**config)

    def __repr__(self):
        parameters = [inspect.signature(cls.__init__).parameters for cls in (Loss, type(self))]
        defaults = plain({name: p.default for names in parameters for name, p in names.items()})
        shown = [
            f"{name}={value!r}"
            for name, value in self._arguments().items()
            if plain(value) != defaults.get(name) and not (name == "name" and value == type(self).name)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


class LossFunctionWrapper(Loss):
    """A loss from a function of y_true and y_pred.

    Formula::

        call(y_true, y_pred) = fn(y_true, y_pred, **kwargs)

    Args:
        fn: Returns the losses of the samples.
        reduction, name, dtype: See `Loss`.
        **kwargs: Passed to fn in every call.

    Shapes: As fn takes them, after Keras's rank alignment.

    Raises:
        TypeError: fn cannot be called.

    Accuracy: That of fn; sums are taken in float64.

    Example:
        >>> loss = LossFunctionWrapper(lambda y_true, y_pred, power: abs(y_pred - y_true) ** power, power=3)
        >>> float(loss([0.0, 0.0], [1.0, 2.0]))
        4.5
    """

    def __init__(self, fn, reduction="sum_over_batch_size", name=None, dtype=None, **kwargs):
        if not callable(fn) or isinstance(fn, type):
            raise TypeError(f"fn: expected a function of y_true and y_pred, got {fn!r}")
        if type(self) is LossFunctionWrapper and str(getattr(fn, "__name__", "")).isidentifier():
            name = name or fn.__name__
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.fn = fn
        self._fn_kwargs = kwargs

    def call(self, y_true, y_pred):
        """`fn(y_true, y_pred, **kwargs)`; see `Loss.call`."""
        return self.fn(y_true, y_pred, **self._fn_kwargs)

    def _same(self):
        """The native loss that this is, if fn is the function of one; else this as a `Loss`."""
        native = getattr(self.fn, "loss_class", None)
        if native is None or type(self).call is not LossFunctionWrapper.call:
            return super()
        return native(**self._fn_kwargs, reduction=self.reduction, dtype=self.dtype)

    def __call__(self, y_true, y_pred, sample_weight=None, mask=None):
        return self._same().__call__(y_true, y_pred, sample_weight, mask)

    def value_and_grad(self, y_true, y_pred, sample_weight=None, mask=None, out=None):
        """As `Loss.value_and_grad`; also if fn is the function of a native loss.

        >>> from fastloss import huber
        >>> LossFunctionWrapper(huber, delta=2.0).value_and_grad([0.0, 0.0], [1.0, 4.0])[1].tolist()
        [0.5, 1.0]
        """
        return self._same().value_and_grad(y_true, y_pred, sample_weight, mask, out)

    def _inputs(self, y_true, y_pred):
        return _validate.align_ranks(*super()._inputs(y_true, y_pred))

    def get_config(self):
        """The constructor's arguments; fn by its name. See `Loss.get_config`.

        Raises:
            TypeError: fn has no name to be found by, as a lambda or a closure.
        """
        # The registry imports this module.
        from fastloss import registry

        config = super().get_config()
        if "fn" in config:
            config["fn"] = registry.function_name(config["fn"])
        return config

    @classmethod
    def from_config(cls, config):
        """A loss from what `get_config` returned; fn is a function, or the name of one in `fastloss.losses`."""
        from fastloss import registry

        if "fn" in _validate.configuration(cls, config) and not callable(config["fn"]):
            config = {**config, "fn": registry.function(config["fn"])}
        return super().from_config(config)


class NativeLoss(_kernels.Native, Loss):
    """Base class of the losses that run in C.

    A subclass names its rows of the registry and describes itself in `_kernel`. For tables and benchmarks it
    says what its arguments look like (`target`, `prediction`), whether the rows of a table are its samples, each
    alone (`rowwise`), whether it has a Hessian, and gives the plain formula in NumPy.
    """

    # Further names of the function, for `get` and as attributes of `fastloss.losses`.
    aliases = ()
    target = "real"
    prediction = "real"
    rowwise = True
    has_hessian = True

    def __reduce__(self):
        # The attributes, without the kernel.
        return copyreg.__newobj__, (type(self),), self.__getstate__()

    def _kernel(self):
        raise TypeError(f"{type(self).__name__} does not define _kernel")

    def numpy_formula(self, y_true, y_pred):
        """The textbook formula in NumPy: the losses of the samples. For comparison, not for use."""
        raise TypeError(f"{type(self).__name__} does not define numpy_formula")

    def call(self, y_true, y_pred):
        """The losses of the samples; see `Loss.call`."""
        return self._native.value(y_true, y_pred, None, None, reduction.NONE)

    # Not a method that calls it, which would take a quarter of the time of a small call.
    __call__ = _kernels.Native._call

    def grad_and_hess(self, y_true, y_pred, sample_weight=None, out=None):
        """Gradient and Hessian diagonal of each element's own loss, times its weight.

        Unlike `value_and_grad` nothing is averaged, neither over the batch nor over the last axis: what
        gradient boosting asks for. A loss with ``has_hessian = False`` raises a TypeError.

        Args:
            y_true, y_pred, sample_weight: As for calling the loss.
            out: None, or a pair of arrays of y_pred's shape and dtype.

        Returns:
            ``(gradient, hessian)``, each of y_pred's shape.

        Example:
            >>> from fastloss import MeanSquaredError
            >>> gradient, hessian = MeanSquaredError().grad_and_hess([0.0, 0.0], [1.0, 2.0])
            >>> gradient.tolist(), hessian.tolist()
            ([2.0, 4.0], [2.0, 2.0])
        """
        if not self.has_hessian:
            raise TypeError(f"{type(self).__name__} has no Hessian; value_and_grad gives the gradient")
        return self._native.grad_and_hess(y_true, y_pred, sample_weight, out)

    def accumulator(self):
        """Adds up the value over rows that arrive in chunks, for data larger than memory.

        Returns:
            An object with `update(y_true, y_pred, sample_weight=None)`, `value()` and `count`.

        Example:
            >>> from fastloss import MeanAbsoluteError
            >>> total = MeanAbsoluteError().accumulator()
            >>> for chunk in ([1.0, 2.0], [3.0]):
            ...     total.update([0.0] * len(chunk), chunk)
            >>> total.value(), total.count
            (2.0, 3)
        """
        return self._accumulator()

    @classmethod
    def from_config(cls, config):
        """A loss from what `get_config` returned, or Keras's did; see `Loss.from_config`."""
        # Keras 2 writes the function, too.
        fn = _validate.configuration(cls, config).get("fn")
        name = fn.get("config") if isinstance(fn, dict) else fn
        if isinstance(name, str) and name in (cls.function.__name__, *cls.aliases):
            config = {key: value for key, value in config.items() if key != "fn"}
        return super().from_config(config)

    @classmethod
    def variants(cls):
        """Instances with default arguments, one for each kind of y_pred."""
        if "from_logits" in inspect.signature(cls).parameters:
            return [cls(), cls(from_logits=True)]
        return [cls()]


def handle(loss_class):
    """Makes a function the handle of a native loss: documents it, and links it to the class."""

    def decorate(function):
        loss_class.function = staticmethod(function)
        function.loss_class = loss_class
        title, _, rest = inspect.getdoc(loss_class).partition("\n")
        rest = re.sub(r"\nExample:\n(?:    .*\n|\n)*", "\n", rest + "\n")
        rest = re.sub(r"\n    reduction, name, dtype: See `Loss`\.", "", rest)
        rest = rest.replace("\nArgs:\n", "\nArgs:\n    y_true, y_pred: See `Loss`.\n")
        example = inspect.getdoc(function)
        function.__doc__ = f"{title} One loss for each sample.\n{rest.rstrip()}\n\n{example}\n"
        return function

    return decorate


def exported(namespace):
    """Names of the losses that a module defines, for its __all__."""
    return [
        name
        for name, value in namespace.items()
        if getattr(value, "__module__", None) == namespace["__name__"]
        and (hasattr(value, "loss_class") or (isinstance(value, type) and issubclass(value, NativeLoss)))
    ]


def set_common(loss, name, reduction_name, dtype):
    reduction.code(reduction_name)
    if name is not None and not isinstance(name, str):
        raise TypeError(f"name: expected a string or None, got {name!r}")
    loss.name = name or type(loss).name
    loss.reduction = reduction_name
    loss.dtype = _validate.float_dtype(dtype)


def plain(value):
    """Numbers and arrays of NumPy as those of Python, in containers too: what JSON holds."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def _parameters(cls):
    """Names of a constructor's arguments, and whether it takes any others."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][1:]
    further = any(p.kind == p.VAR_KEYWORD for p in parameters)
    # A constructor of the user's own passes its **kwargs on.
    return names + [name for name in ("reduction", "name", "dtype") if further and name not in names], further


def _returned(name, value, dtype):
    """What a method of the user's own returned, as an array."""
    if value is None:
        raise TypeError(f"{name}: returned None, expected an array")
    return _validate.as_array(name, value).astype(dtype, copy=False)


def _reduce(losses, weight, counted, kind, dtype):
    weighted = np.multiply(losses, weight, out=np.zeros(losses.shape), where=weight != 0)
    if kind == reduction.NONE:
        return weighted.astype(dtype)[()]
    divisor = reduction.denominator(kind, weight, counted)
    return dtype.type(0 if divisor == 0 else weighted.sum() / divisor)
