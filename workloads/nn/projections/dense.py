"""The dense projection."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from workloads.config.model import FFNConfig
from workloads.nn.projections.base import Projection, normal


class DenseProjection(Projection):
    """y = W x + b."""

    def create_weights(self, n: int, m: int, ffn: FFNConfig) -> None:
        self.weight = nn.Parameter(normal(m, n))

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, self.weight, bias)

    def dense_weight(self) -> Tensor:
        return self.weight

    @property
    def trains_alone(self) -> bool:
        return False  # It is no `operation`.

    def premerge(self, crossover_tokens: int) -> None:
        """Nothing to merge."""
