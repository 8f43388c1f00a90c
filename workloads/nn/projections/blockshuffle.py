"""The block-shuffle projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from kernels.block_shuffle import BlockShuffle
from kernels.factored import Factors
from workloads.nn.projections.base import Projection, orthonormal


class BlockShuffleProjection(Projection):
    """y = P^-1 blockdiag(U) P blockdiag(V) x + b: the Monarch form, bottleneck k = min(n, m).

    V is (B, k/B, n/B) and U is (B, m/B, k/B). P reads the k inner features as a (k/B, B) matrix
    and gives column l to block l; P^-1 puts entry s of block l at position s B + l.
    """

    operation = BlockShuffle
    reference_weights: ClassVar = {"v": ("blkdiag1", "bkn"), "u": ("blkdiag2", "bmk")}

    def create_weights(self, n: int, m: int, sizes: Mapping[str, int]) -> None:
        blocks, inner = sizes["nblocks"], min(n, m)
        self.v = nn.Parameter(orthonormal(blocks, inner // blocks, n // blocks))
        self.u = nn.Parameter(orthonormal(blocks, m // blocks, inner // blocks))

    def factors(self) -> Factors:
        return Factors(self.v, self.u, self.bias)

    def reference_guide(self) -> Tensor:
        return torch.block_diag(*self.u) @ torch.block_diag(*self.v)
