"""Triton kernel of the cross entropy of rows of logits, and of its gradients.

One program handles one row. It reads the row once for its maximum and its sum of exponentials. If
gradients are wanted, it reads the row again, from the cache, and overwrites it by its gradients.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# (logits that a program holds at once, its warps), for short rows and for longer ones.
CONFIGURATIONS = ((1024, 4), (4096, 8))


def rows_in_triton(logits: Tensor, targets: Tensor, ignore_index: int, gradient: bool) -> Tensor:
    """Return the losses (tokens,) in fp32 of logits (tokens, vocabulary) with contiguous rows.

    With `gradient` the logits are overwritten by the gradients of their losses. A target of
    `ignore_index` has loss 0; any other target outside the vocabulary has loss NaN.
    """
    losses = torch.empty(len(logits), device=logits.device, dtype=torch.float32)
    tokens, vocabulary = logits.shape
    if tokens:
        block, warps = configuration(vocabulary)
        launch: Any = rows_kernel[(tokens,)]
        launch(
            logits,
            targets.contiguous(),
            losses,
            logits.stride(0),
            vocabulary,
            ignore_index,
            GRADIENT=gradient,
            BLOCK=block,
            num_warps=warps,
        )
    return losses


def configuration(vocabulary: int) -> tuple[int, int]:
    """Return (block, warps) for rows of `vocabulary` logits."""
    short, long = CONFIGURATIONS
    return short if vocabulary <= short[0] else long


@triton.jit
def rows_kernel(
    logits,
    targets,
    losses,
    stride,
    vocabulary,
    ignore_index,
    GRADIENT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Write the loss of one row of logits, and with GRADIENT overwrite the row by its gradient."""
    token = tl.program_id(0).to(tl.int64)
    row = logits + token * stride
    target = tl.load(targets + token)
    counts = target != ignore_index
    columns = tl.arange(0, BLOCK)
    # This is read before the reductions, which synchronize the warps: afterwards another warp may
    # have overwritten it by its gradient.
    valid = (target >= 0) & (target < vocabulary)
    z_target = tl.load(row + target, mask=valid, other=float("nan")).to(tl.float32)

    # The sum of exponentials is kept relative to the greatest logit so far, so it cannot overflow.
    greatest = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    for start in range(0, vocabulary, BLOCK):
        inside = start + columns < vocabulary
        z = tl.load(row + start + columns, mask=inside, other=float("-inf")).to(tl.float32)
        before = greatest
        greatest = tl.maximum(before, tl.max(z, 0))
        total = total * tl.exp(before - greatest) + tl.sum(tl.exp(z - greatest), 0)

    loss = tl.where(counts, tl.log(total) + greatest - z_target, 0.0)
    tl.store(losses + token, loss)

    if GRADIENT:
        scale = tl.where(counts, 1.0 / total, 0.0)
        for start in range(0, vocabulary, BLOCK):
            inside = start + columns < vocabulary
            z = tl.load(row + start + columns, mask=inside, other=float("-inf")).to(tl.float32)
            hit = (start + columns == target) & counts
            d_z = tl.exp(z - greatest) * scale - tl.where(hit, 1.0, 0.0)
            tl.store(row + start + columns, d_z.to(logits.dtype.element_ty), mask=inside)
