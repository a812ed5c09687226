# SPDX-License-Identifier: BSD-3-Clause
"""One row: fastloss, its variants, its peers and the limit of memory, on the same arrays, in turn."""

import gc
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

import fastloss as fl
import limits
from data import PEER_TOLERANCE, bytes_moved, difference, make
from fastloss import _kernels
from peers import Missing, Wrong, load
from plan import LOSSES
from targets import FIRST_AXIS, FLOAT32, FORTRAN, FRESH, LIMIT, NATIVE, SINGLE, STRIDED
from timing import Contestant, measure, rounded

# Below, the limit of memory says nothing; above, stores bypass the caches.
LEAST_LIMITED = 1 << 16
NONTEMPORAL = 1 << 25


@lru_cache(maxsize=1)
def work_of(label, dtype, shape):
    return make(label, LOSSES[label], shape, dtype)


def measure_row(row):
    """What is known of a row: a dict for JSON."""
    work = work_of(row.label, row.dtype, row.shape)
    known = {**row._asdict(), "name": row.name, "size": work.y_pred.size}
    if row.kind == "memory":
        with fl.threads(row.threads):
            return {**known, "extra_memory": extra_memory(work, row.operation), "times": {}, "peers": []}
    contestants = {NATIVE: Contestant(native(work, row.operation))}
    missing = {}
    for name in row.variants:
        try:
            contestants[name] = variant(work, row.operation, name)
        except Missing as reason:
            missing[name] = str(reason)
    peers = []
    for name in row.peers:
        try:
            contestants[name] = Contestant(peer(name, work, row.operation, row.threads))
            peers.append(name)
        except Missing as reason:
            missing[name] = str(reason)
    moved = bytes_moved(work, row.operation)
    if moved >= LEAST_LIMITED:
        limit, limit_bytes = limit_of(work, row.operation, row.threads)
        contestants[LIMIT] = Contestant(limit)
    with fl.threads(row.threads):
        times = measure(NATIVE, contestants, row.budget)
    known.update(peers=peers, times=times, missing=missing, bytes=moved)
    if LIMIT in times:
        known["fraction"] = rounded(times[LIMIT]["ratio"] * moved / limit_bytes)
    contestants.clear()
    gc.collect()
    return known


def native(work, operation):
    """fastloss's call, into given memory."""
    loss, y_true, y_pred = work.loss, work.y_true, work.y_pred
    if operation == "value":
        return partial(loss, y_true, y_pred)
    if operation == "value_and_grad":
        return partial(loss.value_and_grad, y_true, y_pred, out=work.gradient)
    outs = np.empty_like(y_pred), np.empty_like(y_pred)
    return partial(loss.grad_and_hess, y_true, y_pred, out=outs)


def variant(work, operation, name):
    """fastloss's call, done in another way."""
    if name == SINGLE:
        return Contestant(native(work, operation), partial(fl.threads, 1))
    if name == FRESH:
        return Contestant(partial(work.loss.value_and_grad, work.y_true, work.y_pred))
    if name == FLOAT32:
        return Contestant(native(converted(work, np.float32), operation))
    if name in LAYOUTS:
        return Contestant(native(LAYOUTS[name](work), operation))
    if name not in _kernels.isas():
        raise Missing(f"{name} is not to be had here")
    return Contestant(native(work, operation), partial(instruction_set, name))


def converted(work, dtype):
    y_true = work.y_true if work.y_true.dtype.kind in "iu" else work.y_true.astype(dtype)
    y_pred = work.y_pred.astype(dtype)
    return work._replace(y_true=y_true, y_pred=y_pred, gradient=np.empty_like(y_pred))


def strided(work):
    """The rows, each followed by one that is not looked at."""

    def spread(array):
        return np.repeat(array, 2, axis=0)[::2]

    return work._replace(y_true=spread(work.y_true), y_pred=spread(work.y_pred), gradient=spread(work.gradient))


def fortran(work):
    arrays = {name: np.asfortranarray(getattr(work, name)) for name in ("y_true", "y_pred", "gradient")}
    return work._replace(**arrays)


def first_axis(work):
    """The same samples, as the columns."""
    config = work.loss.get_config()
    if "axis" not in config:
        raise Missing("no argument axis")
    loss = type(work.loss)(**{**config, "axis": 0})
    arrays = {name: np.ascontiguousarray(getattr(work, name).T) for name in ("y_true", "y_pred", "gradient")}
    return work._replace(loss=loss, **arrays)


LAYOUTS = {STRIDED: strided, FORTRAN: fortran, FIRST_AXIS: first_axis}


@contextmanager
def instruction_set(name):
    before = _kernels.get_isa()
    _kernels.set_isa(name)
    try:
        yield
    finally:
        _kernels.set_isa(before)


def peer(name, work, operation, threads):
    """A peer's call, its results compared.

    Raises:
        Missing: It has no such call.
        Wrong: The call fails, or its results are not those of fastloss.
    """
    adapter = load(name)
    call = adapter.prepare(work, operation, threads)
    try:
        error = difference(work, operation, adapter.arrays(call()))
    except Exception as failure:  # of any library, which has its own
        reason = str(failure).strip().partition("\n")[0][:100]
        raise Wrong(f"{type(failure).__name__}: {reason}") from failure
    if not error <= PEER_TOLERANCE[work.y_pred.dtype.name]:
        raise Wrong(f"its results differ by {error:.1g}")
    return call


def limit_of(work, operation, threads):
    """What memory allows: a read of the inputs, or copies of y_pred, by stores that bypass caches if it is large."""
    if operation == "value":
        return limits.read([work.y_true, work.y_pred], threads)
    target = limits.aligned(work.y_pred.nbytes)
    return limits.copy(target, work.y_pred, threads, nontemporal=work.y_pred.nbytes >= NONTEMPORAL)


def extra_memory(work, operation):
    """The peak of a call above what was there before, as a share of y_pred: as Linux has it, else None."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def resident(key):
        line = next(line for line in status.read_text().splitlines() if line.startswith(key))
        return 1024 * int(line.split()[1])

    call = partial(work.loss.value_and_grad, work.y_true, work.y_pred) if operation != "value" else native(work, operation)
    call()
    gc.collect()
    try:
        reset.write_text("5")
        before = resident("VmRSS")
        call()
        return rounded(max(0, resident("VmHWM") - before) / work.y_pred.nbytes)
    except OSError:
        return None


def machine_limits(sizes, thread_counts):
    """GB/s of reads and copies of arrays of so many bytes, at best."""
    found = []
    for size in sizes:
        source, target = limits.aligned(size), limits.aligned(size)
        source[:], target[:] = 1, 0
        for threads in thread_counts:
            runs = {
                "read": limits.read([source], threads),
                "copy": limits.copy(target, source, threads, nontemporal=False),
                "non-temporal copy": limits.copy(target, source, threads, nontemporal=True),
            }
            times = measure("read", {name: Contestant(run) for name, (run, _) in runs.items()}, budget=0.6)
            speeds = {name: rounded(moved / times[name]["least"] / 1e9) for name, (_, moved) in runs.items()}
            found.append({"bytes": size, "threads": threads, "GB/s": speeds})
    return found
