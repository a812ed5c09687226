# SPDX-License-Identifier: BSD-3-Clause
"""Loss functions with gradients and Hessians: fast, accurate, with Keras's names and semantics."""

from fastloss import cuda, losses
from fastloss._kernels import get_num_threads, set_num_threads
from fastloss._validate import InputError
from fastloss.config import get_cmake_dir, get_include, show_config, threads
from fastloss.losses import *  # noqa: F403
from fastloss.losses import __all__ as _names
from fastloss.losses import aliases as _aliases

__version__ = "0.1.0"

__all__ = [
    *_names,
    "InputError",
    "cuda",
    "get_cmake_dir",
    "get_include",
    "get_num_threads",
    "losses",
    "set_num_threads",
    "show_config",
    "threads",
]

globals().update(_aliases())
