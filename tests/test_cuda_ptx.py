# SPDX-License-Identifier: BSD-3-Clause
"""The kernels for GPUs as machine code, compiled without one: what the compiler and the assembler made of them."""

import importlib.util
import os
import re

import ml_dtypes
import numpy as np
import pytest

from cases import CASES, STRUCTURED

if importlib.util.find_spec("numba_cuda") is None or os.environ.get("NUMBA_ENABLE_CUDASIM") == "1":
    pytest.skip("numba-cuda is not installed", allow_module_level=True)
if importlib.util.find_spec("cuda.bindings") is None:
    pytest.skip("numba-cuda is installed without the toolkit: install fastloss[cuda13]", allow_module_level=True)

from cuda_kernels import CAPABILITIES, aligned, arguments_of, recording
from fastloss import _kernels
from fastloss.cuda import call, launch

STORAGES = {"float32": np.float32, "float64": np.float64, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}

# 16 bytes of the elements' type
LOADS = r"ld\.(?:volatile\.)?global\.(?:v4\.[bufs]32|v2\.[bufs]64)"
STORES = r"st\.(?:volatile\.)?global\.(?:v4\.[bufs]32|v2\.[bufs]64)"
ARITHMETIC = r"\b(?:add|sub|mul|mad|fma|div|rcp|sqrt|ex2|lg2)(?:\.\w+)*\.f64"


def has_toolkit():
    from cuda.pathfinder import load_nvidia_dynamic_lib

    try:
        load_nvidia_dynamic_lib("nvvm")
        load_nvidia_dynamic_lib("nvJitLink")
    except Exception:
        return False
    return True


if not has_toolkit():
    pytest.skip("NVIDIA's compiler is not installed: install fastloss[cuda13]", allow_module_level=True)


def shape_of(case):
    return (64, 2) if getattr(case, "columns", None) else (64, 4096)


def launches_of(case, method, dtype):
    """The kernels of a call that are of the loss's kind: (maker, specification, threads) -> compute capabilities."""
    loss, found = case.make(), {}
    for capability in CAPABILITIES:
        with recording(capability) as recorder:
            getattr(loss, method)(*arguments_of(case, shape_of(case), dtype))
        for make, spec, threads, *_ in recorder.launches:
            if "element" in dict(spec):
                found.setdefault((make, spec, threads), []).append(capability)
    return found


def check(make, spec, threads, capabilities):
    about, module = dict(spec), make.__module__.rpartition(".")[2]
    in_float64 = module in call.FLOAT64_MODULES
    texts, _, _ = launch.compile_to_ptx(make, spec, threads, capabilities)
    for capability, ptx in zip(capabilities, texts, strict=True):
        where = f"{module}, {about['element']}, {about['y_pred']}, sm_{capability[0]}{capability[1]}"
        assert ".local" not in ptx, f"{where}: local memory"
        if about["real"] == "float32" and not in_float64:
            assert not re.search(ARITHMETIC, ptx), f"{where}: arithmetic in float64"
        if about.get("width", 1) > 1 and not in_float64:
            assert re.search(LOADS, ptx), f"{where}: no load of 16 bytes"
            assert re.search(STORES, ptx) or not about.get("want_gradient"), f"{where}: no store of 16 bytes"
        _, log = launch.assemble(ptx, capability)
        spills = [int(n) for n in re.findall(r"(\d+) bytes spill (?:stores|loads)", log)]
        frames = [int(n) for n in re.findall(r"(\d+) bytes stack frame", log)]
        assert spills, log
        assert max(spills) == 0, f"{where}: {max(spills)} bytes spilled"
        assert max(frames) == 0, f"{where}: a stack of {max(frames)} bytes"


@pytest.mark.parametrize("case", [*CASES.values(), *STRUCTURED.values()], ids=lambda case: case.name)
def test_value_and_gradient_of_every_loss(case):
    """In float32, the labels' own dtype int64."""
    for kernel, capabilities in launches_of(case, "value_and_grad", np.float32).items():
        check(*kernel, capabilities)


KINDS = {}
for _case in CASES.values():
    KINDS.setdefault(_kernels.registry()[_case.name]["kind"], _case)


@pytest.mark.parametrize("storage", list(STORAGES))
@pytest.mark.parametrize("case", KINDS.values(), indirect=True, ids=list(KINDS))
def test_storages_and_methods_of_every_kind(case, storage):
    """A loss of each kind: the value alone, the gradient and the Hessian."""
    methods = ["__call__"] if storage == "float32" else ["value_and_grad"]
    methods += ["grad_and_hess"] if case.hessian and storage in ("float32", "float64") else []
    for method in methods:
        for kernel, capabilities in launches_of(case, method, STORAGES[storage]).items():
            check(*kernel, capabilities)


@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["SPARSE_SOFTMAX", "SOFTMAX", "NORMALIZE", "ROW", "ROW_MAXIMUM", "POINTWISE_MEAN"])
def test_few_long_rows(kind, storage):
    """They are split: kernels for the parts and for what puts them together."""
    case = KINDS[kind]
    with recording() as recorder:
        case.make(reduction=None).value_and_grad(*arguments_of(case, (4, 40000), STORAGES[storage]))
    for make, spec, threads, *_ in recorder.launches[:-1]:
        about = {"element": case.name, "y_pred": storage} | dict(spec)
        check(make, tuple(sorted(about.items())), threads, CAPABILITIES[1:2])


@pytest.mark.parametrize("case", KINDS.values(), indirect=True, ids=list(KINDS))
def test_other_kernels(case):
    """What goes before and after: it compiles."""
    y, p = arguments_of(case, shape_of(case), np.float32)
    with recording() as recorder:
        case.make().value_and_grad(y, p, aligned((64,), np.float32), aligned((64,), np.bool_))
    others = {(make, spec, threads) for make, spec, threads, *_ in recorder.launches if "element" not in dict(spec)}
    assert others
    for kernel in others:
        (ptx,), _, _ = launch.compile_to_ptx(*kernel, CAPABILITIES[1:2])
        assert ".visible .entry" in ptx
