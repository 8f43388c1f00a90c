"""Zero: growth that leaves the function as it is, because something on each new way is zero.

In depth the copies of a layer write nothing: the weights with which attention and FFN end are zero,
and the block is the identity. In width the new features of FFN and heads are computed from random
weights and not read yet; those of the residual stream are read with random weights and not written
yet. So every new weight gets a gradient as soon as the zeros on its way have moved (G_zero of
arXiv 2405.15319, section 3, whose public code instead zeroes both ends of some ways).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workloads.config.growth import silent_stream
from workloads.config.model import layer_ffns
from workloads.nn.ffn import projection_class
from workloads.nn.growth.operator import Operator, layers_from
from workloads.nn.growth.widening import (
    Origins,
    Part,
    Weights,
    copied,
    copied_norm,
    grown_matrix,
    matrices_of,
    placed,
)


class Zero(Operator):
    """Identity blocks, and features that are not read or not written yet."""

    def axis(self, parts: Sequence[Part]) -> Origins:
        if parts[0].space != "hidden":
            return placed(parts)
        return placed(parts, silent=True, unwritten=True) if self.silent else copied(parts)

    def matrix(
        self, old: Tensor, out: Origins, into: Origins, held: Tensor, fresh: Tensor
    ) -> Tensor:
        grown = grown_matrix(old, out, into, held, fresh)
        if out.unwritten and self.plan.base.norm == "layernorm":
            # A norm that subtracts the mean takes features that hold the mean for nothing.
            mean = grown[~out.new].mean(0)
            grown = torch.where(out.new[:, None], mean, grown)
        return grown

    def norm(self, name: str, old: Tensor, hidden: Origins, fresh: Tensor) -> Tensor:
        if not self.silent:
            return copied_norm(self.plan, name, old, hidden)
        # The mean square is over more features, which hold nothing; the eps is scaled with it.
        gain = math.sqrt(self.plan.base.hidden_dim / self.plan.wide.hidden_dim)
        factor = gain if name.endswith(".weight") else 1.0
        return torch.where(hidden.new, fresh, factor * old[hidden.origin])

    @property
    def silent(self) -> bool:
        """True where new features of the residual stream hold nothing, False where they copy."""
        return silent_stream(self.plan.base, self.plan.options)

    def deepen(self, weights: Weights) -> Weights:
        model, layer_map = self.plan.model, self.plan.layer_map
        firsts = [layer_map.index(layer) for layer in range(self.plan.base.num_layers)]
        grown = layers_from(layer_map, weights, model, {})
        for at, ffn in enumerate(layer_ffns(model)):
            if at not in firsts:
                self._silence(grown, f"layers.{at}.", ffn.kind)
        return grown

    def preserves(self) -> bool:
        return True

    def moves_after(self) -> dict[str, int]:
        depth = {"ends of new blocks": 1, "other weights of new blocks": 2}
        width = {"weights that are zero": 1, "other new weights": 2}
        return (width if self.plan.widens else {}) | (depth if self.plan.deepens else {})

    def _silence(self, weights: Weights, layer: str, kind: str) -> None:
        """Zero the weights with which the layer's attention and FFN end."""
        own = [name for name in weights if name.startswith(f"{layer}mlp.fc2.")]
        named = {name.rpartition(".")[2]: name for name in own if not name.endswith(".bias")}
        projection = projection_class(kind)
        *others, last = matrices_of(projection, named, weights)
        shapes = {short: weights[name].shape for short, name in named.items()}
        ended = projection.weights_of([*others, torch.zeros_like(last)], shapes)
        weights |= {name: ended[short].contiguous() for short, name in named.items()}
        for name in (f"{layer}attention.o_linear.weight", f"{layer}attention.o_linear.bias"):
            if name in weights:
                weights[name] = torch.zeros_like(weights[name])
        if (bias := f"{layer}mlp.fc2.bias") in weights:
            weights[bias] = torch.zeros_like(weights[bias])
