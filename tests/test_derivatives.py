# SPDX-License-Identifier: BSD-3-Clause
"""The references' gradients and Hessians against numerical derivatives of their values: no formula is trusted."""

import pytest

from cases import CASES
from exact import numbers
from reference import mp, mpf

# Far more digits than any dtype has; differentiation costs about half of the 50.
BOUND = mpf(10) ** -20

# In the middle, near zero and far out. Out of the domain of a clipped argument the derivatives are 0, and checked too.
FACTORS = (1.0, 1e-4, 50.0)


def assert_derivatives(value, at, *derivatives):
    for order, expected in enumerate(derivatives, 1):
        numerical = mp.diff(value, at, order)
        error = abs(numerical - expected.value)
        assert error <= BOUND * max(expected.scale, abs(value(at))), (
            f"derivative {order} at {mp.nstr(at, 20)}: reference {mp.nstr(expected.value, 20)}, "
            f"numerical {mp.nstr(numerical, 20)}"
        )


def check(case, parameters, y_true, y_pred):
    def reference(y, p):
        return case.reference(y, p, **parameters)

    if case.elementwise:
        pairs = zip(numbers(case.convert(y_true).ravel()), numbers(y_pred.ravel()), strict=True)
        for y, p in pairs:
            assert_derivatives(lambda x, y=y: reference(y, x)[0].value, p, *reference(y, p)[1:])
        return
    for y, row in zip(numbers(y_true), numbers(y_pred), strict=True):
        _, *derivatives = reference(y, row)
        for k, p in enumerate(row):

            def value(x, y=y, row=row, k=k):
                return reference(y, [*row[:k], x, *row[k + 1 :]])[0].value

            assert_derivatives(value, p, *(row_of[k] for row_of in derivatives))


@pytest.mark.parametrize("factor", FACTORS)
def test_derivatives_of_the_reference(variant, rng, factor):
    case, index = variant
    y_true, y_pred = case.draw(rng, (6, 4))
    check(case, case.parameters[index], y_true, y_pred * factor)


SOFT = [case for case in CASES.values() if case.soft_labels]


@pytest.mark.parametrize("case", SOFT, indirect=True, ids=lambda case: case.name)
def test_derivatives_for_soft_labels(case, rng):
    """The labels drawn for the other tests are hard."""
    _, y_pred = case.draw(rng, (6, 4))
    check(case, {}, rng.random(y_pred.shape), y_pred)
