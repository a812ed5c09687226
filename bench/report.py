# SPDX-License-Identifier: BSD-3-Clause
"""Measure every native loss next to the NumPy formula and the limits of memory; write docs/performance.md.

All that a ratio compares runs in the same round, one after the other, on the same arrays. A figure is the
median over the rounds, of a ratio too.
"""

import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

import fastloss as fl
from data import arguments, bytes_moved, check, plain

# Rows and classes. Of logits: a vocabulary, image classes, digits; of all others 16.8 M elements.
SHAPES = {"logits": ((2048, 32_000), (65_536, 1000), (262_144, 10))}
OTHER_SHAPES = ((16_384, 1024),)
QUICK_DIVISOR = 64  # of the rows

DOCS = Path(__file__).parent.parent / "docs"
BEGIN, END = "<!-- begin: bench/report.py -->\n", "<!-- end: bench/report.py -->\n"


def main():
    options = parse_arguments()
    divisor = QUICK_DIVISOR if options.quick else 1
    cases = [
        (label, loss, (rows // divisor, classes), dtype)
        for dtype in options.dtypes
        for label, loss in fl.losses.native_instances()
        for rows, classes in SHAPES.get(loss.prediction, OTHER_SHAPES)
    ]
    results = [
        {"loss": label, "shape": shape, "dtype": dtype, **measure(loss, shape, dtype, options)}
        for label, loss, shape, dtype in tqdm(cases, unit="case", disable=None)
    ]
    report = {"machine": machine(), "fastloss": fl.show_config(), "rounds": options.rounds, "results": results}
    text = markdown(report, options.threads)
    print(text, end="")
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="ascii")
    if options.docs:
        before, _, rest = options.docs.read_text(encoding="utf-8").partition(BEGIN)
        _, end, after = rest.partition(END)
        if not end:
            raise SystemExit(f"{options.docs}: no lines {BEGIN.strip()} and {END.strip()}")
        options.docs.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
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


def numbers(text):
    return [int(number) for number in text.split(",")]


def names(text):
    return text.split(",")


def measure(loss, shape, dtype, options):
    """Medians of one case, by the number of threads."""
    y_true, y_pred = arguments(loss, shape, dtype)
    gradient = check(loss, y_true, y_pred)
    read = bytes_moved(y_true, y_pred)
    written = bytes_moved(y_true, y_pred, gradient)
    samples = {threads: [] for threads in options.threads}
    for _ in range(options.rounds):
        formula = seconds(lambda: plain(loss, y_true, y_pred))
        for threads, rows in samples.items():
            with fl.threads(threads), ThreadPoolExecutor(threads) as pool:
                value = seconds(lambda: loss(y_true, y_pred))
                read_limit = seconds(lambda: each_part(pool, threads, np.max, y_true, y_pred))
                fused = seconds(lambda: loss.value_and_grad(y_true, y_pred, out=gradient))
                copy_limit = seconds(lambda: each_part(pool, threads, np.copyto, gradient, y_pred))
    ...
