#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""Worst errors, in ulp, of the losses that are an elementary function of y_pred where y_true is 0, over all floats.

`python tools/functions.py` takes every float32 y_pred on every instruction set (minutes) and writes
docs/accuracy/functions.json; `--step` takes every so many. References are NumPy's functions in float64. Which losses these
are, say their cases (`at_zero`).
"""

import argparse
import json
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date

import numpy as np

import fastloss
from elementary import ROOT, cpu
from fastloss import _kernels

sys.path.insert(0, str(ROOT / "tests"))
from cases import CASES

RECORD = ROOT / "docs" / "accuracy" / "functions.json"
FLOATS = 1 << 32
CHUNK = 1 << 20


def ordered(x):
    """float32 as integers of which neighbours differ by 1."""
    bits = x.view(np.int32).astype(np.int64)
    return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)


def worst(result, exact):
    """(error, index) of the worst element, in ulp: it is among those farthest from the rounded reference."""
    nan = np.isnan(exact)
    if (np.isnan(result) != nan).any():
        return np.inf, int(np.argmax(np.isnan(result) != nan))
    far = np.where(nan, 0, np.abs(ordered(result) - ordered(exact.astype(np.float32))))
    places = np.flatnonzero((far == far.max()) & np.isfinite(exact))
    if not places.size:
        return 0.0, 0
    with np.errstate(all="ignore"):
        unit = np.spacing(np.abs(exact[places].astype(np.float32))).astype(np.float64)
        errors = np.abs(result[places].astype(np.float64) - exact[places]) / unit
    # Above the largest number its distance to inf is no number.
    errors = np.where(np.isfinite(errors), errors, far[places])
    return float(errors.max()), int(places[np.argmax(errors)])


def measure(name, first, last, step):
    """{output: {isa: (error, y_pred, number of floats)}} of the floats with these bit patterns."""
    case, found = CASES[name], {}
    fastloss.set_num_threads(1)
    loss = case.make(reduction=None)
    for start in range(first, last, CHUNK * step):
        bits = np.arange(start, min(last, start + CHUNK * step), step, dtype=np.uint64).astype(np.uint32)
        y_pred = bits.view(np.float32)
        y_true = np.zeros_like(y_pred)
        with np.errstate(all="ignore"):
            exact = {output: function(y_pred.astype(np.float64)) for output, function in case.at_zero.items()}
        for isa in _kernels.isas():
            _kernels.set_isa(isa)
            value, gradient = loss.value_and_grad(y_true[:, None], y_pred[:, None])
            for output, result in (("value", value), ("gradient", gradient[:, 0])):
                if output not in exact:
                    continue
                error, place = worst(result, exact[output])
                old = found.setdefault(output, {}).get(isa, (-1.0, "", 0))
                new = (error, float(y_pred[place]).hex()) if error > old[0] else old[:2]
                found[output][isa] = (*new, old[2] + len(bits))
    return found


def measure_all(step, jobs):
    """{case: {output: {isa: [error, y_pred, number of floats]}}}"""
    results, size = {}, FLOATS // (4 * jobs) // step * step
    with ProcessPoolExecutor(jobs) as pool:
        for name in [name for name, case in CASES.items() if case.at_zero]:
            starts = range(0, FLOATS, size)
            parts = [pool.submit(measure, name, start, min(FLOATS, start + size), step) for start in starts]
            for part in parts:
                for output, by_isa in part.result().items():
                    for isa, new in by_isa.items():
                        old = results.setdefault(name, {}).setdefault(output, {}).get(isa, (-1.0, "", 0))
                        results[name][output][isa] = (*max(old[:2], new[:2]), old[2] + new[2])
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--step", type=int, default=1, help="take every so many floats; but for 1, nothing is written")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    options = parser.parse_args()
    results = measure_all(options.step, options.jobs)
    print(json.dumps(results, indent=1))
    if options.step == 1:
        head = {"command": "python tools/functions.py", "date": str(date.today()), "machine": cpu()}
        RECORD.write_text(json.dumps(head | {"worst": results}, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    main()
