"""BlockShuffle, the Monarch product: y = P^-1 blockdiag(U) P blockdiag(V) x + b, no shuffle copied.

P reads the k inner features as a (k/B, B) matrix and deals column l to block l; P^-1 puts number
s of block l at place s B + l. Where features are rows and tokens columns, that a block takes every
B-th feature is a distance between rows, which BLAS reads and writes in place. So the products run
feature-major, forward and backward, and only the narrow side of the layer is ever transposed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.factored import Factors, Product, multiply_blocks
from kernels.registered import left_to_compiler
from kernels.switches import fast


def block_shuffle(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """(..., n) to (..., m), with v (B, k/B, n/B), u (B, m/B, k/B) and bias (m,).

    Where m > n the result is a transposed view, feature-major in memory: what acts on each number
    alone (GELU, dropout) keeps that layout, and a second `block_shuffle` takes it without a copy.
    Otherwise it is contiguous. The gradient of x has the layout of x.
    """
    if left_to_compiler(x) or not fast("block_shuffle"):
        return definition(x, v, u, bias)
    return PRODUCT(x, Factors(v, u, bias))


def definition(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """The same function as it is written down, in plain torch."""
    blocks = len(v)
    inner = torch.einsum("bri,...bi->...br", v, x.unflatten(-1, (blocks, -1)))
    shuffled = inner.flatten(-2).unflatten(-1, (-1, blocks))
    y = torch.einsum("lsr,...rl->...sl", u, shuffled).flatten(-2)
    return y if bias is None else y + bias.to(y.dtype)


class BlockShuffle:
    """The operation; its activations are feature-major."""

    @staticmethod
    def empty(like: Tensor, tokens: int, features: int) -> Tensor:
        return like.new_empty(features, tokens).t()

    @staticmethod
    def sizes(weights: Factors) -> tuple[int, int]:
        blocks, m_block, k_block = weights.u.shape
        return blocks * k_block, blocks * m_block

    @staticmethod
    def multiply(x: Tensor, weights: Factors, inner: Tensor, y: Tensor) -> None:
        v, u, bias = weights
        direct = y.t().is_contiguous()
        wide = y if direct else BlockShuffle.empty(y, *y.shape)
        multiply_blocks(v, _cut(x, v), out=_cut(inner, v))
        multiply_blocks(u, _dealt(inner, v), out=_dealt(wide, v))
        if bias is not None:
            wide.add_(bias)
        if not direct:
            y.copy_(wide)

    @staticmethod
    def differentiate(
        d_y: Tensor, x: Tensor, inner: Tensor, weights: Factors, d_x: Tensor, sums: Factors
    ) -> None:
        v, u, _ = weights
        if sums.bias is not None:
            sums.bias.add_(d_y.sum(0, dtype=sums.bias.dtype))
        d_y = d_y.t().contiguous().t()  # A copy only of the narrow side, which is row-major.
        multiply_blocks(_dealt(d_y, v), _dealt(inner, v).mT, out=sums.u, add=True)
        d_inner = torch.empty_like(inner)
        multiply_blocks(u.mT, _dealt(d_y, v), out=_dealt(d_inner, v))
        multiply_blocks(_cut(d_inner, v), _cut(x, v).mT, out=sums.v, add=True)
        multiply_blocks(v.mT, _cut(d_inner, v), out=_cut(d_x, v))

    @staticmethod
    def linear(x: Tensor, weights: Factors) -> Tensor:
        return block_shuffle(x, *weights)

    @staticmethod
    def dense(v: Tensor, u: Tensor) -> Tensor:
        blocks, inner, _ = v.shape
        if inner % blocks:  # No two blocks share whole numbers of features: V as one matrix.
            whole = torch.block_diag(*v).unflatten(0, (-1, blocks))
            return torch.einsum("lsr,rlj->slj", u, whole).flatten(0, 1)
        # Feature q = t B + l of block b is number b k/B^2 + t of block l: each pair of blocks
        # shares k/B^2 features, and makes a product of its own.
        shares = u.unflatten(2, (blocks, -1)), v.unflatten(1, (-1, blocks))
        return torch.einsum("lsbt,btli->slbi", *shares).flatten(2).flatten(0, 1)


PRODUCT = Product("block_shuffle", BlockShuffle)


def _cut(activations: Tensor, v: Tensor) -> Tensor:
    """(tokens, features) as (B, features / B, tokens): block b is the b-th run of features."""
    return activations.t().unflatten(0, (len(v), -1))


def _dealt(activations: Tensor, v: Tensor) -> Tensor:
    """(tokens, features) as (B, features / B, tokens): block l is features l, l + B, ..."""
    return activations.t().unflatten(0, (-1, len(v))).transpose(0, 1)
