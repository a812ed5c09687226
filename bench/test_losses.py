# SPDX-License-Identifier: BSD-3-Clause
"""Every native loss next to its peers: results are compared, then timed, in a group for each loss and operation."""

import math

import pytest

import fastloss as fl
from data import bytes_moved, fitted
from measure import native, peer, work_of
from peers import Missing, Wrong
from plan import LOSSES, NAMED_SIZES
from targets import NATIVE
from timing import seconds

ROUNDS = 15
ROUND_SECONDS = 0.004


# Other libraries warn of what is their own affair.
@pytest.mark.filterwarnings("ignore")
def test_loss(benchmark, case, operation, contestant):
    label, dtype, size = case
    work = work_of(label, dtype, fitted(LOSSES[label], NAMED_SIZES[size]))
    try:
        threads = fl.get_num_threads()
        call = native(work, operation) if contestant == NATIVE else peer(contestant, work, operation, threads)
    except Wrong:
        raise
    except Missing as reason:
        pytest.skip(f"{contestant}: {reason}")
    benchmark.group = f"{label}, {operation}, {dtype}, {work.y_pred.size:,} elements"
    if benchmark.disabled:
        benchmark(call)
        return
    config = fl.show_config()
    benchmark.extra_info.update({key: config[key] for key in ("isa", "threads", "compiler", "numpy")})
    calls = math.ceil(ROUND_SECONDS / seconds(call, 2))
    benchmark.pedantic(call, rounds=ROUNDS, iterations=calls, warmup_rounds=1)
    benchmark.extra_info["GB/s"] = bytes_moved(work, operation) / benchmark.stats.stats.median / 1e9
