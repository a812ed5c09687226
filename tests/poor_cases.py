# SPDX-License-Identifier: BSD-3-Clause
"""46 calls that are known to be numerically poor, or surprising, in Keras 3.15, and what is right.

test_poor_cases.py holds fastloss to them; bench/comparison.py asks other libraries the same.
"""

import inspect
from typing import Any, NamedTuple

import ml_dtypes  # noqa: F401  names bfloat16
import numpy as np

import fastloss as fl
from cases import CASES, STRUCTURED
from exact import evaluate_rows
from reference import mp, mpf
from table import INF, NAN

BATCH = "sum_over_batch_size"
WEIGHTED = "mean_with_sample_weight"


class Poor(NamedTuple):
    """A call of a loss's class that reduces to one number."""

    number: int
    what: str
    loss: str  # class in fastloss and in Keras
    y_true: Any
    y_pred: Any
    right: Any = None  # the exact result; None: what the case's reference gives
    choice: str = ""  # why fastloss has another number: `documented`, or what the case's reference gives
    documented: Any = None
    error: bool = False  # an error is right
    gradient: bool = False  # the number is the first element of the gradient
    arguments: dict = {}  # noqa: RUF012 (never changed)
    own: dict = {}  # noqa: RUF012  arguments that only fastloss has
    dtype: str = "float32"  # of the arrays, and the constructor's if it is another one
    reduction: str = BATCH
    sample_weight: Any = None
    mask: Any = None


def arrays(poor):
    """(y_true, y_pred) in the dtype; labels stay integers."""
    y_true, y_pred = np.asarray(poor.y_true), np.asarray(poor.y_pred)
    return (y_true if y_true.dtype.kind in "iu" else y_true.astype(poor.dtype)), y_pred.astype(poor.dtype)


def options(poor):
    """Arguments of the constructor that Keras has too."""
    given = {} if poor.dtype == "float32" else {"dtype": poor.dtype}
    return {**poor.arguments, "reduction": poor.reduction, **given}


def by_fastloss(poor):
    """The number; raises what fastloss raises."""
    loss = getattr(fl, poor.loss)(**options(poor), **poor.own)
    weights = dict(sample_weight=poor.sample_weight, mask=poor.mask)
    if poor.gradient:
        return loss.value_and_grad(*arrays(poor), **weights)[1].ravel()[0]
    return loss(*arrays(poor), **weights)


def case_of(poor):
    """The row of the table of cases, for its reference."""
    defaults = {name: p.default for name, p in inspect.signature(getattr(fl, poor.loss)).parameters.items()}
    from_logits = {**defaults, **poor.arguments}.get("from_logits")
    cases = (CASES | STRUCTURED).values()
    return next(c for c in cases if c.loss == poor.loss and getattr(c, "fixed", {}).get("from_logits") == from_logits)


def by_reference(poor):
    """The mean of the reference's losses, or the first element of its gradient."""
    case, (y_true, y_pred) = case_of(poor), arrays(poor)
    parameters = {k: v for k, v in {**poor.arguments, **poor.own}.items() if k not in ("from_logits", "axis")}
    results = evaluate_rows(case, parameters, y_true, y_pred)
    if poor.gradient:
        return results["gradient"].ravel()[0].value * (case.row_factor(y_pred.shape[-1]) if case.elementwise else 1)
    return mp.fsum(x.value for x in results["value"]) / len(y_pred)


def exact(poor):
    """The exact result."""
    return by_reference(poor) if poor.right is None else poor.right


def expected(poor):
    """What fastloss must give."""
    if not poor.choice:
        return exact(poor)
    return by_reference(poor) if poor.documented is None else poor.documented


def call(number, loss, what, y_true, y_pred, **others):
    """Of one sample."""
    if np.ndim(y_pred) == 0:
        y_true, y_pred = [y_true], [y_pred]
    return Poor(number, what, loss, [y_true], [y_pred], **others)


def clipped(number, loss, what, y_true, y_pred, right, **others):
    """With the formula's epsilon, and with one that is out of the way."""
    yield call(number, loss, what, y_true, y_pred, right=right, choice="epsilon is part of the formula", **others)
    yield call(number, loss, what, y_true, y_pred, own={"epsilon": 1e-30}, **others)


LOGITS = {"from_logits": True}
ALONG_ROWS = {"axis": -1}
THIRD = 1 / 3

