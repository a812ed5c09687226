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
from exact import assert_close, evaluate_rows, pack, pack_floats, samples
from fastloss import _kernels
from fastloss.cuda import elements
from fastloss.cuda.elements import ELEMENTS, ROW_FUNCTIONS
from reference import mp, mpf

# Arguments of an element besides its parameters, by kind of loop; those of a log-probability where there is no other entry
INPUTS = {
    "POINTWISE_MEAN": ["y_true", "y_pred"],
    "POWER_MEAN": ["y_true", "y_pred"],
    "POINTWISE_SUM": ["y_true", "y_pred"],
    "WEIGHTED_MEAN": ["y_true", "y_pred"],
    "SPARSE_PROBABILITY": ["probability"],
    "ROW": ["y_true", "y_pred"],
    "ROW_MAXIMUM": ["y_true", "y_pred"],
    "LOCATION_SCALE": ["y_true", "location", "scale"],
}

ROWS = Path(__file__).resolve().parents[1] / "csrc" / "losses.def"

# Row of the registry -> its element function
ELEMENT_OF = dict(re.findall(r"^FL_LOSS\((\w+), \w+, (\w+),", ROWS.read_text(), re.MULTILINE))


def element_of(case):
    return ELEMENTS[ELEMENT_OF[case.name]]


def kind_of(case):
    return _kernels.registry()[case.name]["kind"]


def signature(case):
    """Names of the element's arguments: (those all elements of the kind have, its own parameters)"""
    names = list(inspect.signature(element_of(case)).parameters)
    inputs = 1 + len(INPUTS.get(kind_of(case), ["log_probability"]))
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
    return dict(zip(case.outputs, (np.array(x) for x in zip(*results, strict=True)), strict=True))


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
    assert inputs == ["real", *INPUTS.get(kind_of(case), ["log_probability"])]
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
                result, exact[name], dtype, 2 * case.bound_of_sum(name), case.blur, sample.strict,
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
            assert_close(result, pack_floats([expected]), dtype, case.bound(name))


def cases_of(*kinds):
    return [pytest.param(case, id=name) for name, case in CASES.items() if kind_of(case) in kinds]


@pytest.mark.parametrize("case", cases_of("SOFTMAX", "SPARSE_SOFTMAX", "NORMALIZE", "SPARSE_NORMALIZE"))
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


def test_every_loss_of_a_row_has_its_functions():
    wanted = {ELEMENT_OF[name] for name, case in CASES.items() if kind_of(case).startswith("ROW")}
    assert set(ROW_FUNCTIONS) == {f"{name}_{part}" for name in wanted for part in ("row", "derivative")}


def evaluate_row(case, parameters, y_true, y_pred):
    """(value, gradients, Hessians) of one row, as a kernel of the kind has to put the element together."""
    arguments, own = case.make(parameters).get_config(), _kernels.registry()[case.name]["parameters"]
    own, name = [float(arguments[parameter]) for parameter in own], ELEMENT_OF[case.name]
    if kind_of(case) == "SPARSE_PROBABILITY":
        value, *slopes = ELEMENTS[name](float, float(y_pred[y_true]), *own)
        return value, *([x if k == y_true else 0.0 for k in range(len(y_pred))] for x in slopes)
    if kind_of(case) == "LOCATION_SCALE":
        value, *slopes = ELEMENTS[name](float, float(y_true), *map(float, y_pred), *own)
        return value, slopes[:2], slopes[2:]
    terms = [ELEMENTS[name](float, float(y), float(p)) for y, p in zip(y_true, y_pred, strict=True)]
    *sums, candidates = zip(*terms, strict=True)
    largest = max(candidates)
    row, derivative = (ROW_FUNCTIONS[f"{name}_{part}"] for part in ("row", "derivative"))
    value, *slopes = row(float, *map(math.fsum, sums), largest, float(candidates.count(largest)), *own)
    return value, [
        derivative(float, float(y), float(p), candidate == largest, *slopes)
        for y, p, candidate in zip(y_true, y_pred, candidates, strict=True)
    ]


@pytest.mark.parametrize("case", cases_of("SPARSE_PROBABILITY", "ROW", "ROW_MAXIMUM", "LOCATION_SCALE"))
def test_elements_of_a_row(case, rng):
    y_true, y_pred = case.draw(rng, (20, 5))
    for parameters in case.parameters:
        exact = evaluate_rows(case, parameters, y_true, y_pred)
        results = [evaluate_row(case, parameters, y, p) for y, p in zip(y_true, y_pred, strict=True)]
        for name, result in zip(case.outputs, zip(*results, strict=True), strict=True):
            assert_close(np.array(result), pack(exact[name]), "float64", 64)
