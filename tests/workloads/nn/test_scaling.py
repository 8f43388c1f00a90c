"""Multipliers of a model and of its first weights, against the plain model in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.workloads.definition import build, config, reference, tokens_of
from workloads.config.matrices import hidden_matrices
from workloads.interop.huggingface.tensors import dense_parameters, dense_shape
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer

MULTIPLIED = {"attention": 0.75, "residual": 0.5, "output": 0.125}
FFNS: dict[str, dict[str, Any]] = {
    "dense": {},
    "lowrank": {"kind": "lowrank", "rank": 6},
    "blockdense": {"kind": "blockdense", "rank": 6, "nblocks": 3},
    "blockshuffle": {"kind": "blockshuffle", "nblocks": 3},
}
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "swiglu": {"activation": "swiglu", "norm": "rmsnorm", "bias": False, "num_kv_heads": 1},
    "own head": {"tie_embeddings": False, "inverse_layer_scale": True},
}


def scaled_by_hand(model: Transformer) -> dict[str, Tensor]:
    """The weights of a model without multipliers that computes the same."""
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name in weights:
        if "o_linear" in name or ".fc2.bias" in name or ".fc2.weight" in name or ".fc2.u" in name:
            weights[name] *= MULTIPLIED["residual"]
        if "qkv_linear" in name:
            weights[name][: model.config.attn_dim] *= MULTIPLIED["attention"]
        if name.startswith("ln_f."):
            weights[name] *= MULTIPLIED["output"]
    return weights


@pytest.mark.parametrize("ffn", FFNS.values(), ids=FFNS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_multipliers_do_what_multiplied_weights_do(
    options: dict[str, Any], ffn: dict[str, Any]
) -> None:
    model = build(config(ffn=ffn, scaling=MULTIPLIED, **options))
    plain = Transformer(config(ffn=ffn, **options)).double()
    plain.load_state_dict(scaled_by_hand(model), strict=False)
    tokens = tokens_of(model.config)
    wanted = reference(plain.config, plain, tokens)
    torch.testing.assert_close(model(tokens), wanted, rtol=1e-9, atol=1e-9)
    losses = [each(tokens, tokens) for each in (model, plain)]
    torch.testing.assert_close(*losses, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("guided", [False, True], ids=["alone", "guided"])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_export_takes_the_multipliers_in(options: dict[str, Any], guided: bool) -> None:
    guide = {"ratio": 0.5} if guided else None
    model = build(config(ffn=FFNS["lowrank"], scaling=MULTIPLIED, guide=guide, **options))
    if model.config.guide:
        add_guides(model, model.config.guide)
    shape = dense_shape(model.config)
    assert shape.scaling is None
    dense = Transformer(shape).double()
    dense.load_state_dict(dense_parameters(model), strict=False)
    tokens = tokens_of(model.config)
    torch.testing.assert_close(dense(tokens), model(tokens), rtol=1e-9, atol=1e-9)


def test_initial_weights_are_multiplied_by_role() -> None:
    factors = {"attention.o_linear.weight": 0.5, "mlp.fc1.v": 2.0, "mlp.fc2.weight": 3.0}
    models = []
    for scaling in (None, {"initial": factors}):
        torch.manual_seed(1)
        models.append(Transformer(config(ffn=FFNS["lowrank"], scaling=scaling)))
    plain, scaled = (dict(model.named_parameters()) for model in models)
    assert plain.keys() == scaled.keys()
    changed = set()
    for name, weight in plain.items():
        factor = factors.get(name.split(".", 2)[-1], 1.0)
        assert torch.equal(weight * factor, scaled[name])
        changed |= {name} if factor != 1 else set()
    assert len(changed) == 3 + 2 + 1  # Three layers, the first of which has a dense FFN.


@pytest.mark.parametrize("ffn", FFNS.values(), ids=FFNS)
def test_weights_start_with_the_norms_that_their_kinds_declare(ffn: dict[str, Any]) -> None:
    sizes = {"hidden_dim": 96, "ffn_dim": 384, "num_heads": 4, "num_layers": 2}
    given: dict[str, Any] = ffn | ({"rank": 24} if "rank" in ffn else {})
    model = config(**sizes, ffn=given)
    parameters = dict(Transformer(model).named_parameters())
    per_layer = len(hidden_matrices(model)) // 2
    for index, matrix in enumerate(hidden_matrices(model)):
        weight = parameters[f"layers.{index // per_layer}.{matrix.role}"]
        assert weight.numel() == matrix.count * matrix.rows * matrix.columns
        found = torch.linalg.matrix_norm(weight.detach(), ord=2).max()
        assert float(found) == pytest.approx(matrix.initial_norm, rel=0.12)
