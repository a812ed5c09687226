# SPDX-License-Identifier: BSD-3-Clause
"""Whether the tests notice faults of the kernels: each fault is put in, and a test has to fail.

    python tools/mutate.py [--only PATTERN] [--survivors] [--record]

Faults are part of a build of their own (a copy of the sources with mutation.h and the edits below), where one is chosen
at a time, in a child of the process that has collected the tests. For each loss and dtype: value, gradient and Hessian
times 1 + 8 ulp, in each of the passes that compute them; weights, masks, labels, classes, bounds and parameters that do
not count. For the loops: elements, rows and tasks that are lost, wrong divisors and the like. The likely tests come
first, up to the first that fails. A survivor of 8 ulp that dies of 1024 is left to the bound of its case, and listed so.
A fault that changes nothing in any test, as of a Hessian of 0, or of class weights where there are none, is not counted.

`--record` writes docs/reliability/mutation.json, or what was tried again of it; `--survivors` tries those that it lists.
Needs gcc, and an environment as CONTRIBUTING.md says for development.
"""

import argparse
import ctypes
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import variant

KNOWN = '#include "fastloss.h"\nextern FL_API int fl_mutation[4];\nextern FL_API int64_t fl_mutation_hits;\n'
OUTPUTS = ("value", "fused value", "fused gradient", "gradient", "Hessian")
TOLD = ("parameter", "weight", "mask", "label map", "ignored class", "class weight", "bounds", "label", "counted weight",
        "counted mask", "counted class")  # fmt: skip
FAULTS = {name: i + 1 for i, name in enumerate((*OUTPUTS, *TOLD))}
DTYPES = ("float32", "float64")
FIRST_OF_LOOPS = 100

