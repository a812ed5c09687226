# SPDX-License-Identifier: BSD-3-Clause
"""Write docs/reliability.md: what can be relied on, what checks it, and what the last recorded run found.

The records are docs/reliability/*.json and docs/accuracy/*.json; the commands in the page write them.
"""

import argparse
import json
import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "reliability.md"


class Promise(NamedTuple):
    text: str
    checks: tuple  # tests and commands
    found: str = ""  # format of what a record says; {0}, {1}... are what `of` gives
    of: object = lambda records: ()


def fault(test):
    """The record of a test that was run with --record."""
    return lambda records: records["faults"][test]


def each(record, *keys):
    return lambda records: tuple(fault(record)(records)[key] for key in keys)


def total_of_fuzzing(records):
    runs = [run for run in records["fuzz"].values() if isinstance(run, dict)]
    guided = [run for run in runs if "fuzzer" in run["build"]]
    executions = (sum(run["executions"] for run in some) for some in (runs, guided))
    return (*executions, sum(run["findings"] for run in runs))


def worst_elementary(dtype):
    def of(records):
        rows = [row for row in records["elementary"]["results"] if row["dtype"] == dtype and "worst" in row]
        whole = {row["function"] for row in rows if row["tested"] > 10**9}
        common = [row["worst"] for row in rows if not row["function"].startswith("power")]
        return len({row["function"] for row in rows}), len(whole), max(common)

    return of


def worst_sums(records):
    worst = records["sums"]["worst"]
    most = (max(max(case[dtype].values()) for case in worst.values()) for dtype in ("float32", "float64"))
    return records["sums"]["samples"], len(worst), *most


def bits(records):
    losses = records["bits"]["losses"].values()
    same = [all(loss[isa] == "same" for isa in ("x86-64-v3", "neon")) for loss in losses]
    return sum(same), len(same), records["bits"]["outputs of each"], sum(loss["baseline"] == "same" for loss in losses)


def compared(records):
    rows = [output for row in records["peers"]["losses"] for output in row["results"]["fastloss"].values()]
    return len(rows), sum(output["off"] for output in rows)


def mutants(records):
    found = records["mutation"]
    return found["mutants"], found["killed"], len(found["survivors_due_to_bounds"]), len(found["survivors"])


