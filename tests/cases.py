# SPDX-License-Identifier: BSD-3-Clause
"""The table of losses: one LossCase a loss drives every test. No test knows a loss by name."""

from families import categorical, margin, probabilistic, regression

FAMILIES = (regression, margin, probabilistic, categorical)

CASES = {case.name: case for family in FAMILIES for case in family.CASES}

# Parameters of the fixture `variant`: (name, index of the parameters).
VARIANTS = [(name, i) for name, case in CASES.items() for i in range(len(case.parameters))]
