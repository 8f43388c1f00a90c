"""Cross entropy of the logits features @ weight.T, without storing all logits at once.

The tokens are processed in chunks. The logits of a chunk are computed, overwritten by their own
gradients, multiplied into the gradients by features and weight, and overwritten by the logits of
the next chunk. The forward pass therefore computes the gradients too, and the backward pass only
scales them: logits take the memory of one chunk, and no product is computed twice. The sums over
all chunks, the loss and the gradient by the weight, are accumulated in at least fp32. On a CPU,
logits that fill no more than one chunk are computed in plain torch, which is as fast then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels import switches
from kernels.custom_op import DifferentiableOp, left_to_compiler

IGNORED = -100
# Bytes of the logits of one chunk: few enough for a CPU's cache, enough rows to keep a GPU busy.
CHUNK_BYTES = {"cpu": 16 * 2**20, "cuda": 128 * 2**20}
# dtypes that the Triton kernel serves on CUDA; others are computed in torch, as on a CPU.
TRITON_DTYPES = (torch.float32, torch.bfloat16)

Reduction = Literal["mean", "sum"]
# (logits, targets, ignore_index, gradient) -> losses; `rows_in_torch` describes it.
Rows = Callable[[Tensor, Tensor, int, bool], Tensor]


def linear_cross_entropy(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    reduction: Reduction = "mean",
    ignore_index: int = IGNORED,
) -> Tensor:
    """Return the cross entropy in nats, a scalar in at least fp32.

    Under autocast the products use its dtype.

    Args:
        features: (..., n).
        weight: (vocabulary, n).
        targets: (...), indices of rows of `weight`.
        reduction: `mean` or `sum` over the targets that count.
        ignore_index: targets of this value do not count. The mean over no target is NaN, and its
            gradients are zero.

    Raises:
        ValueError: another reduction.
    """
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction is {reduction!r}; give 'mean' or 'sum'")
    if (
        left_to_compiler(features)
        or not switches.fast("cross_entropy")
        or _is_one_chunk_on_cpu(features, len(weight))
    ):
        return reference(features, weight, targets, reduction, ignore_index)
    targets = targets.reshape(-1)
    grads = torch.is_grad_enabled()
    total, _, _ = SUM(
        features.reshape(-1, features.shape[-1]),
        weight,
        targets,
        ignore_index,
        _product_dtype(features),
        grads and features.requires_grad,
        grads and weight.requires_grad,
    )
    if reduction == "sum":
        return total
    count = (targets != ignore_index).sum()
    return (total / count.clamp(min=1)).masked_fill(count == 0, float("nan"))


def reference(
    features: Tensor,
    weight: Tensor,
    targets: Tensor,
    reduction: Reduction = "mean",
    ignore_index: int = IGNORED,
) -> Tensor:
    """Compute `linear_cross_entropy` in plain torch, with all logits."""
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
    """Compute the summed loss of features (tokens, n), and its gradients by them and the weight.

    The products use `dtype`. A gradient is empty unless `for_features` or `for_weight` asks for it.
    """
    x, w = features.to(dtype), weight.to(dtype)
    total, d_x, d_w = _allocate(x, w, dtype, for_features, for_weight)
    total.zero_()
    d_w.zero_()
    size = max(1, -(-len(x) // _num_chunks(x, len(w))))  # as even as the chunks allow
    rows = _rows_of(x)
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


def _allocate(
    features: Tensor, weight: Tensor, dtype: torch.dtype, for_features: bool, for_weight: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Allocate the results of `summed`."""
    precise = _precise(dtype)
    d_features = features.new_empty(features.shape if for_features else (0,), dtype=dtype)
    d_weight = features.new_empty(weight.shape if for_weight else (0,), dtype=precise)
    return features.new_empty((), dtype=precise), d_features, d_weight


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    features, weight, *_, ctx.for_features, ctx.for_weight = inputs
    ctx.dtypes = features.dtype, weight.dtype
    ctx.save_for_backward(*output[1:])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """Scale the saved gradients by the gradient of the summed loss."""
    d_features, d_weight = ctx.saved_tensors
    features_dtype, weight_dtype = ctx.dtypes
    return (
        (d_features.to(features_dtype) * grad).to(features_dtype) if ctx.for_features else None,
        (d_weight * grad).to(weight_dtype) if ctx.for_weight else None,
        None,  # targets
        None,  # ignore_index
        None,  # dtype
        None,  # for_features
        None,  # for_weight
    )


SUM = DifferentiableOp(
    "linear_cross_entropy",
    summed,
    lambda features, weight, targets, ignore_index, *rest: _allocate(features, weight, *rest),
    _save,
    _backward,
)


def rows_in_torch(logits: Tensor, targets: Tensor, ignore_index: int, gradient: bool) -> Tensor:
    """Return the losses (tokens,), in at least fp32, of logits (tokens, vocabulary).

    The logits are overwritten, with `gradient` by the gradients of their losses.
    """
    counts = (targets != ignore_index)[:, None]
    valid_targets = targets[:, None].where(counts, 0)
    rows = logits.to(_precise(logits.dtype))  # No copy if the logits are precise enough.
    rows.sub_(rows.amax(1, keepdim=True))
    losses = -rows.gather(1, valid_targets)
    sums = rows.exp_().sum(1, keepdim=True)
    losses += sums.log()
    if gradient:
        ones = counts.to(rows.dtype)
        rows.mul_(ones / sums).scatter_add_(1, valid_targets, -ones)
        if rows is not logits:
            logits.copy_(rows)
    return losses.where(counts, 0).squeeze(1)


def _rows_of(x: Tensor) -> Rows:
    """Return the function that computes the losses of a chunk of logits with x's dtype."""
    if x.device.type != "cuda" or x.dtype not in TRITON_DTYPES:
        return rows_in_torch
    from kernels.cuda.cross_entropy import rows_in_triton  # Only here is Triton needed.

    return rows_in_triton


def _add_product(total: Tensor, a: Tensor, b: Tensor) -> None:
    """Add a @ b to `total`, whose dtype may be more precise than that of a and b."""
    if total.dtype == a.dtype:
        torch.addmm(total, a, b, out=total)
    elif a.device.type == "cuda":
        torch.addmm(total, a, b, out_dtype=total.dtype, out=total)
    else:
        total += a @ b


def _num_chunks(features: Tensor, vocabulary: int) -> int:
    """Return the number of chunks of tokens whose logits are made at once."""
    tokens = features.shape[:-1].numel()
    token_bytes = vocabulary * features.element_size()
    most_tokens = max(1, CHUNK_BYTES[features.device.type] // token_bytes)
    return max(1, -(-tokens // most_tokens))


def _is_one_chunk_on_cpu(features: Tensor, vocabulary: int) -> bool:
    """Return whether there is nothing to chunk, where the plain formulation is as fast."""
    return features.device.type == "cpu" and _num_chunks(features, vocabulary) == 1


def _precise(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _product_dtype(features: Tensor) -> torch.dtype:
    """Return the dtype of a product with the features: autocast's if it is on, otherwise theirs."""
    device = features.device.type
    if features.dtype == torch.float64 or not torch.is_autocast_enabled(device):
        return features.dtype
    return torch.get_autocast_dtype(device)
