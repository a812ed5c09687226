#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Worst errors, in ulp, of the elementary functions that all kernels use, on every instruction set.

Run as

    python tools/elementary.py [--jobs N]    all floats, millions of doubles; writes docs/accuracy/elementary.json
    python tools/elementary.py --quick       a part of them, in seconds; prints what it found

Builds tools/elementary.c with gcc and the flags of the kernels, for the instruction sets that this machine has. References
are glibc's functions in double for float, in 80-bit or 128-bit numbers for double, whose errors are too small to be seen.
With aarch64-linux-gnu-gcc and qemu-aarch64-static (Debian: gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user-static)
it also tells whether NEON gives the same bits as the first instruction set here, by checksums, for --neon N inputs.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "tools" / "elementary.c"
RECORD = ROOT / "docs" / "accuracy" / "elementary.json"
DTYPES = {"float32": 32, "float64": 64}
FLOATS = 1 << 32
CROSS, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"


class Finding(NamedTuple):
    function: str
    dtype: str
    isa: str
    tested: int
    worst: float
    inputs: tuple


class Function(NamedTuple):
    name: str
    bound: float  # that elementary.h states
    exhaustive: bool  # all floats are its inputs


def kernel_flags():
    """The compiler flags of CMakeLists.txt: those of all kernels, and those of each instruction set."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    options = re.search(r"target_compile_options\(fastloss_options INTERFACE(.*?)\n\s*\$<", text, re.S)[1].split()
    options += re.search(r"\$<\$<C_COMPILER_ID:GNU>:([^>]*)>", text)[1].split()
    return options, {isa: flags.split() for isa, flags in re.findall(r"set\(FASTLOSS_FLAGS_(\w+) ([^)]*)\)", text)}


def instruction_sets(machine):
    """Of csrc/isa.def, by CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    for condition, names in re.findall(r"MATCHES \"\^\(([^)]*)\)\$\"\)\s*set\(FASTLOSS_ISAS ([^)]*)\)", text):
        if machine in condition.split("|"):
            return names.split()
    return ["baseline"]


def build(folder, dtype, compiler="gcc", machine=None, native="-march=native"):
    """The program for a dtype."""
    options, flags = kernel_flags()
    folder.mkdir(exist_ok=True)
    common = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function", f"-I{ROOT / 'csrc'}"]
    common.append(f"-DFL_REAL_BITS={DTYPES[dtype]}")
    objects = []
    for isa in instruction_sets(machine or platform.machine()):
        objects.append(folder / f"{isa}_{dtype}.o")
        command = [*common, *options, *flags.get(isa, []), f"-DFL_ISA={isa}", "-c", SOURCE, "-o", objects[-1]]
        subprocess.run(command, check=True)
    program = folder / dtype
    # With OpenMP, glibc offers the vector forms of its functions.
    command = [*common, "-O3", *native.split(), "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off", "-fopenmp"]
    subprocess.run([*command, SOURCE, *objects, "-o", program, "-lm"], check=True)
    return [program]


def functions(program):
    lines = subprocess.run([*program, "list"], check=True, capture_output=True, text=True).stdout.splitlines()
    return [Function(name, float(bound), exhaustive == "1") for name, bound, exhaustive in map(str.split, lines)]


def ask(program, what, function, first, last, step):
    """Lines of the program, as lists."""
    command = [*program, what, function.name, str(first), str(last), str(step)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.split() for line in output.splitlines()]


def measure(program, dtype, function, inputs, pool, parts):
    """A Finding for each instruction set, from as many inputs."""
    step = max(1, FLOATS // inputs) | 1 if function.exhaustive else 1
    last = FLOATS if function.exhaustive else inputs
    size = (last // parts // step + 1) * step
    starts = range(0, last, size)
    jobs = [pool.submit(ask, program, "errors", function, start, min(last, start + size), step) for start in starts]
    found = {}
    for job in jobs:
        for isa, tested, worst, *where in job.result():
            new = Finding(function.name, dtype, isa, int(tested), float(worst), tuple(where))
            old = found.get(isa, new._replace(tested=0, worst=-1.0))
            found[isa] = max(new, old, key=lambda f: f.worst)._replace(tested=new.tested + old.tested)
    return [finding for finding in found.values() if finding.tested]


def same_bits(here, there, dtype, function, inputs, pool):
    """Whether another machine's only instruction set gives the bits of the first one here."""
    step = max(1, FLOATS // inputs) | 1 if function.exhaustive else 1
    last = FLOATS if function.exhaustive else inputs
    ours, theirs = pool.map(lambda program: ask(program, "checksums", function, 0, last, step)[0], (here, there))
    return Finding(function.name, dtype, theirs[0], int(ours[1]), float(ours[1:] != theirs[1:]), (ours[0],))


def cpu():
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    return name[1] if name else platform.machine()


def write(rows):
    """The record, in which functions that were not measured now stay as they are."""
    measured = {(row["dtype"], row["function"]) for row in rows}
    old = json.loads(RECORD.read_text(encoding="utf-8"))["results"] if RECORD.exists() else []
    rows = [row for row in old if (row["dtype"], row["function"]) not in measured] + rows
    head = {
        "command": "python tools/elementary.py", "date": str(date.today()), "machine": cpu(),
        "unit": "ulp of the exact result",
    }  # fmt: skip
    lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(head, indent=2)[:-2] + f',\n  "results": [\n{lines}\n  ]\n}}\n', encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a part of the inputs; nothing is written")
    parser.add_argument("--floats", type=int, default=FLOATS, help="float32 inputs of functions of one argument")
    parser.add_argument("--samples", type=int, default=30_000_000, help="all other inputs")
    parser.add_argument("--neon", type=int, default=20_000_000, help="inputs for NEON; 0: none")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    parser.add_argument("--function", default="", help="regular expression of names")
    parser.add_argument("--dtype", choices=DTYPES, action="append", help="both, if none is given")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.floats, arguments.samples, arguments.neon = 1 << 20, 1 << 19, 1 << 16
    rows, exceeded, differing = [], [], []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(arguments.jobs) as pool:
        cross = arguments.neon and shutil.which(CROSS) and shutil.which(EMULATOR)
        for dtype in arguments.dtype or DTYPES:
            program = build(Path(folder, "native"), dtype)
            neon = cross and [EMULATOR, *build(Path(folder, "neon"), dtype, CROSS, "aarch64", "-static")]
            for function in functions(program):
                if not re.search(arguments.function, function.name):
                    continue
                inputs = arguments.floats if function.exhaustive else arguments.samples
                findings = measure(program, dtype, function, inputs, pool, arguments.jobs)
                for finding in findings:
                    rows.append(finding._asdict() | {"inputs": list(finding.inputs)})
                    exceeded += [finding] if finding.worst > function.bound else []
                    print(*finding, "stated:", function.bound, flush=True)
                if neon and findings:
                    finding = same_bits(program, neon, dtype, function, arguments.neon, pool)
                    rows.append({
                        "function": function.name, "dtype": dtype, "isa": finding.isa, "tested": finding.tested,
                        f"same bits as {finding.inputs[0]}": not finding.worst,
                    })  # fmt: skip
                    differing += [finding] if finding.worst else []
                    print(*rows[-1].values(), flush=True)
                if not arguments.quick:
                    write(rows)
    for finding in exceeded:
        print("more than stated:", finding)
    for finding in differing:
        print("bits differ:", finding)
    return bool(exceeded or differing)


if __name__ == "__main__":
    sys.exit(main())