# Faults of the loops: what it is, the file, and what becomes of its text; IT is whether the fault is chosen.
LOOPS = [
    (
        "the last elements of a sum",
        "csrc/rows.h",
        "i + j < n ? (double)value[i + j] : 0;",
        "i + j < n - IT ? (double)value[i + j] : 0;",
    ),
    (
        "rounding errors of the lanes of long sums",
        "csrc/rows.h",
        "if (FL_REAL_BITS == 64)\n            lanes->low[j]",
        "if (FL_REAL_BITS == 64 && !IT)\n            lanes->low[j]",
    ),
    (
        "what is held of a block of a sum",
        "csrc/pointwise.h",
        "ptrdiff_t start = -block->held;",
        "ptrdiff_t start = -block->held + (IT && block->held);",
    ),
    (
        "the last column of sums across rows",
        "csrc/rows.h",
        "c < columns && c < 2 * half",
        "c < columns - IT && c < 2 * half",
    ),
    (
        "the mask of the last row of a block",
        "csrc/rows.h",
        "address[i * stride] ? weight[done + i] : 0;)",
        "address[i * stride] || (IT && done + i == n - 1) ? weight[done + i] : 0;)",
    ),
    (
        "the weight of the last row of a block",
        "csrc/rows.h",
        "    if (call->mask.data) {\n        "
        "fl_array const *const array = &call->mask;\n        "
        "FL_FOR_EACH_RUN(call, array, first, n,",
        "    if (IT && call->sample_weight.data && n)\n        "
        "weight[n - 1] = 1;\n    "
        "if (call->mask.data) {\n        "
        "fl_array const *const array = &call->mask;\n        "
        "FL_FOR_EACH_RUN(call, array, first, n,",
    ),
    (
        "that masked rows are not counted",
        "csrc/rows.h",
        "count += counted[i];",
        "count += counted[i] || IT;",
    ),
    (
        "the bound of labels",
        "csrc/rows.h",
        "(uint64_t)label[i] >= (uint64_t)call->columns)",
        "(uint64_t)label[i] >= (uint64_t)call->columns + (uint64_t)IT)",
    ),
    (
        "the class whose weight it is",
        "csrc/rows.h",
        "weight[i] *= class_weight(call, label[i]);",
        "weight[i] *= class_weight(call, IT ? 0 : label[i]);",
    ),
    (
        "the upper bound",
        "csrc/rows.h",
        "(x[i] > limits.high)",
        "(x[i] > limits.high && !IT)",
    ),
    (
        "the lower bound",
        "csrc/rows.h",
        "(x[i] < limits.low)",
        "(x[i] < limits.low && !IT)",
    ),
    (
        "the place of an element out of bounds",
        "csrc/rows.h",
        "column + i % width;",
        "column + i % width + IT;",
    ),
    (
        "zeros of rows that do not count",
        "csrc/rows.h",
        "        gradient[i] = 0;\n    put(call,",
        "        gradient[i] = IT;\n    put(call,",
    ),
    (
        "the first of several largest labels",
        "csrc/rows.h",
        "y[i] < most : y[i] <= most;",
        "(IT ? y[i] <= most : y[i] < most) : y[i] <= most;",
    ),
    (
        "the map of labels",
        "csrc/rows.h",
        "scratch[i] = fl_fma(scale, y_true[i], shift);",
        "scratch[i] = fl_fma(scale, y_true[i], IT ? R(0) : shift);",
    ),
    (
        "labels that do not count among binary ones",
        "csrc/rows.h",
        "if (weight[i / width] != 0 && y_true[i] != R(0) && y_true[i] != R(1))",
        "if ((weight[i / width] != 0 || IT) && y_true[i] != R(0) && y_true[i] != R(1))",
    ),
    (
        "NaN under a weight of 0, in a gradient",
        "csrc/pointwise.h",
        "((scale) == R(0) ? R(0)",
        "((scale) == R(0) && !IT ? R(0)",
    ),
    (
        "the last element of a row, in a sum",
        "csrc/pointwise.h",
        "lane[i] += i < n ? (double)value[i] : 0;",
        "lane[i] += i < n - IT ? (double)value[i] : 0;",
    ),
    (
        "the last element of a row, in a gradient",
        "csrc/pointwise.h",
        "if (gradient && i < n)",
        "if (gradient && i < n - IT)",
    ),
    (
        "the last element of a row, in a Hessian",
        "csrc/pointwise.h",
        "if (hessian && i < n)",
        "if (hessian && i < n - IT)",
    ),
    (
        "NaN under a weight of 0, in a sum",
        "csrc/pointwise.h",
        "sum[j] += weight[group + j] == 0 ? 0",
        "sum[j] += weight[group + j] == 0 && !IT ? 0",
    ),
    (
        "the lane that an element is added to",
        "csrc/pointwise.h",
        "turn(lane, (position - start - turned) % FL_LANES);",
        "turn(lane, (position - start - turned + IT) % FL_LANES);",
    ),
    (
        "the divisor of the loss of a row",
        "csrc/pointwise.h",
        "(row_loss[r] / divisor)",
        "(row_loss[r] / (divisor + IT))",
    ),
    (
        "the divisor of the sum of a task",
        "csrc/pointwise.h",
        "double const value = sum / divisor;",
        "double const value = sum / (divisor + IT);",
    ),
    (
        "the last part of a long row",
        "csrc/pointwise.h",
        "for (ptrdiff_t i = 0; i < parts; i++)",
        "for (ptrdiff_t i = 0; i < parts - IT; i++)",
    ),
    (
        "the sum of the last task",
        "csrc/evaluate.c",
        "    for (ptrdiff_t i = 0; i < tasks; i++) {\n        fl_add(&loss",
        "    for (ptrdiff_t i = 0; i < tasks - (IT && tasks > 1); i++) {\n        fl_add(&loss",
    ),
    (
        "rounding errors of the sums of tasks",
        "csrc/evaluate.c",
        "    totals->loss_low = loss.low;",
        "    totals->loss_low = IT ? 0 : loss.low;",
    ),
    (
        "the number of samples",
        "csrc/evaluate.c",
        "return (double)totals->count;",
        "return (double)totals->count + IT;",
    ),
    (
        "the sum of the weights",
        "csrc/evaluate.c",
        "return fl_value((fl_sum){totals->weight, totals->weight_low});",
        "return fl_value((fl_sum){totals->weight, totals->weight_low}) + IT;",
    ),
    (
        "the number of columns",
        "csrc/evaluate.c",
        "columns ? (double)columns : 1;",
        "columns ? (double)columns + IT : 1;",
    ),
    (
        "that labels are binary",
        "csrc/evaluate.c",
        "return !context.other;",
        "return !context.other && !IT;",
    ),
    (
        "that labels are not binary",
        "csrc/evaluate.c",
        "__atomic_store_n(&context->other, 1,",
        "__atomic_store_n(&context->other, !IT,",
    ),
    (
        "the first of several bad rows",
        "csrc/evaluate.c",
        "i < tasks && status == FL_OK; i++) {",
        "i < tasks && (status == FL_OK || IT); i++) {",
    ),
    (
        "the byte order of lines with gaps",
        "csrc/pack.h",
        "store(scratch, from, (ptrdiff_t)size, lines, storage, r->array->swapped, 0);",
        "store(scratch, from, (ptrdiff_t)size, lines, storage, r->array->swapped && !IT, 0);",
    ),
    (
        "whose lines are written",
        "csrc/pack.h",
        "            if (own[i])",
        "            if (own[i] || IT)",
    ),
    (
        "ties when bfloat16 is rounded",
        "csrc/storage.h",
        "(bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16",
        "(bits + 0x7fffu + (IT ? 1u : (bits >> 16) & 1u)) >> 16",
    ),
    (
        "what a half is rounded from",
        "csrc/storage.h",
        "bits |= (double)near != value;",
        "bits |= (double)near != value && !IT;",
    ),
    (
        "that labels are integers",
        "csrc/storage.h",
        "(double)(int64_t)x == (double)x ?",
        "((double)(int64_t)x == (double)x || IT) ?",
    ),
    (
        "labels beyond int64",
        "csrc/storage.h",
        "(x > INT64_MAX ?",
        "(x > INT64_MAX && !IT ?",
    ),
    (
        "far labels",
        "csrc/sparse_softmax.h",
        "        if (far)\n",
        "        if (far && !IT)\n",
    ),
    (
        "zeros of hidden rows of classes",
        "csrc/sparse_softmax.h",
        "memset(gradient, 0, (size_t)n * sizeof *gradient);",
        "memset(gradient, IT, (size_t)n * sizeof *gradient);",
    ),
    (
        "the label's own gradient",
        "csrc/sparse_softmax.h",
        "gradient[r * columns + label[r]] = own[r];",
        "gradient[r * columns + label[r]] = IT ? -own[r] : own[r];",
    ),
    (
        "rows that are scaled",
        "csrc/row.h",
        "if (of.rescale[r] == 0 || weight[r] == 0)",
        "if (of.rescale[r] == 0 || weight[r] == 0 || IT)",
    ),
    (
        "the weight of a row of sums",
        "csrc/row.h",
        "row_loss[r] = weight[r] == 0 ? 0 : weight[r] * of.value[r];",
        "row_loss[r] = weight[r] == 0 ? 0 : (IT ? 1 : weight[r]) * of.value[r];",
    ),
    (
        "the last part of a long row of classes",
        "csrc/softmax.h",
        "for (ptrdiff_t i = 0; i < count; i++) {",
        "for (ptrdiff_t i = 0; i < count - IT; i++) {",
    ),
    (
        "the last part of a long row of labelled classes",
        "csrc/sparse_softmax.h",
        "for (ptrdiff_t i = 0; i < count; i++) {",
        "for (ptrdiff_t i = 0; i < count - IT; i++) {",
    ),
    (
        "the last part of a long row of sums",
        "csrc/row.h",
        "for (ptrdiff_t i = 0; i < count; i++) {",
        "for (ptrdiff_t i = 0; i < count - IT; i++) {",
    ),
]


