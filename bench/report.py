# SPDX-License-Identifier: BSD-3-Clause
"""Measure fastloss next to its peers and the limits of memory; write docs/performance.json, and from it the pages.

Every finished row is kept at once, so that a run that was stopped goes on where it was. The rows of a number of threads
are measured by one process of their own, as XLA fixes its threads when a process begins.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

from tqdm import tqdm

import fastloss as fl
import limits
import peers
import plan
import render
from fastloss import _kernels
from measure import machine_limits, measure_row
from timing import rounded

ROOT = Path(__file__).resolve().parents[1]
JSON = ROOT / "docs" / "performance.json"
KEPT = ROOT / "build" / "performance.jsonl"
MEGABYTE = 1 << 20
LOAD = 0.5
LIMIT_SIZES = (MEGABYTE // 4, 8 * MEGABYTE, 64 * MEGABYTE, 256 * MEGABYTE)


def main():
    options = parse_arguments()
    if options.render:
        render.write(json.loads(JSON.read_text(encoding="ascii")))
        return
    rows = plan.quick() if options.quick else plan.rows()
    rows = [row for row in rows if re.search(options.only, row.name)]
    kept = KEPT.with_stem("performance-quick") if options.quick else KEPT
    if options.worker:
        work(rows, kept, options.worker)
        return
    if options.list:
        print(*(f"{row.estimate:5.1f} s  {row.name}" for row in rows), sep="\n")
    estimate = sum(row.estimate for row in rows)
    print(f"{len(rows)} rows, about {estimate / 60:.0f} minutes on a machine that does nothing else")
    if options.list:
        return
    if os.getloadavg()[0] > LOAD:
        print(f"The load is {os.getloadavg()[0]:.1f}: what else runs will be in the figures")
    begin(kept, options.restart or options.quick)
    for threads in sorted({row.threads for row in rows}, reverse=True):
        command = [sys.executable, __file__, "--worker", str(threads), "--only", options.only]
        command += ["--quick"] if options.quick else []
        subprocess.run(command, check=True, env={**os.environ, "NPROC": str(threads)})
    header, *measured = map(json.loads, kept.read_text(encoding="ascii").splitlines())
    report = {**header, "planned": len(plan.rows()), "rows": list({row["name"]: row for row in measured}.values())}
    if options.quick:
        print(render.page(report))
    else:
        JSON.write_text(text_of(report), encoding="ascii")
        render.write(report)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few small rows, to the terminal: figures mean nothing")
    parser.add_argument("--restart", action="store_true", help="drop the rows that were kept")
    parser.add_argument("--render", action="store_true", help="measure nothing: write the pages from the JSON")
    parser.add_argument("--list", action="store_true", help="measure nothing: list the rows and how long they take")
    parser.add_argument("--only", default="", metavar="REGEX", help="the rows whose names match")
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def begin(kept, restart):
    """Makes the file of rows, its first line what they are measured on; refuses to go on with those of another build."""
    now = {"machine": machine(), "fastloss": build(), "peers": peers.versions(peers.installed())}
    if kept.exists() and not restart:
        before = json.loads(kept.read_text(encoding="ascii").partition("\n")[0])
        if any(before[key] != now[key] for key in now):
            raise SystemExit(f"{kept} has rows of another machine, build or library: --restart drops them")
        return
    now["load"] = rounded(os.getloadavg()[0])
    now["limits"] = {"source": limits.source(), "speeds": machine_limits(LIMIT_SIZES, (1, 2))}
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(now) + "\n", encoding="ascii")


def work(rows, kept, threads):
    """Measures the rows of a number of threads that are not kept yet."""
    done = {json.loads(line).get("name") for line in kept.read_text(encoding="ascii").splitlines()}
    left = [row for row in rows if row.threads == threads and row.name not in done]
    progress = tqdm(left, unit="row", desc=f"{threads} thread{'s' * (threads > 1)}", disable=None)
    for row in progress:
        progress.set_postfix_str(row.name)
        began = time.perf_counter()
        measured = measure_row(row)
        measured["took"] = rounded(time.perf_counter() - began)
        with kept.open("a", encoding="ascii") as file:
            file.write(json.dumps(measured) + "\n")


def text_of(report):
    """JSON with a line for each row."""
    head = json.dumps({**report, "rows": []}, indent=1)
    rows = ",\n".join(json.dumps(row) for row in report["rows"])
    return head.replace('"rows": []', f'"rows": [\n{rows}\n ]') + "\n"


def machine():
    cpus = Path("/proc/cpuinfo")
    models = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    model = next((line.partition(": ")[2] for line in models if line.startswith("model name")), "")
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "cc": limits.source(),
    }


def build():
    known = {key: value for key, value in fl.show_config().items() if key != "optional"}
    kernels = Path(_kernels.__file__).read_bytes()
    return {**known, "kernels": hashlib.sha256(kernels).hexdigest()[:16]}


if __name__ == "__main__":
    main()
