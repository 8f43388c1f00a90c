"""The block-shuffle projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kernels.block_shuffle import BlockShuffle
from kernels.factored import Factors
from workloads.nn.projections.base import (
    Projection,
    block_diagonal,
    diagonal_blocks,
    orthonormal,
)


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

    @staticmethod
    def matrices(weights: Mapping[str, Tensor]) -> list[Tensor]:
        return [
            block_diagonal(weights["v"]),
            _shuffled(block_diagonal(weights["u"]), len(weights["u"])),
        ]

    @staticmethod
    def weights_of(
        matrices: Sequence[Tensor], shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        blocks = shapes["u"][0]
        v, u = diagonal_blocks(matrices[0], blocks), matrices[1]
        # The inverse of a shuffle by B is that by the other side.
        in_blocks = _shuffled(u, len(u) // blocks, u.shape[1] // blocks)
        return {"v": v, "u": diagonal_blocks(in_blocks, blocks)}


def _shuffled(matrix: Tensor, row_blocks: int, column_blocks: int | None = None) -> Tensor:
    """Move row and column s of block l to position s B + l, for B blocks of rows and columns."""
    for dim, blocks in ((0, row_blocks), (1, column_blocks or row_blocks)):
        matrix = matrix.unflatten(dim, (blocks, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)
    return matrix
