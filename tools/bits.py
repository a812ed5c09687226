#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Whether the kernels give the same bits on every instruction set, NEON under emulation included.

Run as

    python tools/bits.py [--loss REGEX]      prints what differs; writes docs/reliability/bits.json

Links tools/bits.c with the library that is installed and, with aarch64-linux-gnu-gcc and qemu-aarch64-static (Debian:
gcc-aarch64-linux-gnu, libc6-dev-arm64-cross, qemu-user-static), builds both for 64-bit Arm. Each kernel runs on the same
inputs, of all floating-point storages and several shapes, with weights and without; value, losses, gradient and Hessian are
compared.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from datetime import date
from pathlib import Path

import ml_dtypes
import numpy as np

from elementary import CROSS, EMULATOR, ROOT, cpu, instruction_sets, kernel_flags
from fastloss import _kernels

RECORD = ROOT / "docs" / "reliability" / "bits.json"
HEADER = np.dtype([("storage", "i4"), ("output", "i4"), ("weighted", "i4"), ("shape", "i4"), ("count", "i8")])
DTYPES = [np.dtype(d) for d in (np.float32, np.float64, np.float16, ml_dtypes.bfloat16)]
OUTPUTS = ("value", "losses", "gradient", "hessian")
FUSED = ("x86-64-v4", "x86-64-v3", "neon")


def link(folder):
    """The program with the installed library."""
    library = Path(_kernels.__file__).parent / "lib" / "libfastloss.so"
    command = ["gcc", f"-I{ROOT / 'csrc'}", ROOT / "tools" / "bits.c", library, f"-Wl,-rpath,{library.parent}"]
    subprocess.run([*command, "-o", folder / "here"], check=True)
    return [folder / "here"]


def build(folder, compiler, machine):
    """The program and the library for another machine."""
    options, flags = kernel_flags()
    common = [compiler, "-std=gnu11", *options, f"-I{ROOT / 'csrc'}"]
    objects = []
    for isa in instruction_sets(machine):
        for bits in (32, 64):
            objects.append(folder / f"{isa}_{bits}.o")
            command = [*common, *flags.get(isa, []), f"-DFL_ISA={isa}", f"-DFL_REAL_BITS={bits}"]
            subprocess.run([*command, "-c", ROOT / "csrc" / "kernels.c", "-o", objects[-1]], check=True)
    sources = [ROOT / "csrc" / f"{name}.c" for name in ("dispatch", "evaluate", "parallel")]
    program = folder / machine
    subprocess.run([*common, "-static", *sources, ROOT / "tools" / "bits.c", *objects, "-o", program], check=True)
    return program


def run(program, isa, loss):
    """[((dtype, output, weighted, shape), elements)]"""
    data = subprocess.run([*program, "run", isa, loss], check=True, capture_output=True).stdout
    records, place = [], 0
    while place < len(data):
        head = np.frombuffer(data, HEADER, 1, place)[0]
        dtype = DTYPES[head["storage"]]
        place += HEADER.itemsize
        values = np.frombuffer(data, dtype, head["count"], place)
        place += values.nbytes
        records.append(((dtype.name, OUTPUTS[head["output"]], bool(head["weighted"]), int(head["shape"])), values))
    return records


def ordered(values):
    """Integers in the order of the numbers: their differences are units in the last place; NaN is one number."""
    unsigned = values.view(f"u{values.itemsize}").astype(np.uint64)
    sign = np.uint64(1 << (8 * values.itemsize - 1))
    magnitude = (unsigned & (sign - np.uint64(1))).astype(np.int64)
    magnitude = np.where(unsigned & sign != 0, -magnitude, magnitude)
    return np.where(np.isnan(values), np.iinfo(np.int64).max // 2, magnitude)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", default="", help="regular expression of names")
    arguments = parser.parse_args()
    results, compared, broken = {}, 0, []
    with tempfile.TemporaryDirectory() as folder:
        here = link(Path(folder))
        lines = subprocess.run([*here, "list"], check=True, capture_output=True, text=True).stdout.splitlines()
        sets = {line.split()[1]: here for line in lines if line.startswith("isa")}
        if shutil.which(CROSS) and shutil.which(EMULATOR):
            sets["neon"] = [EMULATOR, build(Path(folder), CROSS, "aarch64")]
        first = next(iter(sets))
        for _, loss, kind in (line.split() for line in lines if line.startswith("loss")):
            if not re.search(arguments.loss, loss):
                continue
            expected = run(sets[first], first, loss)
            compared += sum(values.size for _, values in expected)
            row = {"kind": kind}
            for isa, program in list(sets.items())[1:]:
                worst, differing, same_zero = defaultdict(int), 0, 0
                for (key, a), (other, b) in zip(expected, run(program, isa, loss), strict=True):
                    assert key == other
                    distance = np.abs(ordered(a) - ordered(b))
                    differing += np.count_nonzero(distance)
                    same_zero += np.count_nonzero((distance == 0) & (np.signbit(a) != np.signbit(b)) & ~np.isnan(a))
                    if distance.any():
                        name = f"{key[0]} {key[1]}"
                        worst[name] = max(worst[name], int(distance.max()))
                row[isa] = "same" if not differing + same_zero else {
                    "differing": int(differing), "zeros of the other sign": int(same_zero), "worst ulp": dict(worst)}
                if isa in FUSED and differing + same_zero:
                    broken.append((loss, isa))
            results[loss] = row
            print(loss, json.dumps(row), flush=True)
    if not arguments.loss:
        record = {
            "command": "python tools/bits.py", "date": str(date.today()), "machine": cpu(), "compared with": first,
            "instruction sets": list(sets), "outputs of each": compared,
        }  # fmt: skip
        lines = ",\n".join(f"    {json.dumps(loss)}: {json.dumps(row)}" for loss, row in results.items())
        RECORD.parent.mkdir(parents=True, exist_ok=True)
        RECORD.write_text(json.dumps(record, indent=2)[:-2] + f',\n  "losses": {{\n{lines}\n  }}\n}}\n', encoding="utf-8")
    for loss, isa in broken:
        print(f"{loss}: {isa} differs from {first}")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
