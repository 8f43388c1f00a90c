"""BlockDense: y = U (blockdiag(V) x) + b, without a copy of the activations.

The blocks of x and of the inner vector are slices of their rows, which BLAS reads and writes in
place: each block's product goes straight into its slice, forward and backward. With one block it
is LowRank.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.factored import Factors, Product, multiply_blocks
from kernels.registered import left_to_compiler
from kernels.switches import fast


def block_dense(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """(..., n) to (..., m), with v (B, rank/B, n/B), u (m, rank) and bias (m,).

    Under autocast the products are in its dtype. Any layout of x is right; those that need no
    copy have rows or columns without gaps.
    """
    if left_to_compiler(x) or not fast("block_dense"):
        return definition(x, v, u, bias)
    return PRODUCT(x, Factors(v, u, bias))


def definition(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """The same function as it is written down, in plain torch."""
    inner = torch.einsum("bri,...bi->...br", v, x.unflatten(-1, (len(v), -1)))
    return F.linear(inner.flatten(-2), u, bias)


class BlockDense:
    """The operation; its activations are row-major."""

    @staticmethod
    def empty(like: Tensor, tokens: int, features: int) -> Tensor:
        return like.new_empty(tokens, features)

    @staticmethod
    def sizes(weights: Factors) -> tuple[int, int]:
        m, rank = weights.u.shape
        return rank, m

    @staticmethod
    def multiply(x: Tensor, weights: Factors, inner: Tensor, y: Tensor) -> None:
        v, u, bias = weights
        multiply_blocks(_slices(x, v), v.mT, out=_slices(inner, v))
        if bias is None:
            torch.mm(inner, u.t(), out=y)
        else:
            torch.addmm(bias.to(y.dtype), inner, u.t(), out=y)

    @staticmethod
    def differentiate(
        d_y: Tensor, x: Tensor, inner: Tensor, weights: Factors, d_x: Tensor, sums: Factors
    ) -> None:
        v, u, _ = weights
        if sums.bias is not None:
            sums.bias.add_(d_y.sum(0, dtype=sums.bias.dtype))
        torch.addmm(sums.u, d_y.t(), inner, out=sums.u)
        d_inner = d_y @ u
        multiply_blocks(_slices(d_inner, v).mT, _slices(x, v), out=sums.v, add=True)
        multiply_blocks(_slices(d_inner, v), v, out=_slices(d_x, v))

    @staticmethod
    def linear(x: Tensor, weights: Factors) -> Tensor:
        return block_dense(x, *weights)

    @staticmethod
    def dense(v: Tensor, u: Tensor) -> Tensor:
        # Block b of V meets b-th runs of U's columns, and makes the b-th run of the product's.
        return torch.einsum("mbr,bri->mbi", u.unflatten(1, (len(v), -1)), v).flatten(1)


PRODUCT = Product("block_dense", BlockDense)


def _slices(rows: Tensor, v: Tensor) -> Tensor:
    """(tokens, features) seen as (B, tokens, features / B)."""
    return rows.unflatten(1, (len(v), -1)).transpose(0, 1)
