"""The low-rank projection."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.block_dense import BlockDense
from kernels.factored import Factors
from workloads.config.model import FFNConfig
from workloads.nn.projections.base import Projection, normal


class LowRankProjection(Projection):
    """y = U (V x) + b with V (rank, n) and U (m, rank), spectrally initialized."""

    operation = BlockDense

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        assert ffn.rank is not None
        # The top of a fresh dense weight's spectrum, split evenly between the factors
        # (spectral initialization: Khodak et al. 2021, arXiv 2105.01029).
        left, values, right = torch.linalg.svd(normal(m, n), full_matrices=False)
        root = values[: ffn.rank].sqrt()
        # Contiguous, because the SVD's factors are column-major, and a product keeps its layout.
        self.v = nn.Parameter((root[:, None] * right[: ffn.rank]).contiguous())
        self.u = nn.Parameter((left[:, : ffn.rank] * root).contiguous())

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(F.linear(x, self.v), self.u, bias)

    def factors(self) -> Factors:
        return Factors(self.v[None], self.u, self.bias)
