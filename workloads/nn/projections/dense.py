"""The dense projection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from workloads.nn.projections.base import Projection, normal


class DenseProjection(Projection):
    """y = W x + b."""

    reference_weights: ClassVar = {"weight": ("weight", "mn")}

    def create_weights(self, n: int, m: int, sizes: Mapping[str, int]) -> None:
        self.weight = nn.Parameter(normal(m, n))

    def product(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight, self.bias)

    def dense_weight(self) -> Tensor:
        return self.weight

    @staticmethod
    def matrices(weights: Mapping[str, Tensor]) -> list[Tensor]:
        return [weights["weight"]]

    @staticmethod
    def weights_of(
        matrices: Sequence[Tensor], shapes: Mapping[str, Sequence[int]]
    ) -> dict[str, Tensor]:
        return {"weight": matrices[0]}
