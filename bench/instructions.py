# SPDX-License-Identifier: BSD-3-Clause
"""Count the instructions of a kernel of each kind under valgrind, and compare with the counts in instructions.json.

Counts do not depend on what else the machine does, so that a slower kernel shows where times cannot be trusted. They
depend on the compiler: with another than that of the file nothing is compared. The AVX2 path is counted, as valgrind
knows no AVX-512. `--update` writes the file.
"""

import argparse
import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from data import fitted
from fastloss import _kernels
from measure import native, work_of
from plan import BOTH, CACHE, LOSSES
from targets import EXAMPLES

STORED = Path(__file__).with_name("instructions.json")
ISA = "x86-64-v3"
MOST = 1.05
# What a call costs is the difference between these.
FEW, MANY = 1, 4

REQUESTS = """
#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--update", action="store_true", help="write the counts")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(ctypes.CDLL(options.worker))
        return
    stored = json.loads(STORED.read_text(encoding="ascii")) if STORED.exists() else {"compiler": None}
    compiler = _kernels.build_info()["compiler"]
    if not options.update and stored["compiler"] != compiler:
        print(f"Not compared: counts of {stored['compiler']} are stored, this is {compiler}")
        return
    if ISA not in _kernels.isas() or not shutil.which("valgrind"):
        print(f"Not counted: {ISA} and valgrind are needed")
        return
    counts = count()
    if options.update:
        STORED.write_text(json.dumps({"compiler": compiler, "counts": counts}, indent=1) + "\n", encoding="ascii")
    sys.exit(compare(counts, stored.get("counts", {})))


def compare(counts, stored):
    """Print all ratios; the number of kernels that take too many instructions."""
    slower = 0
    for name, number in counts.items():
        ratio = number / stored[name] if name in stored else float("nan")
        slower += ratio > MOST
        print(f"{number:12,} {ratio:7.3f}{' SLOWER' if ratio > MOST else ''}  {name}")
    return slower


def kernels():
    """Labels and kinds: the first loss of each kind of loop, and the examples of the benchmarks."""
    rows = _kernels.registry()
    names = {label: label.replace(" (from logits)", "_from_logits") for label in LOSSES}
    kinds = {label: rows[name]["kind"] for label, name in names.items() if name in rows}
    first = {kind: label for label, kind in reversed(kinds.items())}
    return {label: kinds[label] for label in (*first.values(), *EXAMPLES)}


def count():
    """Instructions of a call, by kind and operation."""
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder) / "requests.c", Path(folder) / "requests.so"
        source.write_text(REQUESTS, encoding="ascii")
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        dumps = Path(folder) / "out"
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={dumps}", "-q"]
        settings = {"FASTLOSS_ISA": ISA, "FASTLOSS_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        subprocess.run([*command, sys.executable, __file__, "--worker", library], check=True, env={**os.environ, **settings})
        found = {}
        for path in Path(folder).glob("out.*"):
            text = path.read_text(encoding="utf-8")
            name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.MULTILINE)
            if name and total:
                found[name[1]] = int(total[1])
    names = dict.fromkeys(name.rpartition(" x")[0] for name in found)
    return {name: (found[f"{name} x{MANY}"] - found[f"{name} x{FEW}"]) // (MANY - FEW) for name in sorted(names)}


def work(requests):
    """In valgrind: calls, each number of them with a dump of its own."""
    for label, kind in kernels().items():
        arguments = work_of(label, "float32", fitted(LOSSES[label], CACHE))
        for operation in BOTH:
            call = native(arguments, operation)
            call()
            for calls in (FEW, MANY):
                name = f"{kind}: {label}, {operation} x{calls}".encode()
                requests.begin()
                for _ in range(calls):
                    call()
                requests.end(name)


if __name__ == "__main__":
    main()
