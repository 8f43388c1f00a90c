"""Random: growth by fresh weights that fade in (G_random of arXiv 2405.15319, section 3).

A new layer gives m block(x) + (1 - m) x. New features are multiplied by m where they are written:
those of the FFN first, then those of the residual stream, then those of the heads, each over
`mask_steps` G. While m is 0 the function is the base's; norms count a masked feature in part (Yao
et al. 2024, arXiv 2305.02869, section 3). m is a function of the steps since growth, so that a
resumed run goes on with the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from workloads.config.growth import GrowthPlan
from workloads.nn.growth.operator import Operator, layers_from
from workloads.nn.growth.widening import Origins, Part, Weights, grown_matrix, placed
from workloads.nn.transformer import Block, Transformer

# The parts of the width in the order in which they fade in.
FADES = ("ffn", "stream", "heads")


class Random(Operator):
    """Fresh layers on top, and fresh features; the weights are those behind the masks."""

    def axis(self, parts: Sequence[Part]) -> Origins:
        # Masks silence new features, but for those between the factors of a projection.
        return placed(parts, silent=parts[0].space not in ("fc1", "fc2"))

    def matrix(
        self, old: Tensor, out: Origins, into: Origins, held: Tensor, fresh: Tensor
    ) -> Tensor:
        return grown_matrix(old, out, into, held, fresh)

    def norm(self, name: str, old: Tensor, hidden: Origins, fresh: Tensor) -> Tensor:
        return torch.where(hidden.new, fresh, old[hidden.origin])

    def deepen(self, weights: Weights) -> Weights:
        model = self.plan.model
        return layers_from(self.plan.layer_map, weights, model, self.fresh(model))

    def equip(self, model: Transformer) -> None:
        add_masks(model, self.plan)

    def preserves(self) -> bool:
        return False  # The weights by themselves are those behind masks of 1.

    def moves_after(self) -> dict[str, int]:
        steps = self.plan.options.mask_steps
        # A new feature between factors is read after one step, what reads it moves then.
        parts = {"the FFN": 3, "the residual stream": steps + 2, "the heads": 2 * steps + 2}
        after = {f"new features of {part}": least for part, least in parts.items()}
        depth = {"new layers": 2}
        return (after if self.plan.widens else {}) | (depth if self.plan.deepens else {})


class Masks(nn.Module):
    """The masks of a model that has grown as `plan` says; they are not part of its weights.

    `block` is m of new layers; `ffn`, `stream` and `heads` are those of the features of all FFNs,
    of the residual stream and of the heads, 1 for those of the base.
    """

    block: Tensor
    ffn: Tensor
    stream: Tensor
    heads: Tensor

    def __init__(self, plan: GrowthPlan) -> None:
        super().__init__()
        old, new = plan.base, plan.model
        self.steps, self.plan = plan.options.mask_steps, plan
        self.old = {"ffn": old.ffn_dim, "stream": old.hidden_dim, "heads": old.attn_dim}
        sizes = {"ffn": new.ffn_dim, "stream": new.hidden_dim, "heads": new.attn_dim, "block": 1}
        for name, size in sizes.items():
            self.register_buffer(name, torch.ones(size), persistent=False)
        self.set(0)

    def set(self, step: int) -> None:
        """Set the masks for the step after `step` steps since growth."""
        self.block.fill_(self._share(step))
        for name, old in self.old.items():
            self.get_buffer(name)[old:] = self._share(step - FADES.index(name) * self.steps)

    def _share(self, step: int) -> float:
        return min(1.0, max(0.0, step / self.steps))

    def normed(self, norm: nn.Module, x: Tensor) -> Tensor:
        """Return what the norm gives where a feature counts as much as its mask."""
        assert isinstance(norm, nn.LayerNorm | nn.RMSNorm) and norm.eps is not None
        count = self.stream.sum()
        if isinstance(norm, nn.LayerNorm):
            x = x - self.stream * (x.sum(-1, keepdim=True) / count)
        y = x / (x.pow(2).sum(-1, keepdim=True) / count + norm.eps).sqrt() * norm.weight
        bias = norm.bias if isinstance(norm, nn.LayerNorm) else None
        return y if bias is None else y + self.stream * bias


def add_masks(model: Transformer, plan: GrowthPlan) -> Masks:
    """Put masks on a grown model, as hooks: names, weights and code of its modules stay."""
    masks = Masks(plan).to(model.device, model.wte.weight.dtype)
    model.add_module("masks", masks)
    for layer, origin in zip(model.layers, plan.layer_map, strict=True):
        assert isinstance(layer, Block)
        if plan.widens:
            for written in (layer.attention, layer.mlp):
                _after(written, lambda _, x, y: y * masks.stream)
            for norm in (layer.ln1, layer.ln2):
                _after(norm, lambda norm, x, y: masks.normed(norm, x))
            _before(layer.attention.o_linear, lambda x: x * masks.heads)
            _before(layer.mlp.fc2, lambda x: x * masks.ffn)
        if origin is None:
            _after(layer, lambda _, x, y: x + masks.block * (y - x))
    if plan.widens:
        _after(model.dropout, lambda _, x, y: y * masks.stream)  # the sum of the embeddings
        _after(model.ln_f, lambda norm, x, y: masks.normed(norm, x))
    return masks


def _after(module: nn.Module, change: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> None:
    """Change the module's output, given itself, its first input and that output."""

    def hook(own: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return change(own, inputs[0], output)

    module.register_forward_hook(hook)


def _before(module: nn.Module, change: Callable[[Tensor], Tensor]) -> None:
    """Change the module's input."""

    def hook(own: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (change(inputs[0]),)

    module.register_forward_pre_hook(hook)
