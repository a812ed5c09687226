# SPDX-License-Identifier: BSD-3-Clause
"""Docstrings: every example runs, every public name is documented; pages are up to date with what they are made of."""

import doctest
import inspect
import json
import sys

import numpy as np
import pytest

import accuracy
import comparison
import fastloss as fl
import losses
import reliability
import render
from cases import CASES, STRUCTURED
from fastloss import _kernels, base, config, reduction, registry
from poor_cases import POOR
from table import PROMISED

FAMILIES = [sys.modules[name] for name in sorted({cls.__module__ for cls in fl.losses.native_classes()})]
MODULES = [_kernels, base, config, reduction, registry, *FAMILIES]
SECTIONS = ["Formula", "Args:", "Shapes:", "Raises:", "Accuracy:", "Example:"]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_examples_run(module):
    names = {**vars(module), **{name: getattr(fl, name) for name in fl.__all__}, "np": np}
    result = doctest.testmod(module, extraglobs=names)
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize("cls", fl.losses.native_classes(), ids=lambda cls: cls.__name__)
def test_a_loss_is_documented(cls):
    for documented in (cls, cls.function):
        text = inspect.getdoc(documented)
        places = [text.find(section) for section in SECTIONS]
        assert -1 not in places, [s for s, place in zip(SECTIONS, places, strict=True) if place < 0]
        assert places == sorted(places)


@pytest.mark.parametrize("cls", fl.losses.native_classes(), ids=lambda cls: cls.__name__)
def test_class_and_function_have_the_same_signature(cls):
    of_class = inspect.signature(cls).parameters
    of_function = inspect.signature(cls.function).parameters
    own = [name for name in of_class if name not in ("reduction", "name", "dtype")]
    assert list(of_function)[:2] == ["y_true", "y_pred"]
    # Keras's order of the two is not always the same; what a function takes, its class takes with that default, or
    # with one where the function has none.
    # What only a function takes are further arrays.
    arrays = [name for name in list(of_function)[2:] if name not in own]
    assert sorted(list(of_function)[2:]) == sorted(own + arrays)
    assert all(name.startswith("ref_") and of_function[name].default is None for name in arrays)
    assert all(of_function[name].default in (of_class[name].default, inspect.Parameter.empty) for name in own)


@pytest.mark.parametrize("name", fl.__all__)
def test_every_public_name_has_a_docstring(name):
    assert inspect.getdoc(getattr(fl, name))


# docs/losses

REMEDY = "run python docs/losses.py"


def test_pages_are_up_to_date():
    written = {path.name: path.read_text(encoding="utf-8") for path in losses.FOLDER.glob("*.md")}
    pages = losses.pages(accuracy.read())
    assert sorted(written) == sorted(pages), REMEDY
    stale = [name for name, text in pages.items() if written[name] != text]
    assert not stale, REMEDY


@pytest.mark.parametrize("cls", fl.losses.native_classes(), ids=lambda cls: cls.__name__)
def test_a_loss_has_a_section(cls):
    page = (losses.FOLDER / f"{losses.family(cls)}.md").read_text(encoding="utf-8")
    assert f"\n## {cls.__name__}\n" in page, REMEDY
    assert (losses.FOLDER / losses.plot_name(cls)).exists() == losses.is_drawn(cls), REMEDY


# docs/accuracy.md


@pytest.mark.parametrize("case", (CASES | STRUCTURED).values(), ids=lambda case: case.name)
def test_every_case_was_measured(case):
    """Within its bounds, with a reason where they are wider than promised, or hold for absolute terms alone."""
    found = accuracy.read()["losses"].get(case.name)
    assert found, "run python docs/accuracy.py --measure"
    for dtype in accuracy.DTYPES:
        assert list(found[dtype]) == list(accuracy.outputs(case))
        for output, one in found[dtype].items():
            assert max(one[isa] for isa in accuracy.sets_of(one)) <= case.bound(output)
            assert case.bound(output) <= PROMISED or case.because
            assert one["whole"] <= case.bound(output) or case.cancels


def test_the_page_of_accuracy_is_that_of_its_records():
    assert accuracy.PAGE.read_text(encoding="utf-8") == accuracy.page(), "run python docs/accuracy.py"


# docs/reliability.md


def test_the_page_of_reliability_is_that_of_its_records():
    text = reliability.page(reliability.read())
    assert reliability.PAGE.read_text(encoding="utf-8") == text, "run python docs/reliability.py"


@pytest.mark.parametrize(("path", "test"), sorted(set(reliability.checks()), key=str))
def test_what_the_page_of_reliability_names_exists(path, test):
    text = (reliability.ROOT / path).read_text(encoding="utf-8")
    assert test is None or f"\ndef {test}(" in text


# docs/performance.md


def test_the_figures_of_performance_are_those_of_its_json():
    report = json.loads(render.PAGE.with_suffix(".json").read_text(encoding="ascii"))
    written = f"{render.BEGIN}\n{render.page(report)}\n{render.END}"
    assert written in render.PAGE.read_text(encoding="ascii"), "run python bench/report.py --render"


# docs/comparison.md


def compared():
    return json.loads(comparison.JSON.read_text(encoding="ascii"))


def test_the_comparison_is_that_of_its_json():
    written = comparison.PAGE.read_text(encoding="ascii")
    assert written == comparison.page(compared()), f"run {comparison.COMMAND} --render"


def test_every_poor_case_was_compared():
    poor = [(row["number"], row["loss"]) for row in compared()["poor"]]
    assert poor == [(poor.number, poor.loss) for poor in POOR], f"run {comparison.COMMAND}"


def test_fastloss_was_never_off():
    results = [output for row in compared()["losses"] for output in row["results"][comparison.NATIVE].values()]
    assert results
    assert not [output for output in results if output["off"]]
