# SPDX-License-Identifier: BSD-3-Clause
"""Arrays of more than 2^31 elements, and of more than 2^31 bytes from one to the next: as their parts, which repeat.

A loss of each kind of loop that needs no more memory than its arrays, which are of float16: 4.3 GB, and 2.2 GB more
for dense labels. Gradients are written in place.
"""

import math

import numpy as np
import pytest

from cases import CASES, STRUCTURED
from fastloss import _kernels

KINDS = {_kernels.registry()[name]["kind"]: case for name, case in reversed({**CASES, **STRUCTURED}.items())}
del KINDS["PAIRS"]  # packs all rows, as doubles
del KINDS["ALIGNMENT"]  # takes minutes, and runs sample by sample

PART = 2**20
TIMES = 2**11 + 1
LOGARITHMIC = ("SOFTMAX", "SPARSE_SOFTMAX", "NORMALIZE", "SPARSE_NORMALIZE")  # the loss of a row, in the sum over it

pytestmark = pytest.mark.big


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def huge(part, dtype=np.float16):
    whole = np.empty(part.size * TIMES, dtype).reshape(TIMES, *part.shape)
    assert whole.size > 2**31
    for one in whole:
        one[...] = part
    return whole


def draw(case, rows, columns, one_target=True):
    """Predictions, and the same target for each row."""
    y_true, y_pred = case.draw(np.random.default_rng(0), (rows, columns))
    y_true = y_true if case.sparse else y_true.astype(np.float16)
    return y_true[0], y_pred.astype(np.float16)


def differ(whole, part, but=None):
    """How many of the parts are not as expected, to an ulp or two of float16; an element of them apart."""
    count = 0
    for one in whole.reshape(-1, part.size):
        same = one == part.ravel()
        if but is not None:
            same[but] = True
        if not same.all():
            same |= np.isclose(one.astype("f4"), part.ravel().astype("f4"), rtol=2**-9, atol=0)
        count += not same.all()
    return count


# Rows of a whole number of blocks; two columns that lie more than 2^31 bytes apart, which are packed.
@pytest.mark.parametrize(("columns", "order"), [(1024, "C"), (2, "F")], ids=["rows", "columns apart"])
def test_many_rows(kind, columns, order, record):
    case = KINDS[kind]
    columns = case.columns or columns
    target, part = draw(case, PART // columns, columns)
    loss = case.make(reduction="sum")
    value, gradient = loss.value_and_grad(np.broadcast_to(target, (len(part), *target.shape)), part)
    if order == "C":
        whole = huge(part)
        y_pred = whole.reshape(-1, columns)
    else:
        whole = np.empty((columns, TIMES, len(part)), np.float16)
        whole[...] = part.T[:, None]
        y_pred = whole.reshape(columns, -1).T
        assert y_pred.strides[1] > 2**31
    y_true = np.broadcast_to(target, (len(y_pred), *target.shape))
    found, out = loss.value_and_grad(y_true, y_pred, out=y_pred)
    assert out is y_pred
    np.testing.assert_allclose(found, float(value) * TIMES, rtol=1e-6)
    parts = [(whole, gradient)] if order == "C" else zip(whole, gradient.T, strict=True)
    assert sum(differ(*pair) for pair in parts) == 0
    record[kind] = y_pred.size


@pytest.mark.parametrize("kind", [kind for kind, case in KINDS.items() if not case.columns], indirect=True)
def test_a_row_of_more_than_two_to_the_31(kind, record):
    """The row repeats its parts. All its targets are the same, or there is one right class, in the last part."""
    case = KINDS[kind]
    target, part = draw(case, 1, PART)
    whole = huge(part[0])
    y_pred = whole.reshape(1, -1)
    right = int(np.argsort(part[0])[PART // 2])
    place = y_pred.size - PART + right
    one_class = case.sparse or (case.row == "class" and kind != "ROW")
    if case.sparse:
        y_part, y_true = np.array([right]), np.array([place])
    elif one_class:
        y_part, y_true = np.zeros(part.shape, np.int8), np.zeros(y_pred.shape, np.int8)
        y_part[0, right] = y_true[0, place] = 1
    else:
        y_part, y_true = np.broadcast_to(target[0], part.shape), np.broadcast_to(target[0], y_pred.shape)
    # A mean divides by the columns, and a softmax by as many terms.
    shared = kind != "POINTWISE_SUM"
    # Or shares of 2^-32 would be clipped.
    loss = case.make({"epsilon": 2.0**-60} if kind in ("NORMALIZE", "SPARSE_NORMALIZE") else {}, reduction="sum")
    value = loss(y_part, part)
    _, gradient = loss.value_and_grad(y_part, part, [PART] if shared else None)
    found = loss(y_true, y_pred)
    expected = float(value) * (1 if shared else TIMES) + (math.log(TIMES) if kind in LOGARITHMIC else 0)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    record[kind] = y_pred.size
    if kind == "ROW_MAXIMUM":
        return  # its gradient is that of one of the largest
    again, out = loss.value_and_grad(y_true, y_pred, [PART * TIMES] if shared else None, out=y_pred)
    assert out is y_pred
    np.testing.assert_allclose(again, float(found) * (PART * TIMES if shared else 1), rtol=1e-6)
    assert differ(whole, gradient[0], right if one_class else None) == 0
    if one_class:
        assert y_pred[0, place] < y_pred[0, right:-PART:PART].min()
