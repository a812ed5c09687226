# SPDX-License-Identifier: BSD-3-Clause
"""Memory: what a call reads and writes, what it needs and gives back, what it does when there is none; huge arrays.

What may crash runs in a process of its own: this file as a script, with the name of a function and its arguments.
"""

import ctypes
import functools
import gc
import itertools
import math
import mmap
import os
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import fastloss as fl
import process
from cases import CASES, STRUCTURED
from fastloss import _kernels

ALL = {**CASES, **STRUCTURED}
HERE = Path(__file__).resolve()
PATTERN = 0xA5
STREAMED = (6_000_011, 3)  # outputs of more elements than caches hold bytes for


@pytest.fixture(params=ALL)
def name(request):
    return request.param


@pytest.fixture(scope="session")
def allocator(tmp_path_factory):
    """The environment in which tests/allocator.c does the work."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("allocator") / "allocator.so"
    source = HERE.with_name("allocator.c")
    subprocess.run([compiler, "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", source, "-o", library], check=True)
    return {"LD_PRELOAD": str(library)}


script = functools.partial(process.script, HERE)


def batch(name, shape, dtype=np.float32):
    """y_true, y_pred and a weight of each sample; of losses of a structure as many samples as they have tests for."""
    case, rng = ALL[name], np.random.default_rng(0)
    if name in STRUCTURED:
        y_true, y_pred = case.draw(rng, min(shape[0], case.large))
        return y_true, y_pred.astype(dtype), np.resize(np.arange(5, dtype=np.float32), len(y_pred))
    if case.columns:
        # As many elements in other rows.
        shape = (*shape[:-2], math.prod(shape[-2:]) // case.columns + 1, case.columns)
    y_true, y_pred = case.draw(rng, (101, shape[-1]))
    y_true, y_pred = (np.resize(a, (*shape[:-1], *a.shape[1:])) for a in (y_true, y_pred))
    weight = np.resize(np.arange(5, dtype=np.float32), shape[:-1])
    return (y_true if case.sparse else y_true.astype(dtype)), y_pred.astype(dtype), weight


def ways(name):
    """How a loss is evaluated: (number of outputs, (y_true, y_pred, weight, outputs) -> results)."""
    for loss in (ALL[name].make(), ALL[name].make(reduction=None)):
        yield 0, lambda y, p, w, out, loss=loss: [loss(y, p, w)]
        yield 1, lambda y, p, w, out, loss=loss: loss.value_and_grad(y, p, w, out=out[0])
    if loss.has_hessian:
        yield 2, lambda y, p, w, out: loss.grad_and_hess(y, p, w, out=tuple(out))


def same(results, expected):
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(results, expected, strict=True))


# Layouts


def as_is(a):
    return a


def strided(a):
    wide = np.zeros([2 * n for n in a.shape], a.dtype)
    view = wide[(slice(None, None, 2),) * a.ndim]
    view[...] = a
    return view


def backwards(a):
    return np.flip(np.flip(a).copy())


def rows_apart(a):
    return np.concatenate([a, a], -1)[..., : a.shape[-1]]


def channels_first(a):
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, -1, min(1, a.ndim - 1))), min(1, a.ndim - 1), -1)


LAYOUTS = (as_is, strided, backwards, rows_apart, np.asfortranarray, channels_first)


# Nothing outside of the arrays is touched


class Guarded:
    """A copy of an array, strides and all, that begins or ends where memory does that may not be touched."""

    def __init__(self, array, at_end, misaligned=False):
        low, high = np.lib.array_utils.byte_bounds(array)
        page, size = mmap.PAGESIZE, high - low + misaligned
        pages = -(-size // page)
        self.area = mmap.mmap(-1, (pages + 2) * page)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.area))
        for edge in (0, pages + 1):
            if ctypes.CDLL(None).mprotect(ctypes.c_void_p(address + edge * page), page, 0):
                raise OSError("mprotect")
        self.bytes = np.frombuffer(self.area, np.uint8, pages * page, page)
        self.bytes[...] = PATTERN
        start = pages * page - size if at_end else int(misaligned)
        first = self.bytes[start + array.ctypes.data - low :][: array.itemsize].view(array.dtype)
        self.array = np.lib.stride_tricks.as_strided(first, array.shape, array.strides)
        self.array[...] = array

    def is_intact(self):
        """Whether there is nothing but the array in the pages; the array is spoilt."""
        pattern = np.full(self.array.itemsize, PATTERN, np.uint8).view(self.array.dtype)[0]
        self.array[...] = pattern
        return (self.bytes == PATTERN).all()


def guarded_calls(name, shape, dtype, layout, misaligned, swapped=False):
    """Evaluates a loss between pages that may not be touched: the number of calls."""
    given, count = batch(name, shape, dtype), 0
    for outputs, call in ways(name):
        expected = [np.array(a) for a in call(*given, [None] * outputs)]
        for at_end, in_place in itertools.product((False, True), (False, True)[: 1 + (outputs == 1)]):
            order = (lambda a: a.astype(a.dtype.newbyteorder())) if swapped and not in_place else as_is
            inputs = [Guarded(order(layout(a)), at_end, misaligned) for a in given]
            out = [inputs[1]] if in_place else [Guarded(layout(given[1]), at_end, misaligned) for _ in range(outputs)]
            results = call(*(a.array for a in inputs), [a.array for a in out])
            assert same(results, expected), (shape, dtype, layout, outputs)
            for a, before in zip(inputs, given, strict=True):
                assert a in out or np.array_equal(a.array, before)
            assert all(a.is_intact() for a in {*inputs, *out}), (shape, dtype, layout, outputs)
            count += 1
    return count


# One element, less and more than a vector, a block, a task; rows that are packed in lines beside each other.
GUARDED = ((1, 1), (9, 1), (37, 3), (301, 7), (6, 1030), (2, 2503), (4, 3, 5), (70, 9, 4), (2, 3, 17, 33))


def guards(name):
    count = 0
    best, *others = _kernels.isas()
    for isa in (*others, best):
        _kernels.set_isa(isa)
        for shape, layout in itertools.product(GUARDED if name in CASES else [(9,)], LAYOUTS if isa == best else [as_is]):
            count += guarded_calls(name, shape, "f4", layout, False)
            if isa == best:
                count += guarded_calls(name, shape, "f4", layout, True, swapped=True)
                count += sum(guarded_calls(name, shape, dtype, layout, False) for dtype in ("f8", "f2"))
    with fl.threads(2):
        for shape, layout in itertools.product([(20_011, 3), (1, 90_001)], (as_is, np.asfortranarray, strided)):
            count += guarded_calls(name, shape, "f4", layout, False)
    return {"calls": count}


@pytest.mark.skipif(sys.platform != "linux", reason="protects pages")
def test_nothing_outside_of_the_arrays_is_touched(name, record):
    record.update(script("guards", name))


def streamed_guards(name):
    return {"calls": guarded_calls(name, STREAMED if name in CASES else (9,), "f4", as_is, False)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="protects pages")
def test_nothing_outside_of_the_arrays_is_touched_past_the_caches(name, record):
    record.update(script("streamed_guards", name, timeout=600))


# No memory


def allocations(name, *dtypes):
    """Fails each allocation of each call in turn. Counts calls, and how they ended."""
    library, found = ctypes.CDLL(None), {"calls": 0, "no memory": 0, "did without": 0}
    # So many tasks that their sums need memory; long rows; scattered ones.
    shapes = [((70_001, 17), as_is), ((9_001, 17), np.asfortranarray), ((40, 2503), as_is), ((101, 11, 33), channels_first)]
    for (shape, layout), dtype in itertools.product(shapes if name in CASES else [((9999,), as_is)], dtypes):
        y, p, w = (layout(a) for a in batch(name, shape, dtype))
        for (outputs, call), weight in itertools.product(ways(name), (None, w)):
            library.allocator_start(ctypes.c_long(-1))
            expected = call(y, p, weight, [None] * outputs)
            for in_place in (False, True)[: 1 + (outputs == 1)]:
                for number in itertools.count():
                    given = p.copy("K")
                    out = [given] if in_place else [np.full_like(p, 7) for _ in range(outputs)]
                    before = [a.copy() for a in out]
                    assert library.allocator_start(ctypes.c_long(number)), "the library is not found"
                    try:
                        results = call(y, given, weight, out)
                    except MemoryError:
                        found["no memory"] += 1
                        assert same(out, before), (shape, outputs, number, "half-written")
                    else:
                        found["did without"] += library.allocator_calls() > number
                        assert same(results, expected), (shape, outputs, number, "other results")
                    found["calls"] += 1
                    assert library.allocator_blocks() == 0, (shape, outputs, number, "not given back")
                    if library.allocator_calls() <= number:
                        break
    return found


# Of float64 and of more threads it is the same code: once is enough.
@pytest.mark.parametrize(
    ("threads", "dtypes"), [(1, ["f4"]), pytest.param(2, ["f4", "f8"], marks=pytest.mark.slow)], ids=["small", "large"]
)
def test_without_memory_nothing_is_half_written(name, allocator, threads, dtypes, record):
    found = script("allocations", name, *dtypes, environment={**allocator, "FASTLOSS_NUM_THREADS": str(threads)})
    assert found["no memory"] > 0
    record.update(found)


def peaks(name):
    """Bytes at most that a call takes: of the kernels', and of NumPy's and Python's; bytes of its arrays."""
    library, found = ctypes.CDLL(None), []
    for shape, layout in itertools.product([(100_003, 20), (1000, 2503)], (as_is, np.asfortranarray)):
        y, p, w = (layout(a) for a in batch(name, shape))
        for outputs, call in list(ways(name))[:2]:
            for weight in (None, w):
                call(y[:2], p[:2], None, [None] * outputs)
                tracemalloc.start()
                library.allocator_start(ctypes.c_long(-1))
                call(y, p, weight, [None] * outputs)
                python = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
                most = library.allocator_most_bytes
                most.restype = ctypes.c_longlong
                found.append({"outputs": outputs, "kernels": most(), "python": python, "array": p.nbytes, "shape": shape,
                              "layout": layout.__name__})  # fmt: skip
    return found


