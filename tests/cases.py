# SPDX-License-Identifier: BSD-3-Clause
"""The tables of losses: one case a loss drives every test. No test knows a loss by name."""

from families import categorical, margin, probabilistic, regression, similarity
from families.structured import STRUCTURED

FAMILIES = (regression, margin, probabilistic, categorical, similarity)

CASES = {case.name: case for family in FAMILIES for case in family.CASES}

# Of losses whose samples are more than a row, which test_structured.py tests.
STRUCTURED = {case.name: case for case in STRUCTURED}

# Parameters of the fixture `variant`: (name, index of the parameters).
VARIANTS = [(name, i) for name, case in CASES.items() for i in range(len(case.parameters))]