POOR = (
    *clipped(1, "BinaryCrossentropy", "y = 1, p = 1e-10", 1.0, 1e-10, right="23.02585"),
    *clipped(1, "BinaryCrossentropy", "its gradient", 1.0, 1e-10, right="-1e10", gradient=True),
    *clipped(2, "BinaryCrossentropy", "y = 0, p = 1", 0.0, 1.0, right=INF),
    *clipped(3, "BinaryCrossentropy", "y = 1, p = 1", 1.0, 1.0, right=0),
    *clipped(3, "CategoricalCrossentropy", "y = (0, 1), p = (0, 1)", [0.0, 1.0], [0.0, 1.0], right=0),
    call(4, "BinaryCrossentropy", "y = 1, logit -1000", 1.0, -1000.0, arguments=LOGITS),
    call(5, "BinaryCrossentropy", "y = 0, logit -20", 0.0, -20.0, arguments=LOGITS),
    call(6, "CategoricalFocalCrossentropy", "y = (1, 0), logits (0, 1000)", [1.0, 0.0], [0.0, 1000.0], arguments=LOGITS),
    call(6, "CategoricalFocalCrossentropy", "its gradient", [1.0, 0.0], [0.0, 1000.0], arguments=LOGITS, gradient=True),
    *clipped(7, "CategoricalCrossentropy", "y = (0, 1), p = (1, 1e-10)", [0.0, 1.0], [1.0, 1e-10], right="23.02585"),
    *clipped(7, "SparseCategoricalCrossentropy", "label 1, p = (1, 1e-10)", 1, [1.0, 1e-10], right="23.02585"),
    call(8, "CategoricalCrossentropy", "y = (0, 1, 0), p = (2, 6, 2)", [0.0, 1.0, 0.0], [2.0, 6.0, 2.0]),
    call(8, "SparseCategoricalCrossentropy", "label 1, p = (2, 6, 2)", 1, [2.0, 6.0, 2.0]),
    call(9, "CategoricalCrossentropy", "y = (0, 1, 0), logits (-inf, 0, 0)", [0.0, 1.0, 0.0], [-INF, 0.0, 0.0],
         arguments=LOGITS),
    call(10, "LogCosh", "e = 1e-3", 0.0, 1e-3),
    call(10, "LogCosh", "e = 1e-4", 0.0, 1e-4),
    call(11, "LogCosh", "float16, e = 0.01", 0.0, 0.01, dtype="float16"),
    call(12, "LogCosh", "e = -3e38", 0.0, -3e38),
    call(12, "LogCosh", "e = -inf", 0.0, -INF, right=INF),
    call(13, "LogCosh", "float64, e = 1e-9", 0.0, 1e-9, dtype="float64"),
    call(14, "Huber", "float16, delta = 300, e = 310", 0.0, 310.0, arguments={"delta": 300.0}, dtype="float16"),
    call(14, "Huber", "float16, delta = 200, e = 400", 0.0, 400.0, arguments={"delta": 200.0}, dtype="float16"),
    call(15, "Huber", "delta = -1, e = 2", 0.0, 2.0, arguments={"delta": -1.0}, error=True),
    call(16, "MeanAbsolutePercentageError", "y = 0, p = 1e-3", 0.0, 1e-3, right=NAN,
         choice="|y| is at least epsilon in the formula"),
    *clipped(16, "MeanAbsolutePercentageError", "y = 1e-8, p = 2e-8", 1e-8, 2e-8, right=100),
    call(17, "MeanSquaredLogarithmicError", "y = -5, p = 3", -5.0, 3.0, right=NAN,
         choice="y is at least epsilon in the formula"),
    call(17, "MeanSquaredLogarithmicError", "y = 1e8, p = 1e8 + 8", 1e8, 1e8 + 8),
    *clipped(18, "MeanSquaredLogarithmicError", "y = 1e-4, p = 0", 1e-4, 0.0, right="9.9990e-9"),
    *clipped(19, "KLDivergence", "y = (0, 1), p = (0.5, 0.5)", [0.0, 1.0], [0.5, 0.5], right="0.69314718"),
    *clipped(20, "KLDivergence", "one of 1000 against all alike", np.eye(1000)[0], np.full(1000, 1e-3), right="6.907755"),
    *clipped(21, "KLDivergence", "y = (0, 1), p = (0.9999999, 1)", [0.0, 1.0], [0.9999999, 1.0], right=0),
    call(22, "KLDivergence", "y = (0, 1), p = (0.2, 0.2)", [0.0, 1.0], [0.2, 0.2], right=NAN,
         choice="the formula does not normalise"),
    *clipped(23, "Poisson", "y = 1, p = 1e-10", 1.0, 1e-10, right="23.02585"),
    call(24, "CosineSimilarity", "(1e-8, 0) with itself", [1e-8, 0.0], [1e-8, 0.0]),
    call(25, "CosineSimilarity", "(1e20, 0) with itself", [1e20, 0.0], [1e20, 0.0]),
    call(25, "CosineSimilarity", "float16, (300, 300) with itself", [300.0, 300.0], [300.0, 300.0], dtype="float16"),
    Poor(26, "2 x 2 with itself, axis 0", "CosineSimilarity", [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [3.0, 4.0]], right=-1,
         arguments={"axis": 0}),
    call(27, "CategoricalHinge", "y = (0, 1, 0), p = (-5, -1, -4)", [0.0, 1.0, 0.0], [-5.0, -1.0, -4.0], right=0,
         choice="the maximum of (1 - y) p has the true class's 0 in it"),
    Poor(28, "y = (0, -1), p = (0.5, 0.5)", "Hinge", [[0.0], [-1.0]], [[0.5], [0.5]], right=1.5, documented=1.25,
         choice="labels are -1 and 1 unless all of them are 0 or 1"),
    call(29, "Dice", "two empty masks", [0.0, 0.0], [0.0, 0.0], right=0, choice="0 / epsilon in the formula",
         arguments=ALONG_ROWS),
    call(29, "Tversky", "two empty masks", [0.0, 0.0], [0.0, 0.0], right=0, choice="0 / epsilon in the formula",
         arguments=ALONG_ROWS),
    Poor(30, "1-D, e = (1, 2, 3), weights (0, 0, 1)", "MeanSquaredError", [0.0, 0.0, 0.0], [1.0, 2.0, 3.0], right=3,
         sample_weight=[0.0, 0.0, 1.0]),
    call(31, "CategoricalGeneralizedCrossEntropy", "q = 1e-6, p = 0.5", 0, [0.5, 0.5], arguments={"q": 1e-6}),
    call(31, "CategoricalGeneralizedCrossEntropy", "q = 1e-9, p = 0.3", 0, [0.3, 0.7], arguments={"q": 1e-9}),
    Poor(32, "float16, 70000 errors of 1", "MeanSquaredError", np.zeros((70000, 1)), np.ones((70000, 1)), right=1,
         dtype="float16"),
    Poor(33, "float16, 60000 errors of 2", "MeanSquaredError", np.zeros((60000, 1)), np.full((60000, 1), 2.0), right=4,
         dtype="float16"),
    Poor(34, "bfloat16, 100000 errors of 1", "MeanSquaredError", np.zeros((100000, 1)), np.ones((100000, 1)), right=1,
         dtype="bfloat16"),
    *clipped(35, "BinaryCrossentropy", "float16, y = 1, p = 1", 1.0, 1.0, right=0, dtype="float16"),
    call(36, "SparseCategoricalCrossentropy", "float16, label 2049 of 2050, its logit 10", 2049, 10 * np.eye(2050)[2049],
         arguments=LOGITS, dtype="float16"),
    Poor(37, "errors 1, 1, 4, weights (0, 0, 1), mean", "MeanAbsoluteError", np.zeros((3, 1)), [[1.0], [1.0], [4.0]],
         right=4, documented=mpf(4) / 3, choice="this mean divides by the number of samples", sample_weight=[0.0, 0.0, 1.0]),
    Poor(37, "the same, mean_with_sample_weight", "MeanAbsoluteError", np.zeros((3, 1)), [[1.0], [1.0], [4.0]],
         right=4, sample_weight=[0.0, 0.0, 1.0], reduction=WEIGHTED),
    Poor(38, "losses 1 to 6 of shape (2, 3), weights [[1], [2]], mean_with_sample_weight", "MeanAbsoluteError",
         np.zeros((2, 3, 1)), np.arange(1.0, 7).reshape(2, 3, 1), right=4, sample_weight=[[1.0], [2.0]], reduction=WEIGHTED),
    Poor(39, "losses 1 to 4, weight 2, mean_with_sample_weight", "MeanAbsoluteError", np.zeros((4, 1)),
         [[1.0], [2.0], [3.0], [4.0]], right=2.5, sample_weight=2.0, reduction=WEIGHTED),
    Poor(40, "losses (nan, 2), mask (no, yes), mean", "MeanAbsoluteError", np.zeros((2, 1)), [[NAN], [2.0]], right=2,
         mask=[False, True]),
    Poor(40, "the same, sum", "MeanAbsoluteError", np.zeros((2, 1)), [[NAN], [2.0]], right=2, mask=[False, True],
         reduction="sum"),
    Poor(41, "label smoothing 0.1, 3 classes along axis 1, p alike", "CategoricalCrossentropy", np.eye(3)[None, :, :2],
         np.full((1, 3, 2), 0.25), right=mp.log(3), arguments={"label_smoothing": 0.1, "axis": 1}),
    call(42, "CTC", "more labels than steps", [1, 1], np.zeros((2, 3)), right=INF),
    call(43, "MeanSquaredError", "float64, e = 1/3", 0.0, THIRD, dtype="float64"),
    Poor(44, "no samples", "MeanSquaredError", np.zeros((0, 2)), np.zeros((0, 2)), right=0),
    Poor(45, "3000000 errors of 0.1", "MeanAbsoluteError", np.zeros((3_000_000, 1)), np.broadcast_to(0.1, (3_000_000, 1)),
         right=mpf(float(np.float32(0.1)))),
    call(46, "SparseCategoricalCrossentropy", "label 255 of 3 classes", 255, [0.25, 0.5, 0.25], error=True),
)  # fmt: skip
