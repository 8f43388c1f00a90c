"""The block-dense projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from kernels.block_dense import BlockDense
from kernels.factored import Factors
from workloads.nn.projections.base import (
    Projection,
    block_diagonal,
    diagonal_blocks,
    orthonormal,
)


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

    @staticmethod
    def matrices(weights: Mapping[str, Tensor]) -> list[Tensor]:
        return [block_diagonal(weights["v"]), weights["u"]]

    @staticmethod
    def weights_of(
        matrices: Sequence[Tensor], shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        v, u = matrices
        return {"v": diagonal_blocks(v, shapes["v"][0]), "u": u}
