"""A structured FFN for CPUs, fc2(activation(fc1(x))), that stays in the cache.

The tokens pass in chunks whose widest activations fit there, through all of the layer, forward and
then backward. Every chunk uses the same working memory, so no pages are asked of the system for
it, and the activation is computed again for the backward pass rather than kept. That is worth
about a tenth of the time of the same products one after the other (`python -m workloads bench
train`), and half of the memory. Dense products are long enough to gain nothing by it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.activation import activate_into, gradient_into
from kernels.factored import Factors, Operation
from kernels.switches import fast

# The widest activations of one chunk: large enough for long products, small enough for the cache.
CHUNK_BYTES = 4 * 2**20


def suits(x: Tensor) -> bool:
    """Whether `feed_forward` is to serve x: float32 or float64 on a CPU, eagerly."""
    return (
        x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and fast("feed_forward")
    )


def feed_forward(
    operation: type[Operation], x: Tensor, first: Factors, second: Factors, activation: str
) -> Tensor:
    """(..., n) to (..., n): both projections by one operation, as `kernels.factored` has them."""
    tokens = x.reshape(-1, x.shape[-1])
    y = _FeedForward.apply(operation, activation, tokens, *first, *second)
    return y.view(x.shape)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, operation: type[Operation], activation: str, x: Tensor, *weights: Tensor
    ) -> Tensor:
        first, second = Factors(*weights[:3]), Factors(*weights[3:])
        (inner_1, wide), (inner_2, _) = operation.sizes(first), operation.sizes(second)
        size = _chunk_tokens(x, wide)
        y = x.new_empty(x.shape)
        hidden = _hidden(operation, x, wide, size, activation)
        kept = []
        for x_chunk, y_chunk in zip(x.split(size), y.split(size), strict=True):
            tokens = len(x_chunk)
            v_x, z, v_h = (operation.empty(x, tokens, k) for k in (inner_1, wide, inner_2))
            operation.multiply(x_chunk, first, v_x, z)
            activate_into(hidden[:tokens], z, activation)
            operation.multiply(hidden[:tokens], second, v_h, y_chunk)
            kept += [v_x, z, v_h]
        ctx.operation, ctx.activation, ctx.size = operation, activation, size
        ctx.save_for_backward(x, *weights, *kept)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        operation, activation, size = ctx.operation, ctx.activation, ctx.size
        x, *rest = ctx.saved_tensors
        first, second, kept = Factors(*rest[:3]), Factors(*rest[3:6]), rest[6:]
        sums_1, sums_2 = first.zeros(), second.zeros()
        d_x = x.new_empty(x.shape)
        wide = operation.sizes(first)[1]
        hidden, d_hidden = (_hidden(operation, x, wide, size, activation) for _ in range(2))
        d_z = operation.empty(x, size, wide) if activation == "swiglu" else d_hidden
        chunks = zip(
            *(t.split(size) for t in (grads[0], x, d_x)),
            kept[::3],
            kept[1::3],
            kept[2::3],
            strict=True,
        )
        for d_y, x_chunk, d_x_chunk, v_x, z, v_h in chunks:
            h, d_h, d_z_chunk = (t[: len(z)] for t in (hidden, d_hidden, d_z))
            activate_into(h, z, activation)
            operation.differentiate(d_y, h, v_h, second, d_h, sums_2)
            gradient_into(d_z_chunk, d_h, z, activation)
            operation.differentiate(d_z_chunk, x_chunk, v_x, first, d_x_chunk, sums_1)
        return None, None, d_x, *sums_1, *sums_2


def _chunk_tokens(x: Tensor, wide: int) -> int:
    return max(1, min(len(x), CHUNK_BYTES // (wide * x.element_size())))


def _hidden(
    operation: type[Operation], x: Tensor, wide: int, tokens: int, activation: str
) -> Tensor:
    """Memory for what the activation gives one chunk."""
    return operation.empty(x, tokens, wide // 2 if activation == "swiglu" else wide)
