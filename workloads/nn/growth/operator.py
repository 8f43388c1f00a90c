"""An operator of growth: what all have in common, and the layers that growth in depth copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from workloads.config.growth import GrowthPlan, LayerMap
from workloads.config.model import ModelConfig
from workloads.nn.growth.widening import Origins, Part, Weights, widened
from workloads.nn.transformer import Transformer


class Trace(NamedTuple):
    """Where the entries of a grown tensor come from.

    `entries` numbers those of the base's tensor `source`, from 1 on in row-major order, and is 0
    for new ones. The tensor is `original` unless another one is the first copy of `source`.
    """

    source: str
    original: bool
    entries: Tensor


class Operator:
    """Growth as one plan asks for it; `seed` decides what is drawn.

    Width grows first, then depth: an operator says how each goes.
    """

    def __init__(self, plan: GrowthPlan, seed: int = 0) -> None:
        self.plan, self.seed = plan, seed

    def grow(self, weights: Mapping[str, Tensor]) -> Weights:
        """Return the weights of the grown model, given those of the base."""
        grown = dict(weights)
        if self.plan.widens:
            grown = self.widen(grown)
        return self.deepen(grown) if self.plan.deepens else grown

    def widen(self, weights: Weights) -> Weights:
        """Return the weights of the base in the new width."""
        return widened(self.plan, weights, self.fresh(self.plan.wide), self)

    def deepen(self, weights: Weights) -> Weights:
        """Return the weights of the grown model, given those of the base in the new width."""
        raise NotImplementedError

    def preserves(self) -> bool:
        """Return whether the grown model computes what the base does, but for rounding."""
        raise NotImplementedError

    def moves_after(self) -> dict[str, int]:
        """Return after how many steps of AdamW new parameters have moved, by what they are.

        A token's row of the embedding moves in the first such step that reads the token.
        """
        raise NotImplementedError

    def equip(self, model: Transformer) -> None:
        """Add to the grown model what it has in training beside its weights."""

    def trace(self, weights: Mapping[str, Tensor]) -> dict[str, Trace]:
        """Return where the grown tensors come from that have entries of the base's, by name."""
        numbers = {name: torch.arange(1, t.numel() + 1).view_as(t) for name, t in weights.items()}
        if self.plan.widens:
            numbers = widened(self.plan, numbers, self.fresh(self.plan.wide), _Numbers(self))
        names = {name: name for name in numbers if not name.startswith("layers.")}
        for at, layer in enumerate(self.plan.layer_map):
            own = [name for name in numbers if name.startswith(f"layers.{layer}.")]
            names |= {name.replace(f".{layer}.", f".{at}.", 1): name for name in own}
        seen: set[str] = set()
        traces = {}
        for name, source in names.items():
            traces[name] = Trace(source, source not in seen, numbers[source].long())
            seen.add(source)
        return traces

    def axis(self, parts: Sequence[Part]) -> Origins:
        """Return where the features of a grown axis come from."""
        raise NotImplementedError

    def matrix(
        self, old: Tensor, out: Origins, into: Origins, held: Tensor, fresh: Tensor
    ) -> Tensor:
        """Return the grown matrix, as `Widening.matrix` says."""
        raise NotImplementedError

    def norm(self, name: str, old: Tensor, hidden: Origins, fresh: Tensor) -> Tensor:
        """Return the grown gain or bias of a norm."""
        raise NotImplementedError

    def fresh(self, model: ModelConfig) -> Weights:
        """Return the weights of a new model, in float64."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            drawn = Transformer(model)
        return {name: p.detach().double() for name, p in drawn.named_parameters()}


class _Numbers:
    """Growth in width of numbered entries: each keeps its number where it is copied."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def axis(self, parts: Sequence[Part]) -> Origins:
        return self.operator.axis(parts)

    def matrix(
        self, old: Tensor, out: Origins, into: Origins, held: Tensor, fresh: Tensor
    ) -> Tensor:
        copies = (held != 0) & ~out.new[:, None] & ~into.new
        return torch.where(copies, old[out.origin][:, into.origin], 0)

    def norm(self, name: str, old: Tensor, hidden: Origins, fresh: Tensor) -> Tensor:
        return torch.where(hidden.new, 0, old[hidden.origin])


def layers_from(
    layer_map: LayerMap, weights: Mapping[str, Tensor], model: ModelConfig, fresh: Weights
) -> Weights:
    """Return the weights of `model`, whose layers are copies as the map says, or fresh."""
    shared = {name: tensor for name, tensor in weights.items() if not name.startswith("layers.")}
    grown = {name: shared[name] for name in shared if name != "lm_head.weight"}
    for at, layer in enumerate(layer_map):
        source, origin = (fresh, at) if layer is None else (weights, layer)
        prefix = f"layers.{origin}."
        for name in [name for name in source if name.startswith(prefix)]:
            suffix = name.removeprefix(prefix)
            copy = source[name] if layer is None else moved(source[name], suffix, model, layer, at)
            grown[f"layers.{at}.{suffix}"] = copy.clone()
    return grown | shared


def moved(tensor: Tensor, suffix: str, model: ModelConfig, layer: int, at: int) -> Tensor:
    """Return a tensor of layer `layer`, named `suffix` within it, as layer `at` is to have it.

    It differs where attention scores are divided by the layer's number: queries undo that.
    """
    scaled = scaled_rows(suffix, model)
    if layer == at or not scaled:
        return tensor
    return torch.cat([tensor[:scaled] * ((at + 1) / (layer + 1)), tensor[scaled:]])


def scaled_rows(suffix: str, model: ModelConfig) -> int:
    """Return how many first rows of a layer's tensor are queries that undo the scale by the
    layer's number."""
    return model.attn_dim if model.inverse_layer_scale and "qkv_linear" in suffix else 0
