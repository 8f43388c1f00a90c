"""Cross entropy of features @ weight.T against targets, without all of the logits at once.

The tokens pass in chunks. Each chunk's logits are made, turned into their own gradients where they
lie, multiplied into the gradients of features and weight, and overwritten by the next chunk's: the
backward pass only scales what the forward pass has left. So the memory is that of one chunk, and
no product is computed twice. What all chunks add to, loss and weight gradient, is in fp32 at least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels import switches
from kernels.registered import Differentiable, left_to_compiler

IGNORED = -100
# The logits of one chunk. On a CPU they stay in the cache; a GPU needs rows enough to be busy.
CHUNK_BYTES = {"cpu": 16 * 2**20, "cuda": 128 * 2**20}
IN_TRITON = (torch.float32, torch.bfloat16)  # On CUDA; the rest of types take the way of CPUs.

Reduction = Literal["mean", "sum"]
# Fills logits (tokens, vocabulary) with their gradients, where asked; returns losses (tokens,).
Rows = Callable[[Tensor, Tensor, int, bool], Tensor]


def linear_cross_entropy(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    reduction: Reduction = "mean",
    ignore_index: int = IGNORED,
) -> Tensor:
    """The loss in nats, fp32 at least: of features (..., n), weight (vocabulary, n), targets (...).

    Targets of `ignore_index` do not count; the mean over none is NaN, without gradients. Under
    autocast the products are in its dtype. Another reduction is a ValueError.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; give 'mean' or 'sum'")
    if left_to_compiler(features) or not switches.fast("cross_entropy"):
        return definition(features, weight, targets, reduction, ignore_index)
    tokens, targets = features.reshape(-1, features.shape[-1]), targets.reshape(-1)
    grads = torch.is_grad_enabled()
    needed = grads and features.requires_grad, grads and weight.requires_grad
    arguments = tokens, weight, targets, ignore_index, _product_dtype(features), *needed
    total, *_ = SUM(*arguments)
    if reduction == "sum":
        return total
    count = (targets != ignore_index).sum()
    return (total / count.clamp(min=1)).masked_fill(count == 0, float("nan"))


def definition(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    reduction: Reduction = "mean",
    ignore_index: int = IGNORED,
) -> Tensor:
    """The same function as it is written down, in plain torch."""
    logits = F.linear(features, weight).reshape(-1, len(weight))
    return F.cross_entropy(
        logits.to(_precise(logits.dtype)),
        targets.reshape(-1),
        reduction=reduction,
        ignore_index=ignore_index,
    )


def summed(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int,
    dtype: torch.dtype,
    for_features: bool,
    for_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The summed loss of features (tokens, n), and its gradients by them and by the weight.

    Products are in `dtype`. A gradient that is not asked for is empty.
    """
    x, w = features.to(dtype), weight.to(dtype)
    total, d_x, d_w = _empty(x, w, targets, ignore_index, dtype, for_features, for_weight)
    total.zero_()
    d_w.zero_()
    size, rows = _chunk_tokens(x, len(w)), _rows_of(x)
    logits = x.new_empty(size, len(w))
    with torch.autocast(x.device.type, enabled=False):
        for start in range(0, len(x), size):
            chunk = slice(start, start + size)
            x_chunk = x[chunk]
            d_logits = logits[: len(x_chunk)]
            torch.mm(x_chunk, w.t(), out=d_logits)
            losses = rows(d_logits, targets[chunk], ignore_index, for_features or for_weight)
            total += losses.sum()
            if for_features:
                torch.mm(d_logits, w, out=d_x[chunk])
            if for_weight:
                _add_product(d_w, d_logits.t(), x_chunk)
    return total, d_x, d_w


def _empty(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    ignore_index: int,
    dtype: torch.dtype,
    for_features: bool,
    for_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Memory for what `summed` returns."""
    precise = _precise(dtype)
    d_features = features.new_empty(features.shape if for_features else (0,), dtype=dtype)
    d_weight = features.new_empty(weight.shape if for_weight else (0,), dtype=precise)
    return features.new_empty((), dtype=precise), d_features, d_weight


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    features, weight, *_, ctx.for_features, ctx.for_weight = inputs
    ctx.dtypes = features.dtype, weight.dtype
    ctx.save_for_backward(*output[1:])


def _scaled(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The saved gradients times that of the sum; None where they were not asked for."""
    d_features, d_weight = ctx.saved_tensors
    features_dtype, weight_dtype = ctx.dtypes
    return (
        (d_features.to(features_dtype) * grad).to(features_dtype) if ctx.for_features else None,
        (d_weight * grad).to(weight_dtype) if ctx.for_weight else None,
        *[None] * 5,
    )


SUM = Differentiable("linear_cross_entropy", summed, _empty, _save, _scaled)


def rows_in_torch(logits: Tensor, targets: Tensor, ignore_index: int, gradient: bool) -> Tensor:
    """Losses (tokens,), in fp32 at least, of logits (tokens, vocabulary), which are overwritten:
    with `gradient` by the gradients of their losses."""
    counts = (targets != ignore_index)[:, None]
    picked = targets[:, None].where(counts, 0)
    rows = logits.to(_precise(logits.dtype))  # The logits themselves where they are precise.
    rows.sub_(rows.amax(1, keepdim=True))
    losses = -rows.gather(1, picked)
    sums = rows.exp_().sum(1, keepdim=True)
    losses += sums.log()
    if gradient:
        ones = counts.to(rows.dtype)
        rows.mul_(ones / sums).scatter_add_(1, picked, -ones)
        if rows is not logits:
            logits.copy_(rows)
    return losses.where(counts, 0).squeeze(1)


def _rows_of(x: Tensor) -> Rows:
    if x.device.type != "cuda" or x.dtype not in IN_TRITON:
        return rows_in_torch
    from kernels.cuda.cross_entropy import rows_in_triton  # Only here is Triton needed.

    return rows_in_triton


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, which may be less precise than their total."""
    if total.dtype == a.dtype:
        torch.addmm(total, a, b, out=total)
    elif a.device.type == "cuda":
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total += a @ b


def _chunk_tokens(x: Tensor, vocabulary: int) -> int:
    """Tokens of one chunk, as even as the chunks' number allows."""
    most = max(1, CHUNK_BYTES[x.device.type] // (vocabulary * x.element_size()))
    chunks = max(1, -(-len(x) // most))
    return max(1, -(-len(x) // chunks))


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _product_dtype(features: Tensor) -> torch.dtype:
    """The type of a product with the features: theirs, or autocast's where that is on."""
    device = features.device.type
    if features.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return features.dtype
    return torch.get_autocast_dtype(device)
