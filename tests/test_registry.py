# SPDX-License-Identifier: BSD-3-Clause
"""A loss is named in five places: element function, registry row, class, CUDA element, case. What is missing, or surplus?

The compiler names a missing element function, the rest is found here.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import fastloss as fl
import fastloss.losses
from cases import CASES, STRUCTURED
from fastloss import _kernels

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = Path(fl.__file__).resolve().parent

# Where losses may be named. Some tests call a few by name, as users do; what peers call a loss, and which losses a target
# of speed is about, is said in the benchmarks: a loss that is not there is measured all the same.
PLACES = ("csrc/losses/*.h", "csrc/losses.def", "src/fastloss/losses/*.py", "src/fastloss/cuda/elements.py",
          "tests/families/*.py", "tests/reference.py",
          "tests/test_cli.py", "tests/test_custom.py", "tests/test_names.py", "tests/poor_cases.py", "tests/wrong_calls.py",
          "bench/peers/*.py", "bench/targets.py", "bench/reasons.py")  # fmt: skip

# Where they may not.
SEARCHED = ("csrc", "src", "tests", "bench", "docs", "tools")

ALL = CASES | STRUCTURED

# A word that is a parameter too (of a focal loss, of a quantile) may be that.
PARAMETERS = {name for row in _kernels.registry().values() for name in row["parameters"]}

NAMES = {name for case in ALL.values() for name in (case.name, case.loss, case.handle)} | set(_kernels.registry())
NAMES -= PARAMETERS

WORD = re.compile(r"(?<![A-Za-z0-9_])(?:" + "|".join(sorted(NAMES, key=len, reverse=True)) + r")(?![A-Za-z0-9_])")


def compare(what, found, expected, where):
    missing, surplus = sorted(expected - found), sorted(found - expected)
    assert (missing, surplus) == ([], []), f"{what} in {where}: missing {missing}, surplus {surplus}"


def functions_of(path):
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_row_has_a_case():
    compare("cases", set(ALL), set(_kernels.registry()), "tests/families (against csrc/losses.def)")


def test_every_row_has_a_cuda_element():
    names = functions_of(PACKAGE / "cuda" / "elements.py") - {"element", "row_function", "scale_free"}
    # Helpers are private.
    found = {name for name in names if not name.startswith("_")}
    wanted = {row["element"] for row in _kernels.registry().values()}
    compare("elements", found, wanted, "src/fastloss/cuda/elements.py (against csrc/losses.def)")


def test_every_row_has_a_class_and_a_handle():
    classes = {cls.__name__ for cls in fl.losses.native_classes()}
    compare("classes", classes, {case.loss for case in ALL.values()}, "src/fastloss/losses (against tests/families)")
    for case in ALL.values():
        for name in (case.loss, case.handle):
            assert callable(getattr(fl, name, None)), f"fastloss.{name} is missing"
            assert getattr(fl, name) is getattr(fastloss.losses, name)
        assert fl.losses.get(case.loss).__class__ is getattr(fl, case.loss)
        assert fl.losses.get(case.handle) is getattr(fl, case.handle)


def test_every_row_names_kind_and_parameters():
    for name, row in _kernels.registry().items():
        assert isinstance(row["kind"], str), name
        assert isinstance(row["parameters"], tuple), name


# No loss is named anywhere else


def without_c_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)


def names_in_c(text):
    for number, line in enumerate(without_c_comments(text).splitlines(), 1):
        for match in WORD.finditer(line):
            yield number, match[0]


def docstring_lines(text):
    lines = set()
    for node in ast.walk(ast.parse(text)):
        # A string that is a statement: a docstring, or the documentation below an attribute
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.update(range(node.lineno, node.end_lineno + 1))
    return lines


def names_in_python(text):
    prose = docstring_lines(text)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT or token.start[0] in prose:
            continue
        for match in WORD.finditer(token.string):
            yield token.start[0], match[0]


def names_in_cython(text):
    text = re.sub(r'"""(?:.*?)"""', lambda m: "\n" * m[0].count("\n"), text, flags=re.DOTALL)
    for number, line in enumerate(text.splitlines(), 1):
        for match in WORD.finditer(line.split("#")[0]):
            yield number, match[0]


READERS = {
    ".c": names_in_c,
    ".h": names_in_c,
    ".def": names_in_c,
    ".py": names_in_python,
    ".pyi": names_in_python,
    ".pyx": names_in_cython,
    ".pxd": names_in_cython,
}


def test_no_loss_is_named_elsewhere():
    allowed = {path for pattern in PLACES for path in ROOT.glob(pattern)}
    found, read = [], 0
    for directory in SEARCHED:
        for path in sorted((ROOT / directory).rglob("*")):
            if path.suffix not in READERS or path in allowed:
                continue
            read += 1
            found += [f"{path.relative_to(ROOT)}:{line}: {name}" for line, name in READERS[path.suffix](path.read_text())]
    assert read, f"no source code under {ROOT}"
    assert not found, "losses named outside of their five places:\n" + "\n".join(found)


def test_the_search_finds_names():
    """Identifiers and strings count, comments and docstrings do not."""
    name = min(NAMES)
    python = f'"""{name}"""\n# {name}\nx = "{name}"\n{name}(1)\n'
    assert [line for line, _ in names_in_python(python)] == [3, 4]
    assert [line for line, _ in names_in_c(f"/* {name}\n {name} */ {name}\n// {name}\n")] == [2]
    assert [line for line, _ in names_in_cython(f'"""{name}\n"""\nx = 1  # {name}\ny = {name}\n')] == [4]
