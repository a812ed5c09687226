# SPDX-License-Identifier: BSD-3-Clause
"""Why rows of the report miss a target, or a peer is faster: in words, since a measurement does not say."""

FASTER = {}

NOT_MET = {}
