# SPDX-License-Identifier: BSD-3-Clause
"""The losses: a class that reduces, and a function that does not, for each; a module for each family.

`from fastloss import losses` reads like `keras.losses`.
"""

from fastloss.base import Loss, LossFunctionWrapper
from fastloss.losses import categorical, margin, probabilistic, regression, similarity, structured
from fastloss.losses.categorical import *  # noqa: F403
from fastloss.losses.margin import *  # noqa: F403
from fastloss.losses.probabilistic import *  # noqa: F403
from fastloss.losses.regression import *  # noqa: F403
from fastloss.losses.similarity import *  # noqa: F403
from fastloss.losses.structured import *  # noqa: F403
from fastloss.reduction import Reduction
from fastloss.registry import aliases, deserialize, get, native_classes, native_instances, serialize

FAMILIES = (categorical, margin, probabilistic, regression, similarity, structured)

__all__ = [
    *sorted(name for family in FAMILIES for name in family.__all__),
    "Loss",
    "LossFunctionWrapper",
    "Reduction",
    "deserialize",
    "get",
    "native_classes",
    "native_instances",
    "serialize",
]

# Short and older names, which tf.keras.losses has, too: attributes, but not listed.
globals().update(aliases())
