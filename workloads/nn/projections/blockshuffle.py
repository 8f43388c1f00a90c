"""The block-shuffle projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kernels.block_shuffle import BlockShuffle, block_shuffle
from kernels.factored import Factors
from workloads.config.model import FFNConfig
from workloads.nn.projections.base import Projection, orthonormal


class BlockShuffleProjection(Projection):
    """y = P^-1 blockdiag(U) P blockdiag(V) x + b: the Monarch form, bottleneck k = min(n, m).

    V is (B, k/B, n/B) and U is (B, m/B, k/B). P reads the k inner features as a (k/B, B) matrix
    and gives column l to block l; P^-1 puts entry s of block l at position s B + l.
    """

    operation = BlockShuffle

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        assert ffn.nblocks is not None
        blocks, inner = ffn.nblocks, min(n, m)
        self.v = nn.Parameter(orthonormal(blocks, inner // blocks, n // blocks))
        self.u = nn.Parameter(orthonormal(blocks, m // blocks, inner // blocks))

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return block_shuffle(x, self.v, self.u, bias)

    def factors(self) -> Factors:
        return Factors(self.v, self.u, self.bias)

    def reference_guide(self) -> Tensor:
        return torch.block_diag(*self.u) @ torch.block_diag(*self.v)
