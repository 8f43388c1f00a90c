"""The feedforward layer: two projections of one kind around an activation."""

from __future__ import annotations

from pkgutil import resolve_name

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from kernels.bias_activation import bias_activation
from kernels.feed_forward import feed_forward, suits
from workloads.config.ffn_kinds import FFN_KINDS
from workloads.config.model import FFNConfig, ModelConfig
from workloads.nn.projections.base import Projection


def projection_class(kind: str) -> type[Projection]:
    """Return the class that the table of kinds names, imported on demand."""
    return resolve_name(FFN_KINDS[kind].projection)


class FeedForward(nn.Module):
    """fc2(activation(fc1(x))) with both projections of one kind; (..., hidden_dim) to the same.

    With `tile_tokens` a training pass takes so many tokens at a time, and computes each tile again
    in the backward pass: what an FFN holds beside its input and output is that of one tile.
    """

    def __init__(self, model: ModelConfig, ffn: FFNConfig) -> None:
        super().__init__()
        projection = projection_class(ffn.kind)
        (n1, m1), (n2, m2) = model.ffn_shapes
        self.activation, self.wide = model.activation, m1
        self.fc1 = projection(n1, m1, ffn, model.bias)
        self.fc2 = projection(n2, m2, ffn, model.bias)
        self.tile_tokens = 0

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.shape[:-1].numel()
        if not (self.tile_tokens and self.training and tokens > self.tile_tokens):
            return self._whole(x)
        tiles = x.reshape(tokens, -1).split(self.tile_tokens)
        done = [checkpoint(self._whole, tile, use_reentrant=False) for tile in tiles]
        return torch.cat(done).view(x.shape)

    def _whole(self, x: Tensor) -> Tensor:
        operation, plain = self.fc1.operation, self.fc1.plain and self.fc2.plain
        if operation and self.training and plain and suits(x, self.wide):
            first, second = self.fc1.factors(), self.fc2.factors()
            return feed_forward(operation, x, first, second, self.activation)
        # The bias is already there: a product adds it at no cost.
        return self.fc2(bias_activation(self.fc1(x), None, self.activation))
