"""Grow a model: from a plan and the base's weights to the grown ones, and what is known of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pkgutil import resolve_name

import torch
from torch import Tensor

from workloads.config.growth import GrowthPlan, LayerMap
from workloads.config.model import ModelConfig
from workloads.cost.flops import count_params
from workloads.nn.growth.operator import Operator
from workloads.nn.growth.widening import Weights
from workloads.nn.outline import filled, outline
from workloads.nn.transformer import Transformer

# Random tokens of the comparison of a grown model with its base.
COMPARED_ROWS, COMPARED_TOKENS = 2, 64


@dataclass(frozen=True)
class GrowthRecord:
    """What is known of a growth.

    `layer_map` is the base layer of each layer, None for a new one. `preserves` says whether the
    function is preserved in theory, and `logits_moved` by how much the largest change of a logit of
    random tokens is, in float64. `moves_after` is the number of AdamW steps after which the new
    parameters have moved, by what they are.
    """

    operator: str
    layer_map: LayerMap
    base_params: int
    params: int
    preserves: bool
    logits_moved: float
    moves_after: dict[str, int]


def operator_of(plan: GrowthPlan, seed: int = 0, matrices: Weights | None = None) -> Operator:
    """Return the plan's operator; `matrices` are those of `learn`."""
    operator = resolve_name(plan.options.row.operator)
    return operator(plan, seed) if matrices is None else operator(plan, seed, matrices)


def grow(
    plan: GrowthPlan,
    weights: Mapping[str, Tensor],
    seed: int = 0,
    matrices: Weights | None = None,
) -> tuple[Weights, GrowthRecord]:
    """Return the grown weights, in the types of the base's, and the record of the growth.

    Computed in float64. Raises Misfit or InputError where the parts do not fit.
    """
    exact = {name: tensor.detach().double() for name, tensor in weights.items()}
    operator = operator_of(plan, seed, matrices)
    grown = operator.grow(exact)
    record = GrowthRecord(
        operator=plan.options.operator,
        layer_map=plan.layer_map,
        base_params=count_params(plan.base).total,
        params=sum(tensor.numel() for tensor in grown.values()),
        preserves=operator.preserves(),
        logits_moved=_logits_moved(plan, exact, grown, seed),
        moves_after=operator.moves_after(),
    )
    dtype = next(iter(weights.values())).dtype
    return {name: tensor.to(dtype) for name, tensor in grown.items()}, record


@torch.no_grad()
def _logits_moved(plan: GrowthPlan, base: Weights, grown: Weights, seed: int) -> float:
    draws = torch.Generator().manual_seed(seed)
    shape = (COMPARED_ROWS, min(COMPARED_TOKENS, plan.base.block_size))
    tokens = torch.randint(plan.base.vocab_size, shape, generator=draws)
    before = _model(plan.base, base)(tokens)
    return float((_model(plan.model, grown)(tokens) - before).abs().max())


def _model(config: ModelConfig, weights: Weights) -> Transformer:
    model = outline(config, guided=False, norm_biases="ln_f.bias" in weights)
    return filled(model, weights, {}, torch.float64).eval()
