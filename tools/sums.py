#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Errors of long sums and means, in ulp, against the exact sum of the losses of the samples as they are computed.

Run as

    python tools/sums.py [--samples N] [--loss REGEX]    writes docs/accuracy/sums.json

Samples are drawn, or all the same, which lets roundings add up; weights are absent, of one order of magnitude, or alternate
between 1e-6 and 1e6. N samples are so many repetitions of 100 003, so that the exact sum is known and they need no memory;
those of "1-D", one sample of N elements, are in memory. "chunks" come to an accumulator, as in `fastloss evaluate`.
Where losses have either sign the unit is the ulp of the sum of their absolute values.
"""

import argparse
import json
import math
import re
import shlex
import sys
from datetime import date
from fractions import Fraction

import numpy as np

import fastloss
from elementary import ROOT, cpu

sys.path.insert(0, str(ROOT / "tests"))
from cases import CASES

RECORD = ROOT / "docs" / "accuracy" / "sums.json"
BLOCK = 100_003
COLUMNS = 2
PROMISED = {"float32": 1.0, "float64": 4.0}
SAMPLES = ("drawn", "equal")
WEIGHTS = {
    "none": lambda rng, n: None,
    "ordinary": lambda rng, n: rng.uniform(0.5, 2.0, n),
    "alternating": lambda rng, n: np.where(np.arange(n) % 2, 1e6, 1e-6) * rng.uniform(0.5, 2.0, n),
}


def exact_sum(values):
    """To twice the digits of float64."""
    total = math.fsum(values)
    return Fraction(total) + Fraction(math.fsum([*values, -total]))


def in_ulp(value, exact, magnitude, dtype):
    unit = Fraction(float(np.spacing(np.dtype(dtype).type(float(magnitude)))))
    return float(abs(Fraction(float(value)) - exact) / unit)


def draw(case, rng, n, dtype, what):
    y_true, y_pred = case.draw(rng, (n, case.columns or COLUMNS))
    if case.elementwise:
        # The losses of single elements are given as they are summed; those of rows are rounded before they are given.
        y_true, y_pred = y_true[:, :1], y_pred[:, :1]
    if what == "equal":
        y_true, y_pred = (np.ascontiguousarray(np.broadcast_to(a[:1], a.shape)) for a in (y_true, y_pred))
    return y_true if case.sparse else y_true.astype(dtype), y_pred.astype(dtype)


def repeated(array, times):
    return np.broadcast_to(array, (times, *array.shape))


def errors(case, dtype, what, weights, times, rng, block=BLOCK):
    """{what was computed: error in ulp}"""
    y_true, y_pred = draw(case, rng, block, dtype, what)
    weight = WEIGHTS[weights](rng, block)
    given = {} if weight is None else {"sample_weight": weight}
    losses = np.asarray(case.make(reduction=None)(y_true, y_pred, **given), np.float64)
    exact, magnitude = times * exact_sum(losses), times * math.fsum(np.abs(losses))
    given = {name: repeated(array, times) for name, array in given.items()}
    many_true, many_pred = repeated(y_true, times), repeated(y_pred, times)
    count = times * block
    found = {
        "sum": in_ulp(case.make(reduction="sum")(many_true, many_pred, **given), exact, magnitude, dtype),
        "mean": in_ulp(case.make()(many_true, many_pred, **given), exact / count, magnitude / count, dtype),
    }
    total = case.make(reduction="sum").accumulator()
    for _ in range(times):
        total.update(y_true, y_pred, weight)
    found["chunks"] = in_ulp(total.value(), exact, magnitude, dtype)
    return found


def flat_error(case, dtype, what, times, rng, block=BLOCK):
    """Of the mean or sum over the elements of one sample."""
    y_true, y_pred = draw(case, rng, block, dtype, what)
    losses = np.asarray(case.make(reduction=None)(y_true, y_pred), np.float64)
    divisor = times * block if case.row == "mean" else 1
    exact, magnitude = times * exact_sum(losses) / divisor, times * math.fsum(np.abs(losses)) / divisor
    value = case.make()(np.tile(y_true[:, 0], times), np.tile(y_pred[:, 0], times))
    return in_ulp(value, exact, magnitude, dtype)


def measure(case, dtype, times, rng, block=BLOCK):
    """{how: worst error in ulp}"""
    worst = {}
    for what in SAMPLES:
        for weights in WEIGHTS:
            for how, error in errors(case, dtype, what, weights, times, rng, block).items():
                worst[how] = max(worst.get(how, 0.0), error)
        if case.elementwise:
            worst["1-D"] = max(worst.get("1-D", 0.0), flat_error(case, dtype, what, times, rng, block))
    return worst


def write(times, results):
    record = {
        "command": shlex.join(["python", "tools/sums.py", *sys.argv[1:]]), "date": str(date.today()), "machine": cpu(),
        "samples": times * BLOCK, "promised ulp": PROMISED, "threads": fastloss.get_num_threads(),
    }  # fmt: skip
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(row)}" for name, row in results.items())
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record, indent=2)[:-2] + f',\n  "worst": {{\n{lines}\n  }}\n}}\n', encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=100_000_000)
    parser.add_argument("--loss", default="", help="regular expression of names")
    arguments = parser.parse_args()
    times = math.ceil(arguments.samples / BLOCK)
    results, exceeded = {}, []
    for name, case in CASES.items():
        if not re.search(arguments.loss, name):
            continue
        results[name] = {}
        for dtype, promised in PROMISED.items():
            worst = measure(case, dtype, times, np.random.default_rng(0))
            results[name][dtype] = {how: round(error, 3) for how, error in worst.items()}
            exceeded += [(name, dtype, how) for how, error in worst.items() if error > promised]
        print(name, json.dumps(results[name]), flush=True)
        write(times, results)
    for case in exceeded:
        print("more than promised:", *case)
    return bool(exceeded)


if __name__ == "__main__":
    sys.exit(main())
