# SPDX-License-Identifier: BSD-3-Clause
"""Elementary functions are as accurate as csrc/elementary.h says, on every instruction set: tools/elementary.py in brief."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest

import elementary

INPUTS = 1 << 18
CALL = re.compile(r"FUNCTION\(\s*(\w+),\s*([\d.]+),\s*([\d.]+),[^;]*?EACH\((fl_\w+)\(")

needs_compiler = pytest.mark.skipif(not shutil.which("gcc"), reason="needs gcc")


@pytest.fixture(scope="module", params=list(elementary.DTYPES))
def program(request, tmp_path_factory):
    """(command, dtype)"""
    return elementary.build(tmp_path_factory.mktemp("elementary") / "native", request.param), request.param


@needs_compiler
def test_errors_are_as_stated(program):
    """Results that are rounded have errors of a half at least: less would mean that they were not looked at."""
    command, dtype = program
    tested = set()
    with ThreadPoolExecutor(1) as pool:
        for function in elementary.functions(command):
            for finding in elementary.measure(command, dtype, function, INPUTS, pool, 1):
                assert (0.5 if function.bound else 0) <= finding.worst <= function.bound, finding
                tested.add((finding.function, finding.isa))
    functions, sets = ({pair[k] for pair in tested} for k in range(2))
    assert len(tested) == len(functions) * len(sets) >= 14


def test_bounds_are_those_of_the_comments():
    source = elementary.SOURCE.read_text(encoding="utf-8")
    header = (elementary.ROOT / "csrc" / "elementary.h").read_text(encoding="utf-8")
    stated = CALL.findall(source)
    assert len(stated) >= 10
    for name, of_float, of_double, function in stated:
        above = header[: header.index(f"{function}_f32(")] if f"{function}_f32(" in header else ""
        comment = " ".join(re.findall(r"/\*(.*?)\*/", above, re.DOTALL)[-1].replace("\n *", " ").split())
        assert re.search(rf"float {of_float}\b.*double {of_double}\b", comment), (name, of_float, of_double, comment)
