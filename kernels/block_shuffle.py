"""BlockShuffle, a Monarch product: y = P^-1 blockdiag(U) P blockdiag(V) x + b, without shuffling.

The permutation P reads the k inner features as a (k/B, B) matrix and gives column l to block l of
U. Its inverse P^-1 puts entry s of block l at position s B + l. Both are only views here: if
activations are stored feature-major, the features l, l + B, ... of a block are matrix rows at equal
distances, which BLAS reads and writes in place. Forward and backward products therefore run
feature-major, and only the narrow side of the layer is ever transposed. The parametrization is that
of Wei et al. 2024 (arXiv 2406.16450), section 3, after Dao et al. 2022 (arXiv 2204.00595).
"""

from __future__ import annotations

import torch
from torch import Tensor

from kernels.custom_op import left_to_compiler
from kernels.factored import FactoredLinear, Factors, multiply_blocks
from kernels.switches import fast


def block_shuffle(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Apply a BlockShuffle layer: x (..., n) to (..., m). Under autocast products use its dtype.

    If m > n the result is a transposed view, feature-major in memory. Element-wise operations
    (GELU, dropout) keep that layout, and a second `block_shuffle` takes it without a copy.
    Otherwise the result is contiguous. The gradient by x has the layout of x.

    Args:
        x: (..., n).
        v: (B, k/B, n/B), the diagonal blocks of V.
        u: (B, m/B, k/B), the diagonal blocks of U.
        bias: (m,) or None.
    """
    if left_to_compiler(x) or not fast("block_shuffle"):
        return reference(x, v, u, bias)
    return BLOCK_SHUFFLE(x, Factors(v, u, bias))


def reference(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Compute `block_shuffle` in plain torch."""
    num_blocks = len(v)
    inner = torch.einsum("bri,...bi->...br", v, x.unflatten(-1, (num_blocks, -1)))
    shuffled = inner.flatten(-2).unflatten(-1, (-1, num_blocks))
    y = torch.einsum("lsr,...rl->...sl", u, shuffled).flatten(-2)
    return y if bias is None else y + bias.to(y.dtype)


class BlockShuffle:
    """Factorization of two block-diagonal factors; its activations are feature-major."""

    @staticmethod
    def allocate(like: Tensor, tokens: int, features: int) -> Tensor:
        return like.new_empty(features, tokens).t()

    @staticmethod
    def sizes(weights: Factors) -> tuple[int, int]:
        num_blocks, m_block, k_block = weights.u.shape
        return num_blocks * k_block, num_blocks * m_block

    @staticmethod
    def multiply(x: Tensor, weights: Factors, inner: Tensor, y: Tensor) -> None:
        v, u, bias = weights
        in_place = y.t().is_contiguous()
        feature_major = y if in_place else BlockShuffle.allocate(y, len(y), y.shape[1])
        multiply_blocks(v, _blocks(x, v), out=_blocks(inner, v))
        multiply_blocks(u, _shuffled_blocks(inner, v), out=_shuffled_blocks(feature_major, v))
        if bias is not None:
            feature_major.add_(bias)
        if not in_place:
            y.copy_(feature_major)

    @staticmethod
    def differentiate(
        d_y: Tensor, x: Tensor, inner: Tensor, weights: Factors, d_x: Tensor, sums: Factors
    ) -> None:
        v, u, _ = weights
        if sums.bias is not None:
            sums.bias.add_(d_y.sum(0, dtype=sums.bias.dtype))
        d_y = d_y.t().contiguous().t()  # This copies only the narrow side, which is row-major.
        shuffled_d_y = _shuffled_blocks(d_y, v)
        multiply_blocks(shuffled_d_y, _shuffled_blocks(inner, v).mT, out=sums.u, add=True)
        d_inner = torch.empty_like(inner)
        multiply_blocks(u.mT, shuffled_d_y, out=_shuffled_blocks(d_inner, v))
        multiply_blocks(_blocks(d_inner, v), _blocks(x, v).mT, out=sums.v, add=True)
        multiply_blocks(v.mT, _blocks(d_inner, v), out=_blocks(d_x, v))

    @staticmethod
    def linear(x: Tensor, weights: Factors) -> Tensor:
        return block_shuffle(x, weights.v, weights.u, weights.bias)

    @staticmethod
    def dense(v: Tensor, u: Tensor) -> Tensor:
        num_blocks, k_block, _ = v.shape
        if k_block % num_blocks:
            # The blocks of V and of U do not share equal numbers of inner features: V in full.
            whole_v = torch.block_diag(*v).unflatten(0, (-1, num_blocks))
            return torch.einsum("lsr,rlj->slj", u, whole_v).flatten(0, 1)
        # Inner feature t B + l of block b of V is feature b k/B^2 + t of block l of U. Each pair
        # (b, l) of blocks shares k/B^2 inner features, and is one small product.
        shared_u = u.unflatten(2, (num_blocks, -1))
        shared_v = v.unflatten(1, (-1, num_blocks))
        return torch.einsum("lsbt,btli->slbi", shared_u, shared_v).flatten(2).flatten(0, 1)


BLOCK_SHUFFLE = FactoredLinear("block_shuffle", BlockShuffle)


def _blocks(activations: Tensor, v: Tensor) -> Tensor:
    """View (tokens, features) as (B, features / B, tokens): block b is the b-th slice."""
    return activations.t().unflatten(0, (len(v), -1))


def _shuffled_blocks(activations: Tensor, v: Tensor) -> Tensor:
    """View (tokens, features) as (B, features / B, tokens): block l is features l, l + B, ..."""
    return activations.t().unflatten(0, (-1, len(v))).transpose(0, 1)
