"""BlockDense: y = U (blockdiag(V) x) + b, without copying activations.

The blocks of x and of the inner features are slices of their rows. BLAS reads and writes such
slices in place, so each block's product goes directly into its slice, in the forward and in the
backward pass. LowRank is BlockDense with one block. Both are parametrizations of Wei et al. 2024
(arXiv 2406.16450), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.custom_op import left_to_compiler
from kernels.factored import FactoredLinear, Factors, multiply_blocks
from kernels.switches import fast


def block_dense(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a BlockDense layer: x (..., n) to (..., m). Under autocast products use its dtype.

    x may have any layout; it is not copied if its rows or its columns have no gaps.

    Args:
        x: (..., n).
        v: (B, rank/B, n/B), the diagonal blocks of V.
        u: (m, rank).
        bias: (m,) or None.
    """
    if left_to_compiler(x) or not fast("block_dense"):
        return reference(x, v, u, bias)
    return BLOCK_DENSE(x, Factors(v, u, bias))


def reference(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `block_dense` in plain torch."""
    inner = torch.einsum("bri,...bi->...br", v, x.unflatten(-1, (len(v), -1)))
    return F.linear(inner.flatten(-2), u, bias)


class BlockDense:
    """Factorization of a block-diagonal V and a dense U; its activations are row-major."""

    @staticmethod
    def allocate(like: Tensor, tokens: int, features: int) -> Tensor:
        return like.new_empty(tokens, features)

    @staticmethod
    def sizes(weights: Factors) -> tuple[int, int]:
        m, rank = weights.u.shape
        return rank, m

    @staticmethod
    def multiply(x: Tensor, weights: Factors, inner: Tensor, y: Tensor) -> None:
        v, u, bias = weights
        multiply_blocks(_blocks(x, v), v.mT, out=_blocks(inner, v))
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
        multiply_blocks(_blocks(d_inner, v).mT, _blocks(x, v), out=sums.v, add=True)
        multiply_blocks(_blocks(d_inner, v), v, out=_blocks(d_x, v))

    @staticmethod
    def linear(x: Tensor, weights: Factors) -> Tensor:
        return block_dense(x, weights.v, weights.u, weights.bias)

    @staticmethod
    def dense(v: Tensor, u: Tensor) -> Tensor:
        # Block b of V times the b-th slice of U's columns is the b-th slice of the dense columns.
        return torch.einsum("mbr,bri->mbi", u.unflatten(1, (len(v), -1)), v).flatten(1)


BLOCK_DENSE = FactoredLinear("block_dense", BlockDense)


def _blocks(activations: Tensor, v: Tensor) -> Tensor:
    """View (tokens, features) as (B, tokens, features / B): block b is the b-th slice."""
    return activations.unflatten(1, (len(v), -1)).transpose(0, 1)
