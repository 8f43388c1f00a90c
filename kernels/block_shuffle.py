"""BlockShuffle, the Monarch product: y = P^-1 blockdiag(U) P blockdiag(V) x + b, no shuffle copied.

P reads the k inner features as a (k/B, B) matrix and deals column l to block l; P^-1 puts number
s of block l at place s B + l. Where features are rows and tokens columns, that a block takes every
B-th feature is a distance between rows, which BLAS reads and writes in place. So the products run
feature-major, forward and backward, and only the narrow side of the layer is ever transposed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from kernels.block_dense import as_autocast, multiply_blocks


def block_shuffle(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """(..., n) to (..., m), with v (B, k/B, n/B), u (B, m/B, k/B) and bias (m,).

    Where m > n the result is a transposed view, feature-major in memory: what acts on each number
    alone (GELU, dropout) keeps that layout, and a second `block_shuffle` takes it without a copy.
    Otherwise it is contiguous. The gradient of x has the layout of x.
    """
    if torch.compiler.is_compiling():  # Fuses the shuffles itself; it cannot see into `out=`.
        return definition(x, v, u, bias)
    x, v, u = as_autocast(x, v, u)
    y = _BlockShuffle.apply(x.reshape(-1, x.shape[-1]), v, u, bias)
    return y.reshape(*x.shape[:-1], y.shape[1])


def definition(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """The same function as it is written down, in plain torch."""
    blocks = len(v)
    inner = torch.einsum("bri,...bi->...br", v, x.unflatten(-1, (blocks, -1)))
    shuffled = inner.flatten(-2).unflatten(-1, (-1, blocks))
    y = torch.einsum("lsr,...rl->...sl", u, shuffled).flatten(-2)
    return y if bias is None else y + bias.to(y.dtype)


class _BlockShuffle(torch.autograd.Function):
    """(tokens, n) to (tokens, m); `inner` and all gradients but that of x are feature-major."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
        blocks, k_block, n_block = v.shape
        m_block = u.shape[1]
        inner = x.new_empty(blocks * k_block, len(x))
        y = x.new_empty(m_block * blocks, len(x))
        multiply_blocks(v, _cut(x.t(), blocks), out=_cut(inner, blocks))
        multiply_blocks(u, _dealt(inner, blocks), out=_dealt(y, blocks))
        if bias is not None:
            y.add_(bias[:, None])
        ctx.save_for_backward(x, v, u, inner)
        ctx.bias_dtype = None if bias is None else bias.dtype
        return y.t() if m_block > n_block else y.t().contiguous()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, v, u, inner = ctx.saved_tensors
        blocks = len(v)
        need_x, need_v, need_u, need_bias = ctx.needs_input_grad
        d_x = d_v = d_u = d_bias = None
        d_y = grads[0].t().contiguous()  # A copy only where y was contiguous, on the narrow side.
        if need_bias:
            d_bias = d_y.sum(1, dtype=ctx.bias_dtype)
        if need_u:
            d_u = u.new_empty(u.shape)
            multiply_blocks(_dealt(d_y, blocks), _dealt(inner, blocks).mT, out=d_u)
        d_inner = torch.empty_like(inner)
        multiply_blocks(u.mT, _dealt(d_y, blocks), out=_dealt(d_inner, blocks))
        if need_v:
            d_v = v.new_empty(v.shape)
            multiply_blocks(_cut(d_inner, blocks), _cut(x.t(), blocks).mT, out=d_v)
        if need_x:
            d_x = torch.empty_like(x)  # In the layout of x, which is also its producer's.
            multiply_blocks(v.mT, _cut(d_inner, blocks), out=_cut(d_x.t(), blocks))
        return d_x, d_v, d_u, d_bias


def _cut(features: Tensor, blocks: int) -> Tensor:
    """(features, tokens) cut into (B, features / B, tokens): block b is the b-th run of rows."""
    return features.unflatten(0, (blocks, -1))


def _dealt(features: Tensor, blocks: int) -> Tensor:
    """(features, tokens) dealt into (B, features / B, tokens): block l is rows l, l + B, ..."""
    return features.unflatten(0, (-1, blocks)).transpose(0, 1)
