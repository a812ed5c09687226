# SPDX-License-Identifier: BSD-3-Clause
"""The targets of speed: which losses each is about, and what is asked of the rows that serve it."""

from collections.abc import Callable
from typing import NamedTuple

CROSS_ENTROPY = ("categorical_crossentropy (from logits)", "sparse_categorical_crossentropy (from logits)")
ARITHMETIC = (
    "mean_squared_error",
    "mean_absolute_error",
    "huber",
    "smooth_l1",
    "quantile",
    "expectile",
    "hinge",
    "squared_hinge",
)
TRANSCENDENTAL = (
    "binary_crossentropy (from logits)",
    "binary_focal_crossentropy (from logits)",
    "log_cosh",
    "poisson",
)

# Of the plots by size, and wherever one of each sort is enough.
EXAMPLES = (CROSS_ENTROPY[1], TRANSCENDENTAL[0], TRANSCENDENTAL[2], ARITHMETIC[0])

NATIVE = "fastloss"
LIMIT = "limit"
SINGLE = "1 thread"
FRESH = "fresh memory"
FLOAT32 = "float32"
STRIDED = "every second row"
FORTRAN = "Fortran order"
FIRST_AXIS = "axis 0"
AVX2 = "x86-64-v3"


# Of a row: a number, or None where it has none.


def fraction(row):
    """Of the limit of memory."""
    return row.get("fraction")


def best_peer(row):
    """The fastest peer's time over that of fastloss."""
    return min((row["times"][name]["ratio"] for name in row["peers"]), default=None)


def best_peer_to_fresh(row):
    fresh = row["times"].get(FRESH)
    return best_peer(row) / fresh["ratio"] if fresh and row["peers"] else None


def peer(name):
    return lambda row: row["times"][name]["ratio"] if name in row["peers"] else None


def to_variant(name):
    """The time of fastloss over that of a variant of the call."""
    return lambda row: 1 / row["times"][name]["ratio"] if name in row["times"] else None


def variant(name):
    """The time of a variant of the call over that of the call."""
    return lambda row: row["times"][name]["ratio"] if name in row["times"] else None


def scaling(row):
    """Of threads, where memory is not the limit."""
    limited = fraction(row) is not None and fraction(row) >= 0.8
    return None if limited else variant(SINGLE)(row)


def microseconds(row):
    return 1e6 * row["times"][NATIVE]["seconds"]


def extra_memory(row):
    return row["extra_memory"]


class Criterion(NamedTuple):
    target: str
    operation: str
    what: str
    measure: Callable
    least: float | None  # or
    most: float | None
    form: str = "{:.2f}"

    def met(self, number):
        return number >= self.least if self.most is None else number <= self.most

    def wanted(self):
        sign, bound = (">=", self.least) if self.most is None else ("<=", self.most)
        return f"{sign} {self.form.format(bound)}"


TITLES = {
    "P1": "softmax cross-entropy from logits, 1000 classes or more, float32, value",
    "P2": "the same, value and gradient",
    "P3": "the same, 2 to 64 classes",
    "P4": "pointwise without exp or log, float32",
    "P5": "binary cross-entropy from logits, focal, log-cosh, Poisson, float32",
    "P6": "the losses of P1 to P5 in float64",
    "P7": "float16 and bfloat16 against float32",
    "P8": "a whole call, 32 x 10",
    "P9": "2 threads against 1, where memory is not the limit",
    "P10": "memory beside the arguments, as a share of y_pred",
    "P11": "AVX2 against AVX-512",
    "P12": "every second row against contiguous rows",
}

PERCENT = "{:.0%}"
VALUE, FUSED = "value", "value_and_grad"

CRITERIA = (
    Criterion("P1", VALUE, "of the read limit", fraction, 0.8, None, PERCENT),
    Criterion("P1", VALUE, "times the best peer", best_peer, 2.5, None),
    Criterion("P2", FUSED, "of the copy limit", fraction, 0.8, None, PERCENT),
    Criterion("P2", FUSED, "times the best peer", best_peer, 5, None),
    Criterion("P2", FUSED, "into fresh memory, times the best peer", best_peer_to_fresh, 3, None),
    Criterion("P3", VALUE, "times the best peer", best_peer, 2, None),
    Criterion("P3", FUSED, "times the best peer", best_peer, 2, None),
    Criterion("P4", VALUE, "of the read limit", fraction, 0.85, None, PERCENT),
    Criterion("P4", VALUE, "times the best peer", best_peer, 1, None),
    Criterion("P4", FUSED, "times the best peer", best_peer, 3, None),
    Criterion("P5", VALUE, "of the read limit", fraction, 0.7, None, PERCENT),
    Criterion("P5", VALUE, "times the best peer", best_peer, 3, None),
    Criterion("P5", FUSED, "times the best peer", best_peer, 4, None),
    Criterion("P6", VALUE, "of the read limit", fraction, 0.5, None, PERCENT),
    Criterion("P6", VALUE, "times the best peer", best_peer, 1, None),
    Criterion("P6", FUSED, "of the copy limit", fraction, 0.5, None, PERCENT),
    Criterion("P6", FUSED, "times the best peer", best_peer, 1, None),
    Criterion("P7", VALUE, "of the time of float32", to_variant(FLOAT32), None, 0.7),
    Criterion("P7", FUSED, "of the time of float32", to_variant(FLOAT32), None, 0.7),
    Criterion("P8", VALUE, "microseconds", microseconds, None, 1.2),
    Criterion("P8", VALUE, "times Numba without checks", peer("Numba"), 1, None),
    Criterion("P9", VALUE, "times 1 thread", scaling, 1.8, None),
    Criterion("P9", FUSED, "times 1 thread", scaling, 1.8, None),
    Criterion("P10", VALUE, "extra memory", extra_memory, None, 0.02, PERCENT),
    Criterion("P10", FUSED, "extra memory", extra_memory, None, 1.02, PERCENT),
    Criterion("P11", VALUE, "of the speed of AVX-512", to_variant(AVX2), 0.6, None, PERCENT),
    Criterion("P11", FUSED, "of the speed of AVX-512", to_variant(AVX2), 0.6, None, PERCENT),
    Criterion("P12", VALUE, "of the contiguous time", variant(STRIDED), None, 1.5),
    Criterion("P12", FUSED, "of the contiguous time", variant(STRIDED), None, 1.5),
)
