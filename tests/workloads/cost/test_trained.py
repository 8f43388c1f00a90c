"""What an optimizer is said to train, against real models of every kind."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from workloads.config.model import FFNConfig, GuideConfig, ModelConfig
from workloads.cost.flops import trained, trained_params
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer
from workloads.optim.adamw import AdamWConfig
from workloads.optim.muon_config import orthogonalization_flops
from workloads.recipes.recipe import Recipe

FFNS = [
    FFNConfig(),
    FFNConfig(kind="lowrank", rank=5),
    FFNConfig(kind="blockdense", rank=6, nblocks=3),
    FFNConfig(kind="blockshuffle", nblocks=3, keep_first_dense=False),
]


def as_matrices(parameter: nn.Parameter) -> tuple[int, int, int]:
    blocks, rows, columns = (1, *parameter.shape)[-3:]
    return blocks, rows, columns


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("ffn", FFNS, ids=lambda ffn: ffn.kind)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_kv_heads": 1, "activation": "swiglu", "norm": "rmsnorm", "bias": False},
        {"position": "absolute", "tie_embeddings": False, "attn_dim": 18},
    ],
    ids=["plain", "swiglu", "absolute"],
)
def test_the_matrices_are_those_of_the_model(
    ffn: FFNConfig, options: dict[str, Any], guided: bool
) -> None:
    if guided and ffn.is_dense:
        pytest.skip("a dense FFN has no guide")
    guide = GuideConfig(ratio=0.5) if guided else None
    sizes = {"vocab_size": 31, "block_size": 7, "num_layers": 3, "hidden_dim": 12, "ffn_dim": 24}
    values = sizes | {"num_heads": 3, "ffn": ffn, "guide": guide} | options
    config = ModelConfig.model_validate(values)
    model = Transformer(config)
    if guide:
        add_guides(model, guide)
    layers = [p for n, p in model.named_parameters() if n.startswith("layers.") and p.ndim > 1]
    found = trained(config)
    assert Counter(found.hidden_matrices) == Counter(map(as_matrices, layers))
    assert found.in_hidden_matrices == sum(p.numel() for p in layers)
    assert found.parameters == trained_params(config) == sum(p.numel() for p in model.parameters())
    assert found.head == model.head_weight.numel()


def test_the_three_hour_recipe_decays_neither_norms_nor_the_tied_embedding() -> None:
    run = Recipe(preset="noam-wide").resolve()
    with torch.device("meta"):
        model = Transformer(run.model)
    decayed, others = run.optimizer.parameter_groups(model)
    counts = [sum(p.numel() for p in group["params"]) for group in (decayed, others)]
    assert counts == [128_450_560, 51_532_800] and sum(counts) == 179_983_360
    assert (decayed["weight_decay"], others["weight_decay"]) == (0.1, 0.0)
    assert trained(run.model).in_hidden_matrices == counts[0]
    (group,) = AdamWConfig(learning_rate=1.0).parameter_groups(model)
    assert sum(p.numel() for p in group["params"]) == 179_983_360


def test_the_products_of_an_orthogonalization_by_hand() -> None:
    # Five times: 3 x 7 by its transpose, 3 x 3 by itself, 3 x 3 by 3 x 7.
    expected = 5 * 2 * (3 * 7 * 3 + 3 * 3 * 3 + 3 * 3 * 7)
    assert orthogonalization_flops(3, 7) == orthogonalization_flops(7, 3) == expected
