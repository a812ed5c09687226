# SPDX-License-Identifier: BSD-3-Clause
"""The losses on CUDA devices."""
