"""The low-rank projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.block_dense import BlockDense
from kernels.factored import Factors
from workloads.nn.projections.base import Projection, normal


class LowRankProjection(Projection):
    """y = U (V x) + b with V (rank, n) and U (m, rank), spectrally initialized."""

    operation = BlockDense
    reference_weights: ClassVar = {"v": ("lr1", "rn"), "u": ("lr2", "mr")}

    def create_weights(self, n: int, m: int, sizes: Mapping[str, int]) -> None:
        rank = sizes["rank"]
        # The top of a fresh dense weight's spectrum, split evenly between the factors
        # (spectral initialization: Khodak et al. 2021, arXiv 2105.01029).
        left, values, right = torch.linalg.svd(normal(m, n), full_matrices=False)
        root = values[:rank].sqrt()
        # Contiguous, because the SVD's factors are column-major, and a product keeps its layout.
        self.v = nn.Parameter((root[:, None] * right[:rank]).contiguous())
        self.u = nn.Parameter((left[:, :rank] * root).contiguous())

    def product(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(x, self.v), self.u, self.bias)

    def factors(self) -> Factors:
        return Factors(self.v[None], self.u, self.bias)

    @staticmethod
    def matrices(weights: Mapping[str, Tensor]) -> list[Tensor]:
        return [weights["v"], weights["u"]]

    @staticmethod
    def weights_of(
        matrices: Sequence[Tensor], shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        v, u = matrices
        return {"v": v, "u": u}
