"""The feedforward layer and the four parametrizations of its two projections.

Definitions: Wei et al. 2024 (arXiv 2406.16450), section 3. Each projection maps (..., n) to
(..., m); a new one is a class here, a row of `PROJECTIONS`, and its weight count in `flops.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workloads.config import FFNConfig, FFNKind, ModelConfig

INIT_STD = 0.02


class Projection(Protocol):
    """A linear map from n to m features with a bias."""

    bias: nn.Parameter

    def __call__(self, x: Tensor) -> Tensor:
        """(..., n) to (..., m)."""
        ...

    def dense_weight(self) -> Tensor:
        """The (m, n) matrix that the structured weights multiply out to."""
        ...


class DenseProjection(nn.Linear):
    """y = W x + b."""

    def __init__(self, n: int, m: int, ffn: FFNConfig) -> None:
        super().__init__(n, m)
        nn.init.normal_(self.weight, std=INIT_STD)
        nn.init.zeros_(self.bias)

    def dense_weight(self) -> Tensor:
        return self.weight


class LowRankProjection(nn.Module):
    """y = U (V x) + b with V (rank, n) and U (m, rank), spectrally initialized."""

    def __init__(self, n: int, m: int, ffn: FFNConfig) -> None:
        super().__init__()
        assert ffn.rank is not None
        # The top of a fresh dense weight's spectrum, split evenly between the factors
        # (spectral initialization: Khodak et al. 2021, arXiv 2105.01029).
        dense = torch.empty(m, n).normal_(std=INIT_STD)
        left, values, right = torch.linalg.svd(dense, full_matrices=False)
        root = values[: ffn.rank].sqrt()
        # Contiguous, because the SVD's factors are column-major, and a product keeps its layout.
        self.v = nn.Parameter((root[:, None] * right[: ffn.rank]).contiguous())
        self.u = nn.Parameter((left[:, : ffn.rank] * root).contiguous())
        self.bias = nn.Parameter(torch.zeros(m))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.v), self.u, self.bias)

    def dense_weight(self) -> Tensor:
        return self.u @ self.v


class BlockDenseProjection(nn.Module):
    """y = U (blockdiag(V) x) + b with V (B, rank/B, n/B) and U (m, rank)."""

    def __init__(self, n: int, m: int, ffn: FFNConfig) -> None:
        super().__init__()
        assert ffn.rank is not None and ffn.nblocks is not None
        blocks = ffn.nblocks
        self.v = nn.Parameter(_orthonormal(blocks, ffn.rank // blocks, n // blocks))
        self.u = nn.Parameter(_orthonormal(m, ffn.rank))
        self.bias = nn.Parameter(torch.zeros(m))

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.einsum("bri,...bi->...br", self.v, x.unflatten(-1, (self.v.shape[0], -1)))
        return F.linear(inner.flatten(-2), self.u, self.bias)

    def dense_weight(self) -> Tensor:
        return self.u @ torch.block_diag(*self.v)


class BlockShuffleProjection(nn.Module):
    """y = P^-1 blockdiag(U) P blockdiag(V) x + b: the Monarch form, bottleneck k = min(n, m).

    V is (B, k/B, n/B) and U is (B, m/B, k/B). P reads the k inner features as a (k/B, B) matrix
    and gives column l to block l; P^-1 puts entry s of block l at position s B + l.
    """

    def __init__(self, n: int, m: int, ffn: FFNConfig) -> None:
        super().__init__()
        assert ffn.nblocks is not None
        blocks, inner = ffn.nblocks, min(n, m)
        self.v = nn.Parameter(_orthonormal(blocks, inner // blocks, n // blocks))
        self.u = nn.Parameter(_orthonormal(blocks, m // blocks, inner // blocks))
        self.bias = nn.Parameter(torch.zeros(m))

    def forward(self, x: Tensor) -> Tensor:
        blocks = self.v.shape[0]
        inner = torch.einsum("bri,...bi->...br", self.v, x.unflatten(-1, (blocks, -1)))
        shuffled = inner.flatten(-2).unflatten(-1, (-1, blocks))
        return torch.einsum("lsr,...rl->...sl", self.u, shuffled).flatten(-2) + self.bias

    def dense_weight(self) -> Tensor:
        blocks, _, k_block = self.u.shape
        v = torch.block_diag(*self.v).unflatten(0, (k_block, blocks))
        return torch.einsum("lsr,rln->sln", self.u, v).flatten(0, 1)


PROJECTIONS: dict[FFNKind, Callable[[int, int, FFNConfig], Projection]] = {
    "dense": DenseProjection,
    "lowrank": LowRankProjection,
    "blockdense": BlockDenseProjection,
    "blockshuffle": BlockShuffleProjection,
}


class FeedForward(nn.Module):
    """fc2(gelu(fc1(x))) with both projections of one kind; (..., hidden_dim) to the same."""

    def __init__(self, model: ModelConfig, ffn: FFNConfig) -> None:
        super().__init__()
        projection = PROJECTIONS[ffn.kind]
        self.fc1 = projection(model.hidden_dim, model.ffn_dim, ffn)
        self.fc2 = projection(model.ffn_dim, model.hidden_dim, ffn)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


def _orthonormal(*shape: int) -> Tensor:
    """The polar factor of a normal draw, block by block: orthonormal rows or columns."""
    normal = torch.empty(*shape).normal_(std=INIT_STD)
    left, _, right = torch.linalg.svd(normal, full_matrices=False)
    return (left @ right).contiguous()
