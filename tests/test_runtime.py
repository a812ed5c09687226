# SPDX-License-Identifier: BSD-3-Clause
"""Limits of threads, memory that outputs share with inputs, and instruction sets that agree."""

import itertools
import os
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

import fastloss as fl
from cases import CASES, STRUCTURED
from fastloss import _kernels


def str_of(case):
    return case.name


def inputs(case, shape, seed=0, dtype=np.float32):
    y_true, y_pred = case.draw(np.random.default_rng(seed), shape)
    return (y_true if case.sparse else y_true.astype(dtype)), y_pred.astype(dtype)


def everything(loss, y_true, y_pred):
    value, gradient = loss.value_and_grad(y_true, y_pred)
    derivatives = loss.grad_and_hess(y_true, y_pred) if loss.has_hessian else ()
    return [value, loss(y_true, y_pred), gradient, *derivatives]


def same(a, b):
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a, b, strict=True))


# The last ones: lines of memory that the groups of tasks of several threads have parts of.
@pytest.mark.parametrize("shape", [(40_009, 3), (67, 5003, 4), (9, 1201, 19), (131, 4099, 3), (5003, 67, 7)], ids=str)
def test_in_place_by_several_threads(shape, rng):
    loss = fl.losses.native_instances()[0][1]
    y_true, y_pred = rng.random(shape, np.float32), rng.random(shape, np.float32)
    expected = loss.value_and_grad(y_true, y_pred)
    for axes in itertools.permutations(range(len(shape))):
        place = y_pred.transpose(axes).copy().transpose(np.argsort(axes))
        with fl.threads(8):
            value, _ = loss.value_and_grad(y_true, place, out=place)
        assert same([value, place], expected)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("case", [*CASES.values(), *STRUCTURED.values()], ids=str_of)
def test_instruction_sets_with_fma_agree(case, dtype):
    """Whatever a call gives, weighted or not: long rows that are split, rows of some blocks, short ones, elements."""
    sets = [name for name in _kernels.isas() if name in ("x86-64-v3", "x86-64-v4")]
    rng = np.random.default_rng(0)
    if case.name in STRUCTURED:
        calls = [case.draw(rng, size) for size in (5, 40)]
    else:
        shapes = ((2, 20_011), (5, 2500), (31, 100), (301, 7), (2003, 1))
        calls = [inputs(case, (rows, case.columns or columns), dtype=dtype) for rows, columns in shapes]
    loss, used = case.make(), _kernels.get_isa()
    try:
        for y_true, y_pred in calls:
            y_pred = y_pred.astype(dtype)
            for weight in (None, rng.random(len(y_pred))):
                results = []
                for name in sets:
                    _kernels.set_isa(name)
                    value, gradient = loss.value_and_grad(y_true, y_pred, sample_weight=weight)
                    rest = loss.grad_and_hess(y_true, y_pred, sample_weight=weight) if loss.has_hessian else ()
                    losses = case.make(reduction=None)(y_true, y_pred, sample_weight=weight)
                    results.append([np.asarray(x).astype(np.float64) for x in (value, losses, gradient, *rest)])
                assert all(same(result, results[0]) for result in results[1:])
    finally:
        _kernels.set_isa(used)


def test_small_weights_keep_their_digits(case):
    y_true, y_pred = inputs(case, (9, 300))
    loss = case.make(reduction="sum")
    tiny = np.float32(1e-25)
    _, gradient = loss.value_and_grad(y_true, y_pred, sample_weight=tiny)
    _, expected = loss.value_and_grad(y_true, y_pred)
    expected = expected.astype(np.float64) * float(tiny)
    normal = np.abs(expected) > np.finfo(np.float32).tiny
    np.testing.assert_allclose(gradient[normal], expected[normal], rtol=1e-6)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
