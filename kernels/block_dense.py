"""BlockDense: y = U (blockdiag(V) x) + b, without a copy of the activations.

The blocks of x and of the inner vector are slices of their rows, which BLAS reads and writes in
place: each block's product goes straight into its slice, forward and backward. The second factor
is an ordinary linear layer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def block_dense(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """(..., n) to (..., m), with v (B, rank/B, n/B), u (m, rank) and bias (m,).

    Under autocast the products are in its dtype. Any layout of x is right; those that need no
    copy have rows or columns without gaps.
    """
    if torch.compiler.is_compiling():  # Fuses what it can see; it cannot see into `out=`.
        return definition(x, v, u, bias)
    x, v = as_autocast(x, v)
    inner = _BlockDiagonal.apply(x.reshape(-1, x.shape[-1]), v)
    return F.linear(inner, u, bias).reshape(*x.shape[:-1], len(u))


def definition(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """The same function as it is written down, in plain torch."""
    inner = torch.einsum("bri,...bi->...br", v, x.unflatten(-1, (len(v), -1)))
    return F.linear(inner.flatten(-2), u, bias)


class _BlockDiagonal(torch.autograd.Function):
    """(tokens, n) to (tokens, rank): block b of v times slice b of each row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor) -> Tensor:
        ctx.save_for_backward(x, v)
        inner = x.new_empty(len(x), v.shape[0] * v.shape[1])
        multiply_blocks(_slices(x, v), v.mT, out=_slices(inner, v))
        return inner

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, v = ctx.saved_tensors
        d_inner = _slices(grads[0], v)
        d_x = d_v = None
        if ctx.needs_input_grad[0]:
            d_x = torch.empty_like(x)  # In the layout of x, which is also its producer's.
            multiply_blocks(d_inner, v, out=_slices(d_x, v))
        if ctx.needs_input_grad[1]:
            d_v = v.new_empty(v.shape)
            multiply_blocks(d_inner.mT, _slices(x, v), out=d_v)
        return d_x, d_v


def _slices(rows: Tensor, v: Tensor) -> Tensor:
    """(tokens, features) seen as (B, tokens, features / B)."""
    return rows.unflatten(1, (len(v), -1)).transpose(0, 1)


def multiply_blocks(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out[i] = a[i] @ b[i] for every block i, written through the strides of `out`."""
    if a.is_cuda or a.dtype != torch.bfloat16:
        torch.bmm(a, b, out=out)
        return
    # One by one: the CPU's batched product takes a thousand times longer on some strides.
    for a_block, b_block, out_block in zip(a, b, out, strict=True):
        torch.mm(a_block, b_block, out=out_block)


def as_autocast(*tensors: Tensor) -> list[Tensor]:
    """Cast as autocast casts the operands of a product, on the device of the first of them."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return list(tensors)
    dtype = torch.get_autocast_dtype(device)
    return [t if t.dtype == torch.float64 else t.to(dtype) for t in tensors]
