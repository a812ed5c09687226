# SPDX-License-Identifier: BSD-3-Clause
"""The built library: what is in it, which instruction set is picked, and that C programs can use it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastloss as fl
from fastloss import _kernels

FOLDER = Path(_kernels.__file__).parent
LIBRARY = FOLDER / "lib" / "libfastloss.so"
NEEDED = "needs a C compiler"


def run(code, **environment):
    """Python in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_no_math_library_call_is_left():
    """Elementary functions are our own: a call of the math library would be slow and differ by platform."""
    undefined = subprocess.run(["nm", "-D", "--undefined-only", LIBRARY], capture_output=True, text=True, check=True)
    names = {line.split()[-1].split("@")[0] for line in undefined.stdout.splitlines()}
    assert "malloc" in names
    # All that plain C and OpenMP need; anything else, a function of the math library above all, is a mistake.
    expected = re.compile(
        r"^(malloc|free|qsort|mem(cpy|move|set)|fopen|fclose|(__isoc99_|__isoc23_)?fscanf|pthread_atfork|__register_atfork|__stack_chk_fail|__cxa_finalize|__gmon_start__|"
        r"_ITM_\w+|G?OMP_\w+|omp_\w+|__kmpc_\w+)$"
    )
    assert not [name for name in names if not expected.match(name)]


@pytest.mark.parametrize("isa", _kernels.isas())
def test_environment_forces_an_instruction_set(isa):
    done = run("import fastloss; print(fastloss.show_config()['isa'])", FASTLOSS_ISA=isa)
    assert done.stdout.strip() == isa, done.stderr


def test_the_best_instruction_set_is_picked():
    done = run("import fastloss; print(fastloss.show_config()['isa'])", FASTLOSS_ISA="")
    assert done.stdout.strip() == _kernels.isas()[0], done.stderr


def test_an_unknown_instruction_set_is_refused():
    done = run("import fastloss", FASTLOSS_ISA="sse9")
    assert done.returncode == 1
    assert "FASTLOSS_ISA: unknown instruction set 'sse9'" in done.stderr


def test_import_needs_numpy_only():
    code = """
import sys
import numpy
before = set(sys.modules)
import fastloss
print(*{name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names))
"""
    done = run(code)
    # Cython's modules have no file.
    assert {name for name in done.stdout.split() if "cython" not in name} == {"fastloss"}, done.stderr


C_PROGRAM = """
#include <fastloss.h>
#include <stdio.h>
int main(void) {
    float y_true[2] = {0, 0}, y_pred[2] = {1, 3};
    fl_call call = {.loss = 0, .dtype = FL_FLOAT32, .threads = 1, .dimensions = 1, .shape = {2}, .rows = 2,
                    .columns = 1, .label_scale = 1};
    call.y_true = (fl_array){.data = (char *)y_true, .storage = FL_FLOAT32, .column_stride = 4, .row_strides = {4}};
    call.y_pred = (fl_array){.data = (char *)y_pred, .storage = FL_FLOAT32, .column_stride = 4, .row_strides = {4}};
    fl_totals totals = {0};
    if (fl_prepare(&call, &totals) != FL_OK || fl_run(&call, 1, &totals) != FL_OK)
        return 1;
    printf("%s %g\\n", fl_losses[0].name, fl_reduce(&totals, FL_SUM_OVER_BATCH_SIZE));
    return 0;
}
"""


@pytest.mark.skipif(not shutil.which("cc"), reason=NEEDED)
def test_c_programs_link_to_the_library(tmp_path):
    source, program = tmp_path / "main.c", tmp_path / "main"
    source.write_text(C_PROGRAM)
    # A repaired wheel keeps its OpenMP library beside the package.
    rpaths = f"-Wl,-rpath,{LIBRARY.parent}"
    subprocess.run(
        ["cc", source, f"-I{fl.get_include()}", LIBRARY, rpaths, "-o", program, "-Wl,--allow-shlib-undefined"],
        check=True,
    )
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    name = next(iter(_kernels.registry()))
    assert done.stdout == f"{name} 5\n"


def test_headers_and_cmake_files_are_installed():
    assert (Path(fl.get_include()) / "fastloss.h").is_file()
    assert (Path(fl.get_cmake_dir()) / "fastlossConfig.cmake").is_file()
