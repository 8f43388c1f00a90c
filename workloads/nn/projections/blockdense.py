"""The block-dense projection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from kernels.block_dense import BlockDense
from kernels.factored import Factors
from workloads.nn.projections.base import Projection, orthonormal


class BlockDenseProjection(Projection):
    """y = U (blockdiag(V) x) + b with V (B, rank/B, n/B) and U (m, rank)."""

    operation = BlockDense
    reference_weights: ClassVar = {"v": ("blkdiag", "brn"), "u": ("lr", "mr")}

    def create_weights(self, n: int, m: int, sizes: Mapping[str, int]) -> None:
        rank, blocks = sizes["rank"], sizes["nblocks"]
        self.v = nn.Parameter(orthonormal(blocks, rank // blocks, n // blocks))
        self.u = nn.Parameter(orthonormal(m, rank))

    def factors(self) -> Factors:
        return Factors(self.v, self.u, self.bias)
