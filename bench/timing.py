# SPDX-License-Identifier: BSD-3-Clause
"""Paired timing: all that a ratio compares runs in the same rounds, one after the other."""

import contextlib
import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

SAMPLE_SECONDS = 0.004
# Threads of OpenMP spin for so long before they sleep, and would share the cores with those of the next contestant.
SETTLING_SECONDS = 0.002
MIN_ROUNDS = 3
MAX_ROUNDS = 15


class Contestant(NamedTuple):
    """A callable, and how to make the settings that it runs under."""

    call: Callable
    context: Callable = contextlib.nullcontext


def seconds(call, calls):
    """Seconds of a call, of so many."""
    began = time.perf_counter()
    for _ in itertools.repeat(None, calls):
        call()
    return (time.perf_counter() - began) / calls


def sample(contestant, calls):
    """Seconds of a call, after others that warm the caches and outlast the threads of the contestant before."""
    with contestant.context():
        began = time.perf_counter()
        contestant.call()
        while time.perf_counter() - began < SETTLING_SECONDS:
            contestant.call()
        return seconds(contestant.call, calls)


def measure(base, contestants, budget):
    """Times and ratios of contestants.

    Args:
        base: The name of the one that the others are compared with; it takes part in every round.
        contestants: By name.
        budget: Seconds for all; one that is slow takes part in the first rounds alone, at least in three.

    Returns:
        By name: the median and the least of the seconds of a call, the median of its ratio to the base over the rounds
        that both took part in, and the number of these.
    """
    calls, rounds = {}, {}
    for name, contestant in contestants.items():
        with contestant.context():
            once = min(seconds(contestant.call, 1), seconds(contestant.call, 1))
        calls[name] = max(1, math.ceil(SAMPLE_SECONDS / once))
        share = budget / len(contestants)
        rounds[name] = min(MAX_ROUNDS, max(MIN_ROUNDS, int(share / (once * (calls[name] + 1)))))
    rounds[base] = max(rounds.values())
    samples = {name: [] for name in contestants}
    for turn in range(rounds[base]):
        for name, contestant in contestants.items():
            if turn < rounds[name]:
                samples[name].append(sample(contestant, calls[name]))
    return {
        name: {
            "seconds": rounded(statistics.median(found)),
            "least": rounded(min(found)),
            "ratio": rounded(statistics.median(mine / other for mine, other in zip(found, samples[base], strict=False))),
            "rounds": len(found),
        }
        for name, found in samples.items()
    }


def rounded(number):
    """To as many digits as a file needs."""
    return float(f"{number:.4g}")
