"""The block-dense projection."""

from __future__ import annotations

from torch import Tensor, nn

from kernels.block_dense import BlockDense, block_dense
from kernels.factored import Factors
from workloads.config.model import FFNConfig
from workloads.nn.projections.base import Projection, orthonormal


class BlockDenseProjection(Projection):
    """y = U (blockdiag(V) x) + b with V (B, rank/B, n/B) and U (m, rank)."""

    operation = BlockDense

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        assert ffn.rank is not None and ffn.nblocks is not None
        blocks = ffn.nblocks
        self.v = nn.Parameter(orthonormal(blocks, ffn.rank // blocks, n // blocks))
        self.u = nn.Parameter(orthonormal(m, ffn.rank))

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return block_dense(x, self.v, self.u, bias)

    def factors(self) -> Factors:
        return Factors(self.v, self.u, self.bias)