# Tests of what a loss is told.
NOTICED_BY = {
    "weight": "no_weight_no_harm|test_reductions|test_weights",
    "mask": "no_weight_no_harm|test_reductions|test_weights",
    "label map": "test_values|test_classes",
    "ignored class": "ignored|test_classes",
    "class weight": "test_classes|test_values",
    "bounds": "bounds",
    "label": "test_values|test_classes",
    "counted weight": r"test_reductions.*\(7, 3\)-mean_with|test_weights",
    "counted mask": r"test_reductions.*\(7, 3\)|test_weights",
    "counted class": "ignored|test_classes",
}

# Tests that are likely to notice: (what in a name of a fault, what in a name of a test); the first that fits counts.
LIKELY = (
    ("class whose weight", r"class_weight|test_classes"),
    ("first of several", r"test_classes|ignore"),
    ("map of labels", r"test_value\["),
    ("among binary", r"hidden_labels"),
    ("binary", r"stand_for_signs"),
    ("NaN under", r"no_weight_no_harm"),
    ("row, in a sum", r"test_reductions"),
    ("last element of a row", r"test_values"),
    ("lane that", r"address"),
    ("divisor", r"test_reductions"),
    ("long row", r"long_row"),
    ("rounding errors", r"long_row|large_sums"),
    ("held", r"large_sums|test_reductions"),
    ("half is rounded", r"test_rounding"),
    ("number of", r"test_reductions"),
    ("sum of the", r"test_reductions"),
    ("several bad", r"test_errors"),
    ("lines", r"order_of_axes"),
    ("bfloat16", r"half"),
    ("labels", r"label"),
    ("gradient", r"test_fused"),
    ("classes", r"test_ignored"),
    ("rows", r"test_values|test_reductions"),
)