@pytest.mark.parametrize("name", CASES)
def test_memory_that_a_call_needs(name, allocator, record):
    """Beside inputs and gradient: a fiftieth of y_pred, or what two threads pack, which does not grow with it."""
    for found in script("peaks", name, environment={**allocator, "FASTLOSS_NUM_THREADS": "2"}):
        extra = found["kernels"] + found["python"] - found["outputs"] * found["array"]
        kind = "of y_pred" if found["layout"] == "as_is" else "MB where rows are packed"
        record[kind] = max(extra / (found["array"] if kind == "of y_pred" else 1e6), record.get(kind, 0.0))
        packed = 0 if kind == "of y_pred" else 2 * (2 + found["outputs"]) * (4 << 20)
        assert extra < 0.02 * found["array"] + packed, found


# Leaks


def wrong_calls(name):
    """Calls that are refused: a weight that is no number, shapes that differ, an output that does not fit."""
    y, p, w = batch(name, (12, 5))
    loss, nan = ALL[name].make(), np.full_like(w, np.nan)
    yield lambda: loss(y, p, nan)
    yield lambda: loss.value_and_grad(y, p, nan)
    yield lambda: loss(y[:-1], p)
    yield lambda: loss.value_and_grad(y, p, out=np.empty_like(p[:-1]))
    if name in CASES and ALL[name].sparse:
        yield lambda: loss(y + 99, p)
    for bounds, of in ((getattr(ALL[name], "true_bounds", None), 0), (getattr(ALL[name], "pred_bounds", None), 1)):
        if bounds and bounds[0] == 0:
            spoilt = [y.copy(), p.copy()]
            spoilt[of][3, 3] = -1
            yield lambda spoilt=spoilt: loss.value_and_grad(*spoilt)


