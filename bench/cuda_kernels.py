# SPDX-License-Identifier: BSD-3-Clause
"""What the assembler says of the kernels for GPUs: python bench/cuda_kernels.py writes docs/cuda-kernels.md, without a GPU.

For a loss of each kind: registers, shared memory, and how many warps of a processor they leave room for. It needs the
extra cuda13 or cuda12.
"""

import re
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

# Of a processor: registers, threads, bytes of shared memory, blocks
LIMITS = {(8, 0): (65536, 2048, 164 << 10, 32), (9, 0): (65536, 2048, 228 << 10, 32), (10, 0): (65536, 2048, 228 << 10, 32)}
# Registers are given to warps by these, shared memory by these bytes.
REGISTER_UNIT, SHARED_UNIT = 256, 128

SHAPES = ((4096, 32000), (65536, 1000), (1_000_000, 10))


def occupancy(capability, threads, registers, shared):
    """Warps that a processor has room for, of all that it can hold."""
    of_registers, of_threads, of_shared, of_blocks = LIMITS[capability]
    warps = -(-threads // 32)
    units = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    bytes_of_block = -(-shared // SHARED_UNIT) * SHARED_UNIT
    blocks = min(of_registers // units // warps, of_threads // (32 * warps), of_shared // bytes_of_block, of_blocks)
    return blocks * warps * 32 / of_threads


def rows():
    """Of the table."""
    import ml_dtypes

    from cases import CASES
    from cuda_kernels import CAPABILITIES, arguments_of, recording
    from fastloss import _kernels
    from fastloss.cuda import launch

    kinds = {}
    for case in CASES.values():
        kinds.setdefault(_kernels.registry()[case.name]["kind"], case)
    for kind, case in kinds.items():
        for shape in SHAPES[:1] if case.elementwise or case.columns else SHAPES:
            shape = (shape[0], 2) if case.columns else shape
            for storage, dtype in (("float32", np.float32), ("bfloat16", ml_dtypes.bfloat16), ("float64", np.float64)):
                for capability in CAPABILITIES[1:2]:
                    with recording(capability) as recorder:
                        case.make().value_and_grad(*arguments_of(case, shape, dtype))
                    for make, spec, threads, grid, block, dynamic in recorder.launches:
                        if "element" not in dict(spec):
                            continue
                        (ptx,), _, _ = launch.compile_to_ptx(make, spec, threads, [capability])
                        _, log = launch.assemble(ptx, capability)
                        registers = int(re.search(r"Used (\d+) registers", log)[1])
                        # With what the system keeps of it
                        shared = max(map(int, re.findall(r"(\d+) bytes smem", log)), default=0) + dynamic
                        used = occupancy(capability, block[0] * block[1], registers, shared)
                        yield kind, storage, shape, capability, grid, block, registers, shared, used


def main():
    from importlib.metadata import version

    lines = [
        "# Kernels for GPUs", "",
        "What NVIDIA's compiler and assembler make of the kernels, for value and gradient of a loss of each kind: "
        f"`python bench/cuda_kernels.py` with numba-cuda {version('numba-cuda')} and nvvm {version('nvidia-nvvm')}, without "
        "a GPU. No kernel has spills, a stack or local memory; `tests/test_cuda_ptx.py` holds that for every loss, and "
        "that the hot loops load 16 bytes and have no arithmetic in float64 unless the kind is of it.", "",
        "Shared memory is with what the system keeps of it. Occupancy is what registers and shared memory leave room for; "
        "a block that keeps a long row in shared memory is alone on its processor.", "",
        "| kind | dtype | shape | target | blocks | threads x rows | registers | shared KB | occupancy |",
        "|---|---|---|---|--:|--:|--:|--:|--:|",
    ]  # fmt: skip
    for kind, storage, shape, capability, grid, block, registers, shared, used in rows():
        lines.append(
            f"| {kind} | {storage} | {' x '.join(map(str, shape))} | sm_{capability[0]}{capability[1]} | {grid} | "
            f"{block[0]} x {block[1]} | {registers} | {shared / 1024:.1f} | {used:.0%} |"
        )
        print(lines[-1], flush=True)
    (ROOT / "docs" / "cuda-kernels.md").write_text("\n".join([*lines, ""]))


if __name__ == "__main__":
    main()