SECTIONS = {
    "Accuracy": (
        Promise(
            "Each element is within the bound of [accuracy](accuracy.md), 4 ulp but for the losses named there",
            ("tests/test_values.py", "python docs/accuracy.py --measure"),
        ),
        Promise(
            "Elementary functions of float32 are within the bounds that `csrc/elementary.h` states",
            ("tests/test_elementary.py", "python tools/elementary.py"),
            "{0} functions, {1} of them over all floats of their domain: {2:.3g} ulp at most but for powers",
            worst_elementary("float32"),
        ),
        Promise(
            "Those of float64, too",
            ("tests/test_elementary.py", "python tools/elementary.py"),
            "{0} functions, dense samples around every break: {2:.3g} ulp at most but for powers",
            worst_elementary("float64"),
        ),
        Promise(
            "Sums and means are within 1 ulp of the exact sum of the losses in float32, 4 ulp in float64",
            ("tests/test_properties.py::test_large_sums_keep_their_digits", "python tools/sums.py"),
            "{0:,} samples, {1} losses: {2:.2g} ulp in float32, {3:.2g} in float64 at most",
            worst_sums,
        ),
        Promise(
            "What is poor elsewhere is right here",
            ("tests/test_poor_cases.py::test_fastloss_is_right", "python bench/comparison.py"),
            "{0:,} [comparisons](comparison.md): fastloss off by more than 0.1 % in {1} calls",
            compared,
        ),
        Promise(
            "No path computes in fewer digits than the dtype has; half results are rounded once",
            ("tests/test_rounding.py",),
        ),
    ),
    "Same bits": (
        Promise(
            "Run to run, with any number of threads",
            ("tests/test_properties.py::test_thread_count_does_not_matter",),
            "1, 2, 3, 4, 7 and 16 threads",
        ),
        Promise(
            "Any address, stride, byte order and order of axes",
            (
                "tests/test_properties.py::test_address_does_not_matter",
                "tests/test_properties.py::test_layout_does_not_matter",
                "tests/test_properties.py::test_order_of_axes_does_not_matter",
            ),
        ),
        Promise(
            "Any chunks of `fastloss evaluate`",
            ("tests/test_cli.py::test_value_per_sample_and_gradient_are_those_in_memory",),
        ),
        Promise(
            "AVX2, AVX-512 and NEON; the baseline of x86-64 has no fused multiply-add and differs in the last places",
            ("tests/test_runtime.py::test_instruction_sets_with_fma_agree", "python tools/bits.py"),
            "{0} of {1} losses, {2:,} outputs of each set, NEON emulated by qemu; the baseline in {3}",
            bits,
        ),
    ),
    "Faults": (
        Promise(
            "A forked child computes: after threads, before the first use, nested, while a kernel runs",
            ("tests/test_faults.py::test_a_forked_child_computes",),
            "{0} losses in each way",
            each("tests/test_faults.py::test_a_forked_child_computes", "fork"),
        ),
        Promise(
            "So do processes that multiprocessing forks, spawns, or has a server fork",
            ("tests/test_faults.py::test_processes_started_in_every_way_compute",),
            "{0} losses in each way",
            each("tests/test_faults.py::test_processes_started_in_every_way_compute", "fork"),
        ),
        Promise(
            "So do the workers of a PyTorch DataLoader",
            ("tests/test_faults.py::test_workers_of_torch_compute",),
            "2 workers, {0} losses",
            each("tests/test_faults.py::test_workers_of_torch_compute", "losses"),
        ),
        Promise(
            "Calls from several threads at once have the bits of serial ones",
            ("python -m pytest --slow tests/test_faults.py::test_calls_from_threads_have_the_bits_of_serial_ones",),
            "{0:,} calls from {1} threads: {2} wrong",
            each("tests/test_faults.py::test_calls_from_threads_have_the_bits_of_serial_ones", "calls", "threads", "wrong"),
        ),
        Promise(
            "PyTorch, scikit-learn and LightGBM may be imported before or after",
            ("python -m pytest --slow tests/test_faults.py::test_other_libraries_in_every_order",),
            "{0} orders",
            each("tests/test_faults.py::test_other_libraries_in_every_order", "cases"),
        ),
        Promise(
            "A signal ends `fastloss evaluate` soon, and leaves no partial file",
            ("python -m pytest --slow tests/test_faults.py::test_a_signal_at_any_moment_ends_the_command_soon",),
            "{0} signals at any moment, {4} before the end: {1:.2g} s at most, {2:.2g} s in the median, "
            "with {3:.1f} processes a core",
            each(
                "tests/test_faults.py::test_a_signal_at_any_moment_ends_the_command_soon",
                "runs", "most seconds", "median seconds", "processes a core", "interrupted",
            ),
        ),
        Promise(
            "A full disk is one clear line, and the file that was stays",
            ("tests/test_faults.py::test_without_room_there_is_one_line_and_the_file_that_was",),
        ),
        Promise(
            "Failed allocations are a MemoryError with nothing half-written, or the same bits without the memory",
            ("tests/test_memory.py::test_without_memory_nothing_is_half_written",),
            "{0:,} failed allocations: {1:,} errors, {2:,} results",
            each("tests/test_memory.py::test_without_memory_nothing_is_half_written", "calls", "no memory", "did without"),
        ),
        Promise(
            "Nothing outside the arrays is read or written",
            ("tests/test_memory.py::test_nothing_outside_of_the_arrays_is_touched",),
            "{0:,} calls between protected pages",
            each("tests/test_memory.py::test_nothing_outside_of_the_arrays_is_touched", "calls"),
        ),
        Promise(
            "No leak",
            ("python -m pytest --slow tests/test_memory.py::test_resident_memory_is_flat",
             "tests/test_memory.py::test_nothing_leaks"),
            "{0:,} calls: {1:.1f} MB before, {2:.1f} MB after",
            each("tests/test_memory.py::test_resident_memory_is_flat", "calls", "first MB", "last MB"),
        ),
        Promise(
            "Memory beyond the arrays is at most 2 % of y_pred, and a few MB where rows lie scattered",
            ("tests/test_memory.py::test_memory_that_a_call_needs",),
            "{0:.2%} and {1:.1f} MB at most",
            each("tests/test_memory.py::test_memory_that_a_call_needs", "of y_pred", "MB where rows are packed"),
        ),
        Promise(
            "Arrays of more than 2^31 elements, and rows of more than 2^31 bytes",
            ("python -m pytest --big tests/test_huge.py",),
            "{0} and {1} cases",
            lambda records: tuple(
                records["faults"][f"tests/test_huge.py::{test}"]["cases"]
                for test in ("test_many_rows", "test_a_row_of_more_than_two_to_the_31")
            ),
        ),
        Promise(
            "No error of memory and no undefined behaviour (AddressSanitizer, UndefinedBehaviorSanitizer)",
            ("python tools/sanitize.py address",),
            "{0:,} tests: {1} findings",
            lambda records: (records["sanitizers"]["address"]["passed"], len(records["sanitizers"]["address"]["findings"])),
        ),
        Promise(
            "No data race (ThreadSanitizer, with POSIX threads in place of OpenMP)",
            ("python tools/sanitize.py thread",),
            "{0:,} tests: {1} findings",
            lambda records: (records["sanitizers"]["thread"]["passed"], len(records["sanitizers"]["thread"]["findings"])),
        ),
        Promise(
            "Random shapes, strides, offsets, dtypes, byte orders, labels, weights and parameters give the bits of plain "
            "arrays, or the same error",
            ("tests/test_fuzz.py", "python tools/fuzz.py"),
            "{0:,} executions, {1:,} of them guided by coverage under AddressSanitizer: {2} findings left",
            total_of_fuzzing,
        ),
        Promise(
            "The tests notice faults of kernels",
            ("python tools/mutate.py",),
            "{0} faults put in: {1} noticed, {2} within the bounds of accuracy, {3} not shown to be noticed",
            mutants,
        ),
    ),
}


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page(read()), encoding="utf-8")


