# SPDX-License-Identifier: BSD-3-Clause
"""Every native loss, and the plain NumPy formula, at sizes that fit L2, L3 and memory."""

import fastloss as fl
from data import bytes_moved, plain


def test_value(benchmark, work):
    measure(benchmark, work, lambda: work.loss(work.y_true, work.y_pred))


def test_value_and_grad(benchmark, work):
    def value_and_grad():
        return work.loss.value_and_grad(work.y_true, work.y_pred, out=work.gradient)

    measure(benchmark, work, value_and_grad, gradient=work.gradient)


def test_numpy_value(benchmark, work):
    measure(benchmark, work, lambda: plain(work.loss, work.y_true, work.y_pred), share=5)


def measure(benchmark, work, function, gradient=None, share=1):
    """Time `function`, in a table with all else on the same arguments."""
    dtype, size = work.y_pred.dtype.name, work.size
    config = fl.show_config()
    benchmark.group = f"{work.label}, {dtype}, {work.y_pred.size:,} elements"
    benchmark.extra_info.update({key: config[key] for key in ("isa", "threads", "compiler", "numpy")})
    benchmark.extra_info.update(dtype=dtype, elements=work.y_pred.size)
    benchmark.pedantic(function, rounds=size.rounds // share, iterations=size.calls, warmup_rounds=1)
    if benchmark.stats:  # not with --benchmark-disable
        moved = bytes_moved(work.y_true, work.y_pred, gradient)
        benchmark.extra_info["GB/s"] = moved / benchmark.stats.stats.median / 1e9
