# SPDX-License-Identifier: BSD-3-Clause
"""Microseconds of small calls, 32 x 10: what a call checks and prepares, beside a kernel that has little to do.

A figure is the least of many short rounds, in each of which everything runs once. The reference checks nothing: the mean
over the rows of log(sum(exp(logits))) - logits[label] as one loop by Numba, if that is installed.

With --threads: microseconds of the value with one thread and with two, by elements, one call after the other and after a
pause in which the threads fall asleep.
"""

import argparse
import inspect
import math
import time
import timeit

import numpy as np
from tqdm import tqdm

import fastloss as fl
from data import arguments, fitted, label, normal

SHAPE = (32, 10)
PAUSE = 0.005  # seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64"))
    parser.add_argument("--rounds", type=int, default=40, help="default: 40")
    parser.add_argument("--calls", type=int, default=500, help="in a round; default: 500")
    parser.add_argument("--threads", action="store_true", help="from where on do threads pay?")
    options = parser.parse_args()
    if options.threads:
        return print_threads(options)
    work = {
        name: calls(loss, *arguments(loss, shape, options.dtype))
        for name, loss in fl.losses.native_instances()
        if math.prod(shape := fitted(loss, SHAPE)) <= math.prod(SHAPE)
    }
    columns = list(dict.fromkeys(column for row in work.values() for column in row))
    if reference := numba_reference(options.dtype):
        work["(bare Numba)"] = {columns[0]: reference}
    times = measure(work, options)
    width = max(map(len, work))
    print(" " * width, *columns, sep="  ")
    for name, row in times.items():
        print(f"{name:{width}}", *(f"{row[column]:{len(column)}.2f}" for column in columns if column in row), sep="  ")


def calls(loss, y_true, y_pred):
    """What is measured of a loss."""
    cls, function = type(loss), type(loss).function
    variant = {"from_logits": True} if getattr(loss, "from_logits", False) else {}
    # The function has all arguments of the class; what it has no default for is the class's.
    parameters = list(inspect.signature(function).parameters.values())[2:]
    required = {p.name: getattr(loss, p.name) for p in parameters if p.default is p.empty}
    weight, out = np.ones_like(loss.call(y_true, y_pred)), np.empty_like(y_pred)
    return {
        "call": lambda: loss(y_true, y_pred),
        "weights": lambda: loss(y_true, y_pred, weight),
        "value and gradient": lambda: loss.value_and_grad(y_true, y_pred),
        "into out": lambda: loss.value_and_grad(y_true, y_pred, out=out),
        "function": lambda: function(y_true, y_pred, **required, **variant),
        "new and call": lambda: cls(**variant)(y_true, y_pred),
    }


def numba_reference(dtype):
    """The reference, compiled, or None."""
    try:
        import numba
    except ImportError:
        return None

    @numba.njit
    def mean(labels, logits):
        total = 0.0
        for i in range(logits.shape[0]):
            highest, others = logits[i, 0], 0.0
            for j in range(1, logits.shape[1]):
                highest = max(highest, logits[i, j])
            for j in range(logits.shape[1]):
                others += np.exp(logits[i, j] - highest)
            total += np.log(others) + highest - logits[i, labels[i]]
        return total / logits.shape[0]

    rng = np.random.default_rng(0)
    labels, logits = label(rng, SHAPE, dtype), normal(rng, SHAPE, dtype)
    return lambda: mean(labels, logits)


def measure(work, options):
    """Least microseconds of each."""
    times = {name: dict.fromkeys(row, np.inf) for name, row in work.items()}
    for _ in tqdm(range(options.rounds), unit="round", disable=None):
        for name, row in work.items():
            for column, function in row.items():
                seconds = timeit.timeit(function, number=options.calls)
                times[name][column] = min(times[name][column], seconds / options.calls * 1e6)
    return times


def print_threads(options):
    """The table of --threads."""
    rows = [2**k for k in range(8, 14)]
    print("elements", *(f"{100 * n:>21}" for n in rows))
    for name, loss in fl.losses.native_instances():
        if not loss.rowwise:
            continue
        for pause in (0, PAUSE):
            cells = []
            for n in rows:
                y_true, y_pred = arguments(loss, (n, 100), options.dtype)
                times = {1: [], 2: []}
                for _ in range(options.rounds):
                    for threads, found in times.items():
                        with fl.threads(threads):
                            time.sleep(pause)
                            start = time.perf_counter()
                            loss(y_true, y_pred)
                            found.append((time.perf_counter() - start) * 1e6)
                one, two = (min(found) for found in times.values())
                cells.append(f"{one:7.1f} {two:7.1f} {one / two:5.2f}")
            print(name, "(asleep)" if pause else "", *cells, sep="  ", flush=True)


if __name__ == "__main__":
    main()
