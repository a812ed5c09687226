# SPDX-License-Identifier: BSD-3-Clause
"""Measure every native loss next to the NumPy formula and the limits of memory; write docs/performance.md.

All that a ratio compares runs in the same round, one after the other, on the same arrays. A figure is the
median over the rounds, of a ratio too.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

import fastloss as fl
from data import arguments, bytes_moved, check, plain

# Rows and classes. Of logits: a vocabulary, image classes, digits; of all others 16.8 M elements.
SHAPES = {"logits": ((2048, 32_000), (65_536, 1000), (262_144, 10))}
OTHER_SHAPES = ((16_384, 1024),)
QUICK_DIVISOR = 64  # of the rows

# Of the tables: keys of one_round.
COLUMNS = {
    "value_gb_per_s": "{:.1f}",
    "value_to_read": "{:.0%}",
    "value_to_numpy": "{:.1f}",
    "value_and_grad_gb_per_s": "{:.1f}",
    "value_and_grad_to_copy": "{:.0%}",
}

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- begin: bench/report.py -->\n", "<!-- end: bench/report.py -->\n"


def main():
    options = parse_arguments()
    divisor = QUICK_DIVISOR if options.quick else 1
    cases = [
        (label, loss, (rows // divisor, classes), dtype)
        for dtype in options.dtypes
        for label, loss in fl.losses.native_instances()
        if loss.rowwise
        for rows, classes in SHAPES.get(loss.prediction, OTHER_SHAPES)
    ]
    host = machine()  # first: its load is to be that of others
    results = [
        {"loss": label, "shape": shape, "dtype": dtype, **measure(loss, shape, dtype, options)}
        for label, loss, shape, dtype in tqdm(cases, unit="case", disable=None)
    ]
    report = {"machine": host, "fastloss": fl.show_config(), "rounds": options.rounds, "results": results}
    text = markdown(report, options.threads)
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="ascii")
    if options.docs:
        insert(options.docs, text)


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds of each case (default: 7; quick: 2)")
    parser.add_argument("--threads", type=numbers, default=[1, 2], metavar="A,B", help="default: 1,2")
    parser.add_argument("--dtypes", type=names, default=["float32", "float64"], metavar="A,B")
    parser.add_argument("--json", type=Path, help=f"default: {DOCS.name}/performance.json; quick: none")
    parser.add_argument("--docs", type=Path, help=f"default: {DOCS.name}/performance.md; quick: none")
    parser.add_argument("--quick", action="store_true", help="a trial in cache: figures mean nothing")
    options = parser.parse_args()
    if not options.quick:
        options.json = options.json or DOCS / "performance.json"
        options.docs = options.docs or DOCS / "performance.md"
    options.rounds = options.rounds or (2 if options.quick else 7)
    return options


def insert(path, text):
    """Replace what is between the two markers in the file."""
    before, begin, rest = path.read_text(encoding="ascii").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"{path}: expected the lines {BEGIN.strip()} and {END.strip()}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="ascii")


def numbers(text):
    return [int(number) for number in text.split(",")]


def names(text):
    return text.split(",")


def measure(loss, shape, dtype, options):
    """Medians of one case, by the number of threads."""
    y_true, y_pred = arguments(loss, shape, dtype)
    gradient = check(loss, y_true, y_pred)
    samples = {threads: [] for threads in options.threads}
    for _ in range(options.rounds):
        formula = seconds(lambda: plain(loss, y_true, y_pred))
        for threads in options.threads:
            samples[threads].append(one_round(loss, y_true, y_pred, gradient, threads, formula))
    return {
        "threads": {
            threads: {key: statistics.median(sample[key] for sample in rounds) for key in rounds[0]}
            for threads, rounds in samples.items()
        }
    }


def one_round(loss, y_true, y_pred, gradient, threads, formula):
    """Speeds in GB/s, and ratios; `formula` is the NumPy formula's time."""
    reads = zip(parts(y_true, threads), parts(y_pred, threads), strict=True)
    copies = zip(parts(gradient, threads), parts(y_pred, threads), strict=True)
    with fl.threads(threads), ThreadPoolExecutor(threads) as pool:
        value = seconds(lambda: loss(y_true, y_pred))
        read = seconds_of_all(pool, [partial(read_all, *arrays) for arrays in reads])
        fused = seconds(lambda: loss.value_and_grad(y_true, y_pred, out=gradient))
        copy = seconds_of_all(pool, [partial(np.copyto, *arrays) for arrays in copies])
    inputs = bytes_moved(y_true, y_pred) / 1e9
    speeds = {
        "value": inputs / value,
        "read": inputs / read,
        "value_and_grad": bytes_moved(y_true, y_pred, gradient) / 1e9 / fused,
        "copy": bytes_moved(None, y_pred, gradient) / 1e9 / copy,
    }
    return {
        **{f"{key}_gb_per_s": speed for key, speed in speeds.items()},
        "value_to_read": speeds["value"] / speeds["read"],
        "value_and_grad_to_copy": speeds["value_and_grad"] / speeds["copy"],
        "value_to_numpy": formula / value,
    }


def seconds(function):
    """Seconds of a call: that of the first if it is long, else of enough others, which find warm caches."""
    return seconds_of_many(partial(repeat, function))


def seconds_of_all(pool, functions):
    """The same for functions that run side by side, each of them repeated by a thread of its own."""
    return seconds_of_many(lambda calls: list(pool.map(repeat, functions, [calls] * len(functions))))


def seconds_of_many(run, enough=0.02):
    """Seconds of a call, where `run(n)` makes n of them."""

    def timed(calls):
        began = time.perf_counter()
        run(calls)
        return (time.perf_counter() - began) / calls

    first = timed(1)
    return first if first >= enough else timed(math.ceil(enough / first))


def repeat(function, calls):
    for _ in range(calls):
        function()


def read_all(*arrays):
    """Read the arrays: of all that NumPy has, the reduction of bytes is the fastest."""
    for array in arrays:
        np.bitwise_or.reduce(array.view(np.uint8))


def parts(array, count):
    return np.array_split(array.reshape(-1), count)


def machine():
    cpus = Path("/proc/cpuinfo")
    models = cpus.read_text(encoding="utf-8").splitlines() if cpus.exists() else []
    model = next((line.partition(": ")[2] for line in models if line.startswith("model name")), "")
    return {
        "cpu": model or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.machine()}",
        "load": os.getloadavg()[0],
    }


def markdown(report, threads):
    """One table a dtype; a cell has a figure for each number of threads."""
    build, host = report["fastloss"], report["machine"]
    counts = " / ".join(map(str, threads))
    lines = [
        f"{host['cpu']}, {host['cores']} cores, {host['system']}, load {host['load']:.1f} before; "
        f"fastloss {build['version']}, {build['isa']}, {build['compiler']}, {build['threading']}; "
        f"Python {build['python']}, NumPy {build['numpy']}; median of {report['rounds']} rounds. "
        f"Cells: with {counts} threads."
    ]
    for dtype in dict.fromkeys(result["dtype"] for result in report["results"]):
        lines += [
            "",
            f"### {dtype}",
            "",
            "| loss | shape | value, GB/s | of read | times NumPy | value and gradient, GB/s | of copy |",
            "|---|---|--:|--:|--:|--:|--:|",
        ]
        for result in report["results"]:
            if result["dtype"] == dtype:
                rows, classes = result["shape"]
                cells = [
                    " / ".join(form.format(figures[key]) for figures in result["threads"].values())
                    for key, form in COLUMNS.items()
                ]
                lines.append(f"| {result['loss']} | {rows} x {classes} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
