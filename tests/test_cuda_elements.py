# SPDX-License-Identifier: BSD-3-Clause
"""The CUDA element functions as plain Python, without a device: complete, and close to the exact results."""

import inspect
import math
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cases import CASES, VARIANTS
from exact import OUTPUTS, assert_close, pack_floats, samples
from fastloss import _kernels
from fastloss.cuda import elements
from fastloss.cuda.elements import ELEMENTS
from reference import mp, mpf

ROWS = Path(__file__).resolve().parents[1] / "csrc" / "losses.def"

# Row of the registry -> its element function
ELEMENT_OF = dict(re.findall(r"^FL_LOSS\((\w+), \w+, (\w+),", ROWS.read_text(), re.MULTILINE))


def element_of(case):
    return ELEMENTS[ELEMENT_OF[case.name]]


def signature(case):
    """Names of the element's arguments: (those all elements of the kind have, its own parameters)"""
    names = list(inspect.signature(element_of(case)).parameters)
    inputs = 3 if case.elementwise else 2
    return names[:inputs], names[inputs:]


def own_arguments(case, parameters, real):
    loss = case.make(parameters)
    return [real(getattr(loss, case.class_weight if name == "class_weight" else name)) for name in signature(case)[1]]


def evaluate(case, parameters, dtype, y_true, y_pred):
    """{output: array} of an elementwise case."""
    real = np.dtype(dtype).type
    arguments = own_arguments(case, parameters, real)
    y_true, y_pred = (np.asarray(x, dtype) for x in (case.convert(np.asarray(y_true)), y_pred))
    with np.errstate(all="ignore"):
        results = [element_of(case)(real, y, p, *arguments) for y, p in zip(y_true, y_pred, strict=True)]
    return dict(zip(OUTPUTS, (np.array(x) for x in zip(*results, strict=True)), strict=True))


@pytest.fixture(autouse=True)
def math_of_dtype(request, monkeypatch):
    """Python's math is float64: float32 is computed with NumPy's functions, and only those the device has."""
    if "dtype" in request.fixturenames and request.getfixturevalue("dtype") == "float32":
        functions = {name: getattr(np, name) for name in ("exp", "expm1", "log", "log1p", "sqrt", "copysign", "fabs")}
        monkeypatch.setattr(elements, "math", SimpleNamespace(**functions, inf=math.inf, nan=math.nan))


def test_every_row_has_an_element():
    assert set(ELEMENT_OF) == set(_kernels.registry())
    assert set(ELEMENTS) == set(ELEMENT_OF.values())
    assert all(name == function.__name__ for name, function in ELEMENTS.items())


def test_signatures(case):
    """Kernels pass the parameters by position, in the registry's order."""
    inputs, own = signature(case)
    parameters = ["class_weight"] * bool(case.class_weight) + list(_kernels.registry()[case.name]["parameters"])
    assert inputs == ["real", *(["y_true", "y_pred"] if case.elementwise else ["log_probability"])]
    # The first parameters of a rowwise loss are those of its link.
    assert own == (parameters if case.elementwise else parameters[len(parameters) - len(own) :])


def own_variants():
    """Without those that change the labels, which the kernels do before they call the element."""
    for name, index in VARIANTS:
        case = CASES[name]
        if case.elementwise and set(case.parameters[index]) <= set(_kernels.registry()[name]["parameters"]):
            yield pytest.param((name, index), id=f"{name}-{index}")


@pytest.mark.parametrize("variant", list(own_variants()), indirect=True)
def test_elements(variant, dtype, seed):
    case, index = variant
    for sample, exact in samples(case.name, index, dtype, seed):
        results = evaluate(case, case.parameters[index], dtype, sample.y_true, sample.y_pred)
        for name, result in results.items():
            assert result.dtype == dtype
            assert_close(
                result, exact[name], dtype, case.bound[dtype], case.blur, sample.strict,
                y_true=sample.y_true, y_pred=sample.y_pred,
            )  # fmt: skip


def special_cases():
    for case in CASES.values():
        for i, special in enumerate(case.specials if case.elementwise else ()):
            yield pytest.param(case, special, id=f"{case.name}-{i}")


@pytest.mark.parametrize(("case", "special"), list(special_cases()))
def test_special_values(case, special, dtype):
    results = evaluate(case, special.parameters, dtype, [special.y_true], [special.y_pred])
    for name, result in results.items():
        expected = getattr(special, name)
        if expected is not None:
            assert_close(result, pack_floats([expected]), dtype, case.bound[dtype])


def rowwise_cases():
    return [pytest.param(case, id=name) for name, case in CASES.items() if not case.elementwise]


@pytest.mark.parametrize("case", rowwise_cases())
@pytest.mark.parametrize("log_probability", [-12.0, -3.0, -1.0, -0.5, -0.125, -(2.0**-20)])
def test_elements_of_a_log_probability(case, log_probability):
    """The loss of two classes, as a function of the log-probability of the true one, and its derivatives."""

    def loss(x):
        logits = [x, mp.log(-mp.expm1(x))]
        y_pred = logits if case.fixed["from_logits"] else [mp.exp(z) for z in logits]
        return case.reference(0 if case.sparse else [mpf(1), mpf(0)], y_pred)[0].value

    results = element_of(case)(float, log_probability, *own_arguments(case, {}, float))
    expected = [float(mp.diff(loss, mpf(log_probability), n)) for n in range(3)]
    assert results == pytest.approx(expected, rel=1e-14, abs=1e-14)
