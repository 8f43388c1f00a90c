"""The feedforward layer and the parametrizations of its two projections.

Definitions: Wei et al. 2024 (arXiv 2406.16450), section 3. Each projection maps (..., n) to
(..., m); a new one is a class in `projections/` and a row of the table in `config/ffn_kinds.py`.
"""

from __future__ import annotations

from torch import Tensor, nn

from kernels.bias_activation import bias_activation
from kernels.feed_forward import feed_forward, suits
from workloads.config.model import FFNConfig, ModelConfig
from workloads.nn.projections.base import Projection
from workloads.nn.projections.blockdense import BlockDenseProjection
from workloads.nn.projections.blockshuffle import BlockShuffleProjection
from workloads.nn.projections.dense import DenseProjection
from workloads.nn.projections.lowrank import LowRankProjection

PROJECTIONS: dict[str, type[Projection]] = {
    "dense": DenseProjection,
    "lowrank": LowRankProjection,
    "blockdense": BlockDenseProjection,
    "blockshuffle": BlockShuffleProjection,
}


class FeedForward(nn.Module):
    """fc2(activation(fc1(x))) with both projections of one kind; (..., hidden_dim) to the same."""

    def __init__(self, model: ModelConfig, ffn: FFNConfig) -> None:
        super().__init__()
        projection = PROJECTIONS[ffn.kind]
        (n1, m1), (n2, m2) = model.ffn_shapes
        self.activation = model.activation
        self.fc1 = projection(n1, m1, ffn, model.bias)
        self.fc2 = projection(n2, m2, ffn, model.bias)

    def forward(self, x: Tensor) -> Tensor:
        alone = self.training and self.fc1.trains_alone and self.fc2.trains_alone
        if alone and suits(x):
            first, second = self.fc1.factors(), self.fc2.factors()
            return feed_forward(self.fc1.operation, x, first, second, self.activation)
        # The bias is already there: a product adds it at no cost.
        return self.fc2(bias_activation(self.fc1(x), None, self.activation))
