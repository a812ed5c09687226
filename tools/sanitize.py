# SPDX-License-Identifier: BSD-3-Clause
"""Runs tests on a build with sanitizers, which end the process with a report at the first finding.

    python tools/sanitize.py address [pytest arguments]
    python tools/sanitize.py thread [pytest arguments]
    python tools/sanitize.py leaks

`address` is AddressSanitizer with UndefinedBehaviorSanitizer. `thread` is ThreadSanitizer, with threads by pthreads
(threads.h) in place of OpenMP, so that nothing is reported that is none. `leaks` looks, after calls of tools/fuzz.py,
for memory of the core's or the binding's that nobody has any more; what CPython keeps to its end is left out. Without
arguments of pytest's the tests of CHECKED run. `--record` writes docs/reliability/sanitizers.json. Needs gcc, and an
environment as CONTRIBUTING.md says for development.
"""

import argparse
import os
import re
import subprocess
import sys

import variant

# Tests that reach every loop, layout and error in a short time.
CHECKED = {
    "address": [
        "tests/test_fuzz.py", "tests/test_structured.py", "tests/test_errors.py", "tests/test_runtime.py",
        "tests/test_properties.py",
        "-k", "fuzz or structured or errors or interleaved or overlap or share_memory or with_strides or without_elements",
    ],
    "thread": [
        "tests/test_runtime.py", "tests/test_properties.py",
        "-k", "float32 and (thread_count or order_of_axes) or several_threads or out_may or forked",
    ],
    "leaks": ["--executions", "20000"],
}  # fmt: skip

FLAGS = {
    "address": "-g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined",
    "thread": "-g -fno-omit-frame-pointer -fsanitize=thread",
}
FLAGS["leaks"] = FLAGS["address"]
LIBRARIES = {"address": ("libasan.so", "libubsan.so"), "thread": ("libtsan.so",), "leaks": ("libasan.so", "libubsan.so")}
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "LSAN_OPTIONS": "exitcode=0",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0:second_deadlock_stack=1",
    # Every array has bounds of its own.
    "PYTHONMALLOC": "malloc",
}

PTHREADS = {
    "CMakeLists.txt": [("if(FASTLOSS_OPENMP)", "target_compile_definitions(fastloss PRIVATE _OPENMP)\nif(FALSE)")],
    "csrc/parallel.c": [
        ("#include <omp.h>", '#include "threads.h"'),
        ("#pragma omp parallel for num_threads(threads) schedule(guided)\n"
         "        for (ptrdiff_t i = 0; i < count; i++)\n            task(context, i);\n",
         "        pthread_for(count, threads, task, context);\n"),
        ('"OpenMP"', '"pthreads"'),
    ],
}  # fmt: skip


def build(kind, isas):
    if kind != "thread":
        return variant.build("sanitize-address", flags=FLAGS[kind], isas=isas)
    return variant.build(
        "sanitize-thread",
        isas=isas,
        flags=FLAGS[kind] + " -pthread",
        edits=PTHREADS,
        added={"csrc/threads.h": variant.ROOT / "tools" / "threads.h"},
    )  # fmt: skip


def run(kind, python, arguments):
    """The exit status, and all that was written."""
    preload = ":".join(variant.library("gcc", name) for name in LIBRARIES[kind])
    # ThreadSanitizer needs a fixed place for its shadow of memory.
    command = [*(["setarch", "-R"] if kind == "thread" else []), str(python), "-X", "faulthandler"]
    command += ["tools/fuzz.py"] if kind == "leaks" else ["-m", "pytest", "-q", "-p", "no:cacheprovider", "--capture=sys"]
    options = OPTIONS | ({"ASAN_OPTIONS": "detect_leaks=1"} if kind == "leaks" else {})
    process = subprocess.Popen(
        [*command, *arguments], cwd=variant.ROOT, env={**os.environ, **options, "LD_PRELOAD": preload}, text=True,
        errors="replace", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    text = []
    for line in process.stdout:
        if kind != "leaks":
            sys.stdout.write(line)
        text.append(line)
    return process.wait(), "".join(text)


FINDING = re.compile(r"^.*(?:ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error):.*$", re.MULTILINE)


def findings_of(kind, text):
    """The first lines of the reports; of leaks, those of memory that our sources asked for."""
    if kind != "leaks":
        return FINDING.findall(text)
    # Of the caller of the allocator, who holds it.
    ours = re.compile(r"^    #[1-9] .*(?:/csrc/|_kernels\.c:)", re.MULTILINE)
    reports = re.split(r"\n(?=(?:Direct|Indirect) leak of )", text)
    return [report.splitlines()[0] for report in reports[1:] if ours.search(report.partition("\n\n")[0])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=sorted(FLAGS))
    parser.add_argument("--isas", nargs="+", choices=variant.ISAS, default=variant.ISAS, help="that are built")
    parser.add_argument("--record", action="store_true", help="write docs/reliability/sanitizers.json")
    arguments, of_pytest = parser.parse_known_args()
    kind, chosen = arguments.kind, of_pytest or CHECKED[arguments.kind]
    status, text = run(kind, build(kind, arguments.isas), chosen)
    findings = findings_of(kind, text)
    passed = [int(number) for number in re.findall(r"(\d+) (?:passed|calls)", text)]
    print(f"{kind}: {sum(passed)} {'calls' if kind == 'leaks' else 'tests'} without error, {len(findings)} findings")
    for finding in findings:
        print(finding)
    if arguments.record:
        variant.record("sanitizers", {
            "compiler": variant.version("gcc"),
            "flags": FLAGS[kind],
            "instruction_sets": list(arguments.isas),
            "run": chosen,
            "calls" if kind == "leaks" else "passed": sum(passed),
            "findings": findings,
        }, kind)  # fmt: skip
    sys.exit(1 if findings or not passed else status)


if __name__ == "__main__":
    main()
