# SPDX-License-Identifier: BSD-3-Clause
"""Losses whose terms belong together. Their cases have tests of their own: a sample is more than a row of elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

import reference
from reference import mp, mpf
from table import INF, NAN, Bad, Bounds


class Call(NamedTuple):
    """A call and what it must give; an output that is None is not pinned."""

    y_true: Any
    y_pred: Any
    values: Any = None
    gradient: Any = None
    parameters: dict = {}  # noqa: RUF012 (never changed)


class Refused(NamedTuple):
    """A call that must be refused, and words of its message."""

    y_true: Any
    y_pred: Any
    words: tuple


@dataclass(frozen=True)
class StructuredCase(Bounds):
    name: str  # row of the registry
    loss: str  # class in fastloss.losses
    handle: str  # function in fastloss.losses
    reference: Callable  # (y_true, y_pred, weight, **parameters), lists -> values, gradients of the weighted sum
    samples: Callable  # (rng, dtype) -> [(y_true, y_pred)]
    draw: Callable  # (rng, size) -> (y_true, y_pred), float64, a batch of this size
    large: int  # size of a batch that uses threads
    counted: Callable  # y_true -> which samples count in a mean
    element: Callable  # reference of the element function
    element_inputs: tuple  # of its arguments
    parameters: tuple = ({},)
    independent: bool = True  # the samples of a batch
    hessian: bool = False
    ulps: dict = field(default_factory=dict)  # as in LossCase
    because: str = ""
    cancels: str = ""
    specials: tuple = ()
    refused: tuple = ()
    bad: tuple = ()

    def make(self, parameters=None, **arguments):
        import fastloss.losses

        return getattr(fastloss.losses, self.loss)(**(parameters or {}), **arguments)

    def function(self, parameters=None):
        import fastloss.losses

        handle = getattr(fastloss.losses, self.handle)
        return lambda *arrays, **named: handle(*arrays, **named, **(parameters or {}))


# Alignments


def ctc_reference(y_true, y_pred, weight):
    results = [reference.ctc(labels, steps) for labels, steps in zip(y_true, y_pred, strict=True)]
    gradients = [
        [[g.times(w) for g in step] for step in gradient]
        for (_, gradient), w in zip(results, weight, strict=True)
    ]
    return [value for value, _ in results], gradients


def padded(rows, width):
    return np.array([[*row, *[0] * (width - len(row))] for row in rows], np.int64).reshape(len(rows), width)


def ctc_labels(rng, count, width, classes):
    rows = [rng.integers(1, classes, rng.integers(0, width + 1)) if classes > 1 else [] for _ in range(count)]
    return padded(rows, width)


def ctc_sure(rng, labels, steps, classes, lead):
    """Logits that are sure of an alignment of the labels."""
    spots = np.sort(rng.choice(steps, 2 * len(labels), replace=False))[::2]
    z = rng.integers(-3, 1, (steps, classes)).astype(float)
    path = np.zeros(steps, int)
    path[spots] = labels
    z[np.arange(steps), path] = lead
    return z


def ctc_samples(rng, dtype):
    out = []
    # By all alignments (few steps and classes), and by the recursion.
    sizes = (1, 2, 1), (2, 3, 2), (3, 3, 3), (4, 4, 2), (5, 3, 2), (7, 2, 3), (12, 5, 5), (40, 30, 12)
    for steps, classes, width in sizes:
        count = 6 if steps < 12 else 4
        y = ctc_labels(rng, count, width, classes)
        for spread in (1, 5, 30):
            out.append((y, rng.normal(0, spread, (count, steps, classes))))
        out.append((y, np.zeros((count, steps, classes))))
        excluded = rng.normal(0, 1, (count, steps, classes))
        excluded[rng.random(excluded.shape) < 0.1] = -INF
        excluded[..., 0] = 0
        out.append((y, excluded))
    leads = [5.0, 20.0, 50.0, 80.0] + ([300.0, 700.0] if dtype.itemsize == 8 else [])
    rows = [rng.integers(1, 9, k) for k in (1, 3, 5, 0, 4, 2)[: len(leads)]]
    sure = np.stack([ctc_sure(rng, row, 14, 9, lead) for row, lead in zip(rows, leads, strict=True)])
    out.append((padded(rows, 5), sure))
    # More classes than a block; more steps than digits would last if the logarithms grew with them.
    out.append((padded([[1999, 5], [7, 7]], 3), rng.normal(0, 2, (2, 4, 2000))))
    out.append((ctc_labels(rng, 1, 40, 4), rng.normal(0, 4, (1, 300, 4))))
    out.append((np.zeros((2, 3), int), rng.normal(0, 1, (2, 5, 1))))
    return [(y, p.astype(dtype)) for y, p in out]


def ctc_draw(rng, size):
    steps, classes, width = 11, 5, 4
    return ctc_labels(rng, size, width, classes), rng.normal(0, 2, (size, steps, classes))


def log_add(stay, advance, skip, emission):
    return (mp.log(mp.exp(stay) + mp.exp(advance) + mp.exp(skip)) + emission,)


LOG2 = 0.6931471805599453
SPOILT = np.zeros((1, 3, 3))
SPOILT[0, 1, 2] = NAN
EXCLUDED = np.zeros((1, 2, 3))
EXCLUDED[0, :, 1] = -INF

CTC = StructuredCase(
    name="ctc",
    cancels="in float64 logarithms of alignments are rounded at the size of the cost, and posteriors are their exponentials",
    loss="CTC",
    handle="ctc",
    reference=ctc_reference,
    samples=ctc_samples,
    draw=ctc_draw,
    large=1501,
    counted=lambda y_true: np.ones(len(y_true), bool),
    element=log_add,
    element_inputs=(
        (-0.5, -1.0, -2.0, -0.25), (-3.0, -INF, -INF, -1.0), (-INF, -700.0, -701.0, 0.0), (-1e-20, -50.0, -60.0, -1e-20),
        (-5.0, -5.0, -5.0, -5.0), (-INF, -INF, -2.0, 0.0), (0.0, -40.0, -INF, -30.0),
    ),
    specials=(
        # Nothing to align; one blank; labels that need more steps than there are, with one between equal ones.
        Call(np.zeros((2, 0), int), np.zeros((2, 0, 3)), [0, 0], np.zeros((2, 0, 3))),
        Call([[1]], np.zeros((1, 0, 3)), [INF], np.zeros((1, 0, 3))),
        Call([[0]], np.zeros((1, 1, 2)), [LOG2], [[[-0.5, 0.5]]]),
        Call([[1, 2, 0]], np.zeros((1, 1, 3)), [INF], np.zeros((1, 1, 3))),
        Call([[1, 1]], np.zeros((1, 2, 2)), [INF], np.zeros((1, 2, 2))),
        Call([[1, 1]], np.zeros((1, 3, 2)), [3 * LOG2], [[[0.5, -0.5], [-0.5, 0.5], [0.5, -0.5]]]),
        Call([[1]], EXCLUDED, [INF], np.zeros((1, 2, 3))),
        Call([[2, 2]], SPOILT, [NAN], None),
        Call([[2]], np.full((1, 2, 3), -INF), [NAN], np.full((1, 2, 3), NAN)),
        Call([[1]], [[[0.0, INF]]], [NAN], None),
    ),
    refused=(
        Refused(np.zeros(3, int), np.zeros((3, 4, 5)), ("y_true", "3", "4", "5", "labels", "time", "classes")),
        Refused(np.zeros((3, 2), int), np.zeros((3, 5)), ("y_pred", "3", "5", "time")),
        Refused(np.zeros((3, 2, 1), int), np.zeros((3, 4, 5)), ("y_true", "labels")),
        Refused(np.zeros((2, 2), int), np.zeros((3, 4, 5)), ("y_true", "2", "3", "4", "5")),
        Refused(np.zeros((2, 2), int), np.zeros((2, 4, 0)), ("y_pred", "0", "classes")),
        Refused([[1, 2], [1, 5]], np.zeros((2, 4, 5)), ("y_true", "5", "(1, 1)", "0 to 4")),
        Refused([[1, 2], [-1, 0]], np.zeros((2, 4, 5)), ("y_true", "-1", "(1, 0)", "0 to 4")),
        Refused([[1.0, 2.5], [1, 0]], np.zeros((2, 4, 5)), ("y_true", "2.5", "(0, 1)")),
        Refused([[1.0, NAN], [1, 0]], np.zeros((2, 4, 5)), ("y_true", "nan", "(0, 1)")),
        Refused([[1, 2, 0], [3, 0, 1]], np.zeros((2, 4, 5)), ("y_true", "1", "(1, 2)", "padding")),
        Refused(np.array([[0, 2**63]], np.uint64), np.zeros((1, 4, 5)), ("y_true", str(2**63), "(0, 1)")),
    ),
)  # fmt: skip


# Pairs


def circle_samples(rng, dtype):
    out = []

    def add(labels, embeddings):
        out.append((np.asarray(labels), np.asarray(embeddings)))

    def unit(n, width, groups, noise):
        labels = rng.integers(0, groups, n)
        centres = rng.normal(size=(groups, width))
        e = centres[labels] + noise * rng.normal(size=(n, width))
        return labels, e / np.linalg.norm(e, axis=-1, keepdims=True)

    for n, width, groups in ((2, 3, 2), (5, 2, 2), (9, 1, 3), (17, 33, 4)):
        for noise in (0.1, 1.0):  # well told apart; mixed up
            add(*unit(n, width, groups, noise))
    labels, e = unit(11, 4, 3, 0.7)
    add(labels, 2 * e)  # similarities beyond 1 and below -margin
    add(labels, 0.05 * e)
    add(labels - 2**62, e)  # labels that are no float
    add(np.full(6, 3), e[:6])  # no negatives
    add(np.arange(6), e[:6])  # no positives
    add([1, 1, 2, 2, 3, 1], [[1, 0], [0, 1], [1, 0], [-1, 0], [0.25, 0.5], [1, 0]])
    add(labels, np.zeros((11, 3)))
    add([0, 1, 0], np.zeros((3, 0)))
    add(rng.integers(0, 5, 70), rng.normal(0, 0.5, (70, 2)))  # more references than are taken at a time
    return [(y, p.astype(dtype)) for y, p in out]


def circle_draw(rng, size):
    e = rng.normal(size=(size, 6))
    return rng.integers(-2, 3, size), e / np.linalg.norm(e, axis=-1, keepdims=True)


def circle_counted(y_true):
    """With a positive and a negative, if no sample is a reference of itself."""
    same = np.asarray(y_true)[:, None] == np.asarray(y_true)
    return (same.sum(axis=1) > 1) & ~same.all(axis=1)


def circle_pair(similarity, gamma=80.0, margin=0.4):
    d = max(1 - similarity, mpf(0))
    gamma, margin = mpf(gamma), mpf(margin)
    reach = 1 + margin - d
    return (
        gamma * (margin + d) * (d - margin),
        -2 * gamma * d,
        gamma * max(reach, 0) * (1 - margin - d),
        2 * gamma * (1 - d) if reach > 0 and similarity <= 1 else mpf(0),
    )


SPOILT_BATCH = np.eye(4)
SPOILT_BATCH[1, 2] = NAN
FAR = np.array([[1.0, 0.0], [-INF, 1.0], [0.5, 1.0]])

CIRCLE = StructuredCase(
    name="circle",
    cancels="in float64 exponents are gamma times squares of cosines, and their rounding errors become relative ones",
    loss="Circle",
    handle="circle",
    reference=reference.circle,
    samples=circle_samples,
    draw=circle_draw,
    large=263,
    counted=circle_counted,
    element=circle_pair,
    element_inputs=((0.3,), (-0.2,), (-0.75,), (0.999,), (1.5,), (-3.0,), (0.6,), (1e-9,), (0.0,)),
    parameters=({}, {"gamma": 4.0, "margin": 0.25}, {"remove_diagonal": False}, {"margin": 0.0}, {"margin": 1.0}),
    independent=False,
    specials=(
        # Measured with Keras.
        Call([0, 0, 1, 1], [[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]], None, None),
        Call([7], [[1.0, 0.0]], [0], [[0, 0]]),
        Call([0, 1, 0, 1], SPOILT_BATCH, [NAN] * 4, np.full((4, 4), NAN)),
        # A positive that is infinitely far away.
        Call([0, 0, 1], FAR, [INF, INF, 0], None),
        # Without dimensions every distance is 1: P + Q = gamma (1 - m^2) - gamma m^2 = 2.
        Call([0, 1, 0], np.zeros((3, 0)), [2.1269280110429727, 0, 2.1269280110429727], np.zeros((3, 0)),
             {"margin": 0.5, "gamma": 4.0}),
    ),
    refused=(
        Refused([0, 1], np.zeros((3, 2)), ("y_true", "2", "3")),
        Refused([0, 1, 2], np.zeros(3), ("y_pred", "3", "embeddings")),
        Refused([0, 1, 2], np.zeros((3, 2, 1)), ("y_pred", "3", "2", "embeddings")),
        Refused(np.zeros((3, 2), int), np.zeros((3, 2)), ("y_true", "3", "2", "labels")),
        Refused(np.zeros((1, 3), int), np.zeros((3, 2)), ("y_true", "1", "3", "labels")),
        Refused(3, np.zeros((3, 2)), ("y_true", "labels")),
        Refused([0, 1, 0.5], np.zeros((3, 2)), ("y_true", "0.5", "(2,)", "integer")),
        Refused([0, NAN, 1], np.zeros((3, 2)), ("y_true", "nan", "(1,)", "integer")),
        Refused(np.array([0, 2**63], np.uint64), np.zeros((2, 2)), ("y_true", str(2**63), "(1,)", "integer")),
    ),
    bad=(
        Bad("gamma", 0.0), Bad("gamma", -1.0), Bad("gamma", NAN), Bad("gamma", "x"), Bad("margin", -0.1), Bad("margin", 1.5),
        Bad("margin", NAN), Bad("margin", "x"), Bad("remove_diagonal", 1), Bad("remove_diagonal", "yes"),
    ),
)  # fmt: skip

STRUCTURED = (CTC, CIRCLE)