def read():
    """{stem: record}"""
    files = [*(ROOT / "docs" / "reliability").glob("*.json"), *(ROOT / "docs" / "accuracy").glob("*.json")]
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in files}


def page(records):
    parts = [
        "# Reliability",
        "What can be relied on, what checks it, and what the last recorded run found, on "
        f"{records['bits']['machine']} ({records['bits']['date']} and before). A name `tests/...` is a test that always "
        "runs (`python -m pytest`), any other entry a command. Records are in [docs/reliability](reliability) and "
        "[docs/accuracy](accuracy); `python docs/reliability.py` writes this page.",
    ]
    for title, promises in SECTIONS.items():
        lines = ["| promise | test or command | found |", "|---|---|---|"]
        for promise in promises:
            checks = "<br>".join(f"`{check}`" for check in promise.checks)
            lines.append(f"| {promise.text} | {checks} | {promise.found.format(*promise.of(records))} |")
        parts += [f"## {title}", "\n".join(lines)]
    parts += ["## Not shown", "\n".join(f"- {text}" for text in NOT_SHOWN)]
    return "\n\n".join(parts) + "\n"


NOT_SHOWN = (
    "A free-threaded interpreter was not at hand. The module declares that it needs no GIL: the C core has no state that is "
    "written after it is loaded, but for the chosen number of threads and instruction set, which are atomic. An "
    "`Accumulator` belongs to one thread.",
    "NEON ran under an emulator alone.",
    "A call of C cannot be interrupted; `fastloss evaluate` works in chunks of at most 32 MB for that reason.",
)


def checks():
    """Every test and script that the page names: (path, name of the test or None)"""
    for promises in SECTIONS.values():
        for promise in promises:
            for check in promise.checks:
                path, _, test = re.search(r"[\w/]+\.py(::(\w+))?", check)[0].partition("::")
                yield path, test or None


if __name__ == "__main__":
    main()