@pytest.mark.parametrize("settings", [{"OMP_NUM_THREADS": "1"}, {"OMP_THREAD_LIMIT": "1"}, {}], ids=str)
def test_limits_of_the_environment(settings):
    """Without any the process is bound to one CPU, and asks OpenMP for more."""
    bind = "" if settings else "os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:1]);"
    code = f"import os; {bind} import fastloss; print(fastloss.get_num_threads())"
    names = ("FASTLOSS_NUM_THREADS", "OMP_NUM_THREADS", "OMP_THREAD_LIMIT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= settings or {"OMP_NUM_THREADS": "4"}
    output = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert output.stdout == "1\n"


@pytest.mark.parametrize("n", [0, -1, 10**12, "many", 2.5, True])
def test_numbers_of_threads_that_are_refused(n):
    for setting in (fl.set_num_threads, lambda n: fl.threads(n).__enter__()):
        with pytest.raises((ValueError, TypeError), match="n: expected an integer"):
            setting(n)


def test_out_may_not_be_spoilt_by_an_array_like_input():
    """The gradient of y_true given as a buffer that shares memory with out."""
    buffer = np.linspace(0, 1, 101)
    loss = fl.losses.native_instances()[0][1]
    y_pred = np.full(100, 0.5)
    expected = loss.value_and_grad(buffer[:100].copy(), y_pred)[1]
    gradient = loss.value_and_grad(memoryview(buffer)[:100], y_pred, out=buffer[1:])[1]
    np.testing.assert_array_equal(gradient, expected)


def test_out_may_share_memory_with_any_input(rng):
    loss = fl.losses.native_instances()[0][1]
    memory = rng.random((7, 5))
    arrays = {"y_true": rng.random((6, 5)), "y_pred": rng.random((6, 5)), "sample_weight": rng.random(6)}
    views = {
        "y_true": (memory[:6], memory[1:], memory[6:0:-1], memory[:6].T.reshape(6, 5)),
        "y_pred": (memory[:6], memory[1:], memory[6:0:-1]),
        "sample_weight": (memory[1:, 0], memory[:6, -1], memory[0, :1]),
    }
    for name, several in views.items():
        for view in several:
            given = {**arrays, name: view}
            expected = loss.value_and_grad(**{name: array.copy() for name, array in given.items()})
            before = memory.copy()
            value, gradient = loss.value_and_grad(**given, out=memory[:6])
            assert value == expected[0]
            np.testing.assert_array_equal(gradient, expected[1])
            memory[:] = before


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.hessian], indirect=True, ids=str_of)
def test_interleaved_outputs(case):
    y_true, y_pred = inputs(case, (40, 3))
    both = np.empty((*y_pred.shape, 2), np.float32)
    case.make().grad_and_hess(y_true, y_pred, out=(both[..., 0], both[..., 1]))
    expected = case.make().grad_and_hess(y_true, y_pred)
    assert same([both[..., 0], both[..., 1]], expected)


def test_hidden_labels_do_not_decide_what_labels_mean():
    loss = next(loss for _, loss in fl.losses.native_instances() if loss.target == "sign")
    y_pred = np.array([[0.5], [0.25], [2.0]])
    for hidden in (np.nan, -1.0, 7.0):
        y_true = np.array([[0.0], [1.0], [hidden]])
        expected = loss(y_true[:2], y_pred[:2])
        assert loss(y_true, y_pred, mask=[True, True, False]) == expected
        assert loss(y_true, y_pred, sample_weight=[1.0, 1.0, 0.0]) * 3 == expected * 2


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.row == "mean"], indirect=True, ids=str_of)
def test_a_scalar_weight_of_one_sample(case):
    y_true, y_pred = (a.ravel() for a in inputs(case, (6, 1), dtype=np.float64))
    for reduction, factor in (("mean_with_sample_weight", 1), ("sum_over_batch_size", 3), ("sum", 3)):
        value = case.make(reduction=reduction)(y_true, y_pred, sample_weight=3.0)
        np.testing.assert_allclose(value, factor * case.make()(y_true, y_pred), rtol=1e-14)


@pytest.mark.parametrize("case", [case for case in CASES.values() if case.elementwise], indirect=True, ids=str_of)
def test_rows_without_columns(case):
    empty = np.zeros((3, 0))
    assert case.make()(empty, empty) == 0
    assert case.make()(empty, empty, sample_weight=[1.0, 2.0, 3.0]) == 0
    assert case.make(reduction=None)(empty, empty).tolist() == [0, 0, 0]
