# SPDX-License-Identifier: BSD-3-Clause
"""What memory layouts cost: the time of a call over that for C-contiguous arrays of the same shape, on one thread.

Inputs of a row's size, and `out`, have the layout; the labels of sparse losses stay as they are.
"""

import argparse
import re

import numpy as np

import fastloss as fl
from data import arguments
from plan import LOSSES
from targets import EXAMPLES
from timing import Contestant, measure

OPERATIONS = ("value", "value_and_grad")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="float32", choices=("float32", "float64", "float16", "bfloat16"))
    parser.add_argument("--elements", type=int, default=1 << 23, help="of y_pred, about; default: 2**23")
    parser.add_argument("--losses", default="|".join(f"^{re.escape(label)}$" for label in EXAMPLES), help="a pattern")
    parser.add_argument("--layouts", default="", help="a pattern")
    parser.add_argument("--seconds", type=float, default=0.3, help="for each figure; default: 0.3")
    options = parser.parse_args()
    losses = {label: loss for label, loss in LOSSES.items() if re.search(options.losses, label) and loss.rowwise}
    print("times of a call over that for C-contiguous arrays:", *OPERATIONS)
    print(*(f"[{i}] {label}" for i, label in enumerate(losses)), sep="\n")
    print(f"{'':44}", *(f"{f'[{i}]':>11}" for i in range(len(losses))))
    with fl.threads(1):
        for shape, layouts in LAYOUTS.items():
            shape = tuple(options.elements // -n if n < 0 else n for n in shape)
            layouts = {name: layout for name, layout in layouts.items() if re.search(options.layouts, f"{shape} {name}")}
            ratios = [table(loss, shape, layouts, options) for loss in losses.values() if layouts]
            for name in layouts:
                cells = (" ".join(f"{found[name, operation]:5.1f}" for operation in OPERATIONS) for found in ratios)
                print(f"{shape!s:22}{name:22}", *cells, sep="  ", flush=True)


def table(loss, shape, layouts, options):
    """{(layout, operation): ratio}"""
    y_true, y_pred = arguments(loss, shape, options.dtype)
    ratios = {}
    for operation in OPERATIONS:
        contestants = {
            name: Contestant(call(loss, operation, y_true, y_pred, layout))
            for name, layout in {"": np.ascontiguousarray, **layouts}.items()
        }
        found = measure("", contestants, options.seconds * len(contestants))
        ratios |= {(name, operation): found[name]["ratio"] for name in layouts}
    return ratios


def call(loss, operation, y_true, y_pred, layout):
    y_true, p = layout(y_true) if y_true.shape == y_pred.shape else y_true, layout(y_pred)
    if operation == "value":
        return lambda: loss(y_true, p)
    # What repeats elements is no output, and other byte orders are none of ours.
    out = layout(np.zeros_like(y_pred))
    out = out if out.dtype.isnative and out.flags.writeable else np.zeros_like(y_pred)
    return lambda: loss.value_and_grad(y_true, p, out=out)


def order(*axes):
    """These axes from the slowest to the fastest."""
    return lambda x: np.ascontiguousarray(x.transpose(axes)).transpose(np.argsort(axes))


def part(*slices):
    """Every second element, or the first half of twice as many, along axes."""

    def layout(x):
        wide = np.zeros([n if s == EVERY else 2 * n for n, s in zip(x.shape, slices, strict=True)], x.dtype)
        view = wide[tuple(slice(n) if s == HALF else s for n, s in zip(x.shape, slices, strict=True))]
        view[...] = x
        return view

    return layout


def backwards(*slices):
    return lambda x: np.ascontiguousarray(x[slices])[slices]


def misaligned(x):
    view = np.zeros(x.nbytes + 1, np.uint8)[1:].view(x.dtype).reshape(x.shape)
    view[...] = x
    return view


def repeated(axis):
    return lambda x: np.broadcast_to(x.take([0], axis), x.shape)


EVERY, SECOND, HALF, BACK = slice(None), slice(None, None, 2), slice(None, None, 1), slice(None, None, -1)

PLAIN = {
    "Fortran order": np.asfortranarray,
    "first half of rows": part(EVERY, HALF),
    "every second row": part(SECOND, EVERY),
    "every second column": part(EVERY, SECOND),
    "rows backwards": backwards(BACK, EVERY),
    "columns backwards": backwards(EVERY, BACK),
    "misaligned": misaligned,
    "other byte order": lambda x: x.astype(x.dtype.newbyteorder()),
    "one row": repeated(0),
    "one column": repeated(1),
}
VOLUME = {
    "Fortran order": np.asfortranarray,
    "last axis first": order(2, 0, 1),
    "last axis second": order(0, 2, 1),
    "first axis second": order(1, 0, 2),
    "axes 1 2 0": order(1, 2, 0),
    "every second column": part(EVERY, EVERY, SECOND),
}
IMAGES = {
    "Fortran order": np.asfortranarray,
    "channels first": order(0, 3, 1, 2),
    "channels slowest": order(3, 0, 1, 2),
    "axes 0 3 2 1": order(0, 3, 2, 1),
    "axes 1 2 3 0": order(1, 2, 3, 0),
    "axes 3 1 0 2": order(3, 1, 0, 2),
}
# By shape of y_pred; a negative extent: as many as make up the elements.
LAYOUTS = {
    (-1000, 1000): PLAIN,
    (-101, 101): PLAIN,
    (-10, 10): PLAIN,
    (-32768, 256, 128): VOLUME,
    (-2000, 200, 10): VOLUME,
    (-150528, 224, 224, 3): IMAGES,
    (-65536, 32, 32, 64): IMAGES,
}


if __name__ == "__main__":
    main()
