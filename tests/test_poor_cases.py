# SPDX-License-Identifier: BSD-3-Clause
"""fastloss in the calls of poor_cases.py: right to 4 ulp, an error where that is right, or the choice that is documented."""

import numpy as np
import pytest

from poor_cases import POOR, by_fastloss, expected
from reference import mpf

ULP = 4


def distance(actual, exact):
    """In ulp of the exact number, rounded to the dtype of the result."""
    rounded = actual.dtype.type(float(exact))
    if not np.isfinite(rounded):
        return 0 if actual == rounded else np.inf
    if not np.isfinite(actual):
        return np.inf
    return float(abs(mpf(float(actual)) - mpf(exact)) / mpf(float(np.spacing(abs(rounded)))))


def test_all_are_there():
    assert sorted({poor.number for poor in POOR}) == list(range(1, 47))


@pytest.mark.parametrize("poor", POOR, ids=lambda poor: f"{poor.number}-{poor.what}")
def test_fastloss_is_right(poor, isa):
    if poor.error:
        with pytest.raises(ValueError):  # noqa: PT011 (test_errors.py reads the messages)
            by_fastloss(poor)
        return
    actual, exact = by_fastloss(poor), expected(poor)
    assert distance(actual, exact) <= ULP, f"{float(actual)!r}, expected {exact}"