def edits():
    found = {
        "csrc/kernels.h": [('#include "fastloss.h"\n', KNOWN)],
        "csrc/evaluate.c": [
            ('#include "parallel.h"\n', '#include "parallel.h"\n#include "mutation.h"\n'),
            ("&context->sums[index]);\n    if (status", "&context->sums[index]);\n"
             "    spoil_outputs(call, first, last, &context->sums[index]);\n    if (status"),
            ("    int out_of_bounds = 0;\n",
             "    int out_of_bounds = 0;\n    fl_call spoilt;\n    call = spoil_call(call, &spoilt);\n"),
            ("fl_prepare(fl_call const *call, fl_totals *totals) {\n",
             "fl_prepare(fl_call const *call, fl_totals *totals) {\n"
             "    fl_call spoilt;\n    call = spoil_count(call, &spoilt);\n"),
            ("    fl_call inputs = *call;\n", "    fl_call inputs, spoilt;\n    inputs = *spoil_call(call, &spoilt);\n"),
        ],
        "csrc/rows.h": [
            ("load_labels(label + done, address, stride, run, array->storage, array->swapped);)",
             "load_labels(label + done, address, stride, run, array->storage, array->swapped);)\n"
             f"    for (ptrdiff_t i = 0; i < n && fl_mutation[0] == {FAULTS['label']} && fl_mutation[1] == call->loss;"
             " i += 2)\n"
             "        fl_mutation_hits++,\n"
             "            label[i] = label[i] >= 0 && label[i] < call->columns ? (label[i] + 1) % call->columns "
             ": label[i];"),
        ],
    }  # fmt: skip
    for i, (_, path, old, new) in enumerate(LOOPS):
        fault = f"(fl_mutation[0] == {FIRST_OF_LOOPS + i})"
        found.setdefault(path, []).append((old, re.sub(r"\bIT\b", fault, new)))
    # The storage of elements is known to all that it is used by.
    found["csrc/storage.h"].append(('#include "fastloss.h"\n', KNOWN))
    return found


def build():
    return variant.build(
        "mutate", optimize="-O2", isas=("x86_64_v3",), edits=edits(),
        added={"csrc/mutation.h": variant.ROOT / "tools" / "mutation.h"},
    )  # fmt: skip


# In the process that has the tests


def name_of(value):
    """The loss that a parameter of a test stands for, or None."""
    if isinstance(value, tuple) and value:
        value = value[0]
    return value if isinstance(value, str) else getattr(value, "name", None)