def right_calls(name):
    for shape, layout in itertools.product([(12, 5), (40, 3, 4)] if name in CASES else [(12,)], (as_is, np.asfortranarray)):
        given = [layout(a) for a in batch(name, shape)]
        for outputs, call in ways(name):
            for new in (lambda array: None, np.empty_like):
                yield lambda a=given, n=outputs, call=call, new=new: call(*a, [new(a[1]) for _ in range(n)])


def all_calls(name):
    """Every call of right_calls and wrong_calls: a function that makes one round of them, and their number."""
    right, wrong = list(right_calls(name)), list(wrong_calls(name))

    def one_round():
        for call in right:
            call()
        for call in wrong:
            try:
                call()
            except (ValueError, TypeError):
                continue
            raise AssertionError("not refused")

    return one_round, len(right) + len(wrong)


def settled_blocks():
    gc.collect()
    # The interpreter keeps the names of attributes that were looked up.
    getattr(sys, "_clear_type_cache", gc.collect)()
    return sys.getallocatedblocks()


def leaks(name, rounds):
    """How many blocks of Python, bytes that tracemalloc sees, and blocks of the kernels are left after many calls."""
    one_round, number = all_calls(name)
    for _ in range(20):
        one_round()
    blocks = settled_blocks()
    for _ in range(int(rounds)):
        one_round()
    blocks = settled_blocks() - blocks
    # What NumPy keeps in its own blocks, and the kernels in theirs, is none of Python's.
    tracemalloc.start()
    one_round()
    gc.collect()
    arrays = tracemalloc.get_traced_memory()[0]
    for _ in range(10):
        one_round()
    gc.collect()
    arrays = tracemalloc.get_traced_memory()[0] - arrays
    ours = ctypes.CDLL(None).allocator_blocks() if "LD_PRELOAD" in os.environ else 0
    return {"calls": (int(rounds) + 31) * number, "blocks": blocks, "bytes": arrays, "kernels": ours}


def test_nothing_leaks(name, allocator, record):
    found = script("leaks", name, 200, environment=allocator)
    record["calls"] = found["calls"]
    assert found["kernels"] == 0, found
    # One block of each call of one kind would be 200.
    assert found["blocks"] < 50, found
    assert found["bytes"] < 5000, found


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def resident_growth(calls):
    """Resident memory in the course of so many calls of all losses, right and wrong ones."""
    rounds = [all_calls(name) for name in ALL]
    number, done, seen = sum(count for _, count in rounds), 0, []
    while done < int(calls) * 1.1:
        for one_round, _ in rounds:
            one_round()
        done += number
        if done > int(calls) * 0.1:
            seen.append(resident())
    return {"calls": done, "first MB": seen[0] / 1e6, "last MB": seen[-1] / 1e6, "most MB": max(seen) / 1e6}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_resident_memory_is_flat(record):
    """A leak of a byte a call would be a megabyte."""
    found = script("resident_growth", 1_000_000, timeout=3000)
    record.update(found)
    assert found["last MB"] - found["first MB"] < 0.5, found


if __name__ == "__main__":
    process.answer(globals())
