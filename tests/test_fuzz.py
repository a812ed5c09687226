# SPDX-License-Identifier: BSD-3-Clause
"""A short run of tools/fuzz.py, which runs for longer and under sanitizers: odd layouts do what plain copies do."""

import pytest

import fuzz
from fastloss import _kernels


@pytest.fixture(autouse=True)
def _isa():
    used = _kernels.get_isa()
    yield
    _kernels.set_isa(used)


def test_bytes_at_random(seed):
    counts = fuzz.run(20_000, seed)
    # Most calls are to be computed, and each loss to be met.
    assert counts["computed"] > 10_000
    assert {case.name for case, _ in fuzz.VARIANTS} <= counts.keys()


def test_corpus():
    """What coverage guided the tool to."""
    inputs = fuzz.corpus()
    assert inputs
    for data in inputs:
        fuzz.execute(data)


def test_what_it_notices(monkeypatch):
    """A call that gives other bits, writes where it may not, or passes over an error is found."""
    call = fuzz.call

    def spoil(change):
        def spoilt(method, loss, function, arrays, out):
            results = call(method, loss, function, arrays, out)
            # The arrays that are plain are called first.
            spoilt.calls += 1
            return change(results, arrays) if spoilt.calls % 2 == 0 else results

        spoilt.calls = 0
        return spoilt

    def other_bits(results, arrays):
        return [*results[:-1], results[-1] + 1]

    def overwritten(results, arrays):
        for array in arrays.values():
            if hasattr(array, "flags") and array.flags.writeable and array.size:
                array.view(array.dtype.newbyteorder("="))[...] = 1
        return results

    def refused(results, arrays):
        raise ValueError("y_pred: refused")

    for change in (other_bits, overwritten, refused):
        monkeypatch.setattr(fuzz, "call", spoil(change))
        with pytest.raises(fuzz.Finding):
            fuzz.run(1000, 0)
