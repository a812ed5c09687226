# SPDX-License-Identifier: BSD-3-Clause
"""How the losses of samples become one number."""

import reprlib

import numpy as np


class Reduction:
    """Names of the reductions.

    With weighted losses ``w * l`` of the samples that no mask excludes::

        SUM_OVER_BATCH_SIZE, MEAN, AUTO   sum(w * l) / number of samples
        SUM                               sum(w * l)
        MEAN_WITH_SAMPLE_WEIGHT           sum(w * l) / sum(w)
        NONE                              w * l, one for each sample; masked ones are 0

    0 / 0 is 0. `AUTO` and `MEAN` are other names of `SUM_OVER_BATCH_SIZE`, and None is another name of
    `NONE`.
    """

    AUTO = "auto"
    NONE = "none"
    SUM = "sum"
    SUM_OVER_BATCH_SIZE = "sum_over_batch_size"
    MEAN = "mean"
    MEAN_WITH_SAMPLE_WEIGHT = "mean_with_sample_weight"

    @classmethod
    def all(cls):
        """Every accepted value.

        >>> len(Reduction.all())
        7
        """
        return tuple(CODES)

    @classmethod
    def validate(cls, reduction):
        """Raises ValueError for a reduction that is not accepted.

        >>> Reduction.validate("sum")
        """
        code(reduction)


# The numbers are those of enum fl_reduction in csrc/fastloss.h.
CODES = {
    Reduction.SUM_OVER_BATCH_SIZE: 0,
    Reduction.MEAN: 0,
    Reduction.AUTO: 0,
    Reduction.SUM: 1,
    Reduction.MEAN_WITH_SAMPLE_WEIGHT: 2,
    Reduction.NONE: 3,
    None: 3,
}
NONE = 3


def code(reduction):
    """The number of a reduction."""
    try:
        return CODES[reduction]
    except (KeyError, TypeError):
        names = ", ".join(repr(name) for name in CODES)
        raise ValueError(f"reduction: {reprlib.repr(reduction)} is unknown; expected one of {names}") from None


def denominator(kind, weight, counted):
    """What the reduction `kind` divides by; weight and counted have the shape of the losses."""
    if kind == CODES[Reduction.SUM_OVER_BATCH_SIZE]:
        return float(np.count_nonzero(counted))
    if kind == CODES[Reduction.MEAN_WITH_SAMPLE_WEIGHT]:
        return float(np.sum(weight, dtype=np.float64))
    return 1.0