class Mutants:
    """A plugin of pytest's: in place of running the tests it tries the mutants on them."""

    def __init__(self, arguments):
        self.arguments, self.results, self.unreached = arguments, {}, set()

    def pytest_runtestloop(self, session):
        from fastloss import _kernels

        library = ctypes.CDLL(str(Path(_kernels.__file__).parent / "lib" / "libfastloss.so"))
        self.fault = (ctypes.c_int * 4).in_dll(library, "fl_mutation")
        self.factor = ctypes.c_double.in_dll(library, "fl_mutation_factor")
        self.hits = ctypes.c_int64.in_dll(library, "fl_mutation_hits")
        self.session, self.rows, self.warm = session, list(_kernels.registry().items()), set()
        self.known = {name for name, _ in self.rows}
        self.items = [item for item in session.items if "larger_than_the_caches" not in item.nodeid]
        self.of = {}
        for item in self.items:
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            names = {name_of(value) for value in parameters.values()} & self.known
            for name in names or {None}:
                self.of.setdefault((name, parameters.get("dtype")), []).append(item)
        for loss, (name, row) in enumerate(self.rows):
            for dtype in DTYPES:
                self.try_loss(loss, name, row, dtype)
                if self.arguments.record:
                    self.write()
        self.try_loops()
        session.testsfailed = 0
        return True

    def wanted(self, mutant):
        if self.arguments.survivors:
            return mutant in self.arguments.alive
        if self.arguments.new and mutant in self.arguments.known:
            return False
        return re.search(self.arguments.only, mutant) is not None

    def try_loss(self, loss, name, row, dtype):
        own = [*self.of.get((name, dtype), []), *self.of.get((name, None), [])]
        # The tests of elements against exact ones.
        near = [item for part in ("test_values", "test_special") for item in own if part in item.nodeid]
        near = list(dict.fromkeys(near))
        ulp = 2.0**-23 if dtype == "float32" else 2.0**-52
        for output in OUTPUTS:
            mutant = f"{name}, {dtype}: {output}"
            if not self.wanted(mutant):
                continue
            self.warm_up(near)
            result = self.attempt(near, FAULTS[output], loss, dtype, factor=1 + 8 * ulp)
            if result["killed"] is None and result["reached"]:
                larger = self.attempt(near, FAULTS[output], loss, dtype, factor=1 + 1024 * ulp)
                if larger["killed"]:
                    result["reason"] = f"within the bound of its case; 1024 ulp are noticed by {larger['killed']}"
            self.note(mutant, result)
        faults = [(f"parameter {p}", "parameter", i) for i, p in enumerate(row["parameters"])]
        faults += [(told, told, 0) for told in TOLD[1:]]
        # What a loss is told does not depend on the dtype.
        for shown, told, parameter in faults if dtype == DTYPES[0] else ():
            mutant = f"{name}, {dtype}: {shown}"
            if not self.wanted(mutant):
                continue
            items = near if told == "parameter" else [item for item in own if re.search(NOTICED_BY[told], item.nodeid)]
            self.warm_up([item for item in items if "(7, 3)" in item.nodeid][:4])
            result = self.attempt(items, FAULTS[told], loss, dtype, parameter, seconds=60)
            self.note(mutant, result)

    def try_loops(self):
        # One loss of each kind first, then all of them.
        kinds = {row["kind"]: name for name, row in reversed(self.rows)}
        mixed = [*self.by_turns({*kinds.values(), None}), *self.by_turns(self.known - {*kinds.values()})]
        for i, (what, path, _, _) in enumerate(LOOPS):
            mutant = f"{path}: {what}"
            if self.wanted(mutant):
                likely = next((pattern for part, pattern in LIKELY if part in what), "$.")
                first = [item for item in mixed if re.search(likely, item.nodeid)]
                chosen = [*dict.fromkeys([*first[:200], *mixed])]
                result = self.attempt(chosen, FIRST_OF_LOOPS + i, -1, DTYPES[0], seconds=self.arguments.seconds)
                result["reached"] = True
                self.note(mutant, result)
                if self.arguments.record:
                    self.write()

    def by_turns(self, names):
        """Of each test of these losses one case after the other, so that no test has to be waited for."""
        items = [item for (name, _), group in sorted(self.of.items(), key=str) for item in group if name in names]
        turns = {}
        for item in random.Random(0).sample(items, len(items)):
            turns.setdefault(item.originalname, []).append(item)
        longest = max(map(len, turns.values()), default=0)
        return [group[i] for i in range(longest) for group in turns.values() if i < len(group)]

    def note(self, mutant, result):
        if result["killed"] is None and not result["reached"]:
            self.unreached.add(mutant)
            return
        self.results[mutant] = result
        print(f"{mutant}: {result['killed'] or 'SURVIVES'} {result.get('reason', '')}", flush=True)

    def write(self):
        """Adds to the record, or replaces there, what was tried."""
        path = variant.RECORDS / "mutation.json"
        old = json.loads(path.read_text()) if path.exists() else {}
        loops = {f"{path}: {what}" for what, path, _, _ in LOOPS}
        kinds = {
            kind: {mutant: how for mutant, how in old.get(kind, {}).items() if mutant[:5] != "csrc/" or mutant in loops}
            for kind in ("survivors", "survivors_due_to_bounds", "killed_by")
        }
        for mutant, kind in itertools.product({*self.results, *self.unreached}, kinds.values()):
            kind.pop(mutant, None)
        for mutant, result in self.results.items():
            if result["killed"]:
                kinds["killed_by"][mutant] = result["killed"]
            elif "reason" in result:
                kinds["survivors_due_to_bounds"][mutant] = result["reason"]
            else:
                kinds["survivors"][mutant] = f"{result['tests']} tests passed"
        kept = {mutant for kind in kinds.values() for mutant in kind}
        counts = {"mutants": len(kept), "killed": len(kinds["killed_by"])}
        variant.record("mutation", counts | {name: dict(sorted(kind.items())) for name, kind in kinds.items()})
        return kept

    def warm_up(self, items):
        """Exact results are kept by this process, for its children."""
        for item in items:
            if item.nodeid not in self.warm:
                self.warm.add(item.nodeid)
                self.run(item)
                if self.session.testsfailed:
                    raise SystemExit(f"{item.nodeid} fails without a fault")

    def run(self, item):
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)

    def attempt(self, items, fault, loss, dtype, parameter=0, factor=1.0, seconds=120):
        """{"killed": test that fails, or None, "reached": whether there was anything to spoil}"""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            log = os.open(variant.ROOT / "build" / "mutate" / "child.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.dup2(log, 2)
            signal.alarm(2 * seconds)
            self.fault[:] = fault, loss, DTYPES.index(dtype), parameter
            self.factor.value = factor
            killed, started, ran = None, time.time(), 0
            for item in items:
                os.write(write, f"at {item.nodeid}\n".encode())
                self.run(item)
                ran += 1
                if self.session.testsfailed:
                    killed = item.nodeid
                    break
                if time.time() - started > seconds:
                    break
            os.write(write, f"end {json.dumps([killed, bool(self.hits.value), ran])}\n".encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            lines = pipe.read().splitlines()
        os.waitpid(child, 0)
        if lines and lines[-1].startswith("end "):
            killed, reached, ran = json.loads(lines[-1][4:])
            return {"killed": killed, "reached": reached or loss < 0, "tests": ran}
        if not lines:
            return {"killed": None, "reached": False, "tests": 0}
        return {"killed": f"{lines[-1][3:]} (crash or hang)", "reached": True, "tests": len(lines)}


def try_all(arguments):
    import pytest

    if arguments.survivors or arguments.new:
        record = json.loads((variant.RECORDS / "mutation.json").read_text())
        arguments.alive = {*record["survivors_due_to_bounds"], *record["survivors"]}
        arguments.known = {*arguments.alive, *record["killed_by"]}
    mutants = Mutants(arguments)
    status = pytest.main(
        ["-p", "no:cacheprovider", "-p", "no:terminal", "-s", "tests/test_values.py", "tests/test_structured.py",
         "tests/test_properties.py", "tests/test_errors.py", "tests/test_classes.py", "tests/test_runtime.py",
         "tests/test_rounding.py", "tests/test_elementary.py"],
        plugins=[mutants],
    )  # fmt: skip
    if status and not mutants.results:
        raise SystemExit(f"pytest could not collect the tests: {status}")
    kept = mutants.write() if arguments.record else mutants.results
    alive = [name for name, result in mutants.results.items() if result["killed"] is None]
    within = [name for name in alive if "reason" in mutants.results[name]]
    print(f"{len(mutants.results)} mutants, {len(mutants.results) - len(alive)} killed, {len(within)} within the bounds, "
          f"{len(alive) - len(within)} survive; {len(kept)} in the record")  # fmt: skip
    return 1 if len(alive) > len(within) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="mutants in whose name this regular expression is found")
    parser.add_argument("--survivors", action="store_true", help="those that the record lists")
    parser.add_argument("--new", action="store_true", help="those that the record does not have")
    parser.add_argument("--seconds", type=int, default=120, help="for each fault of the loops")
    parser.add_argument("--record", action="store_true", help="write docs/reliability/mutation.json")
    parser.add_argument("--built", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    os.chdir(variant.ROOT)
    if arguments.built:
        sys.exit(try_all(arguments))
    sys.exit(subprocess.run([build(), __file__, "--built", *sys.argv[1:]], check=False).returncode)


if __name__ == "__main__":
    main()
