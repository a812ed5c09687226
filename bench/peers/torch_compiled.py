# SPDX-License-Identifier: BSD-3-Clause
"""PyTorch compiled: the same functions; value and gradient in one graph, which fuses better than backward()."""

import torch
import torch._inductor.config

from peers.torch_eager import PACKAGES, arrays, function

__all__ = ["PACKAGES", "arrays", "prepare"]

# In this process: a pool of compilers would keep a core busy.
torch._inductor.config.compile_threads = 1


def prepare(work, operation, threads):
    # Other losses have the same code, with other constants: not to be counted as recompilations. The number of
    # threads is compiled in.
    torch._dynamo.reset()
    mean, t, p = function(work, operation, threads)
    if operation == "value":
        compiled = torch.compile(mean, dynamic=False, fullgraph=True)
        return lambda: compiled(t, p)

    fused = torch.compile(torch.func.grad_and_value(mean, argnums=1), dynamic=False, fullgraph=True)

    def value_and_grad():
        gradient, loss = fused(t, p)
        return loss, gradient

    return value_and_grad
