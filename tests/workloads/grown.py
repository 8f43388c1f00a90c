"""Small models to grow, and their logits by the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from workloads.config.growth import GrowthPlan, plan_growth
from workloads.config.growth_options import GrowthOptions
from workloads.config.model import ModelConfig
from workloads.nn.growth.grow import operator_of
from workloads.nn.growth.operator import Operator
from workloads.nn.outline import filled, outline
from workloads.nn.transformer import Transformer

SHAPE: dict[str, Any] = {
    "vocab_size": 11,
    "block_size": 12,
    "num_layers": 2,
    "hidden_dim": 16,
    "ffn_dim": 24,
    "num_heads": 4,
}
FFNS = [
    pytest.param({}, id="dense"),
    pytest.param({"kind": "lowrank", "rank": 3}, id="lowrank"),
    pytest.param({"kind": "blockdense", "rank": 4, "nblocks": 2}, id="blockdense"),
    pytest.param({"kind": "blockshuffle", "nblocks": 4}, id="blockshuffle"),
    pytest.param(
        {"kind": "blockshuffle", "nblocks": 2, "keep_first_dense": False}, id="all-blockshuffle"
    ),
]
LLAMA = {"norm": "rmsnorm", "activation": "swiglu", "bias": False}
OPTIONS = [
    pytest.param({}, id="gpt"),
    pytest.param({"position": "absolute", "inverse_layer_scale": True}, id="absolute-scaled"),
    pytest.param(LLAMA | {"tie_embeddings": False, "num_kv_heads": 2}, id="llama"),
    pytest.param({"norm": "rmsnorm", "num_kv_heads": 2}, id="rmsnorm-tied-gqa"),
]


def base_of(**options: Any) -> ModelConfig:
    return ModelConfig.model_validate(SHAPE | options)


def built(shape: ModelConfig, seed: int = 0) -> Transformer:
    """In float64, with no parameter at a special value such as a bias of 0."""
    torch.manual_seed(seed)
    model = Transformer(shape).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


def plan_of(base: ModelConfig, **options: Any) -> GrowthPlan:
    return plan_growth(base, GrowthOptions.model_validate(options))


def grown_by(model: Transformer, **options: Any) -> tuple[Operator, Transformer]:
    """The operator, and the grown model in float64."""
    operator = operator_of(plan_of(model.config, **options), seed=1)
    return operator, with_weights(operator.plan.model, operator.grow(weights_of(model)))


def with_weights(shape: ModelConfig, weights: dict[str, Tensor]) -> Transformer:
    return filled(outline(shape, False, False), weights, {}, torch.float64)


@torch.no_grad()
def moved(before: nn.Module, after: nn.Module) -> float:
    """The largest change of a logit, relative to the largest logit."""
    tokens = torch.randint(SHAPE["vocab_size"], (3, SHAPE["block_size"]))
    logits = before(tokens)
    return float((after(tokens) - logits).abs().max() / logits.abs().max())
