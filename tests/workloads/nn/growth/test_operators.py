"""Every operator on both axes and every FFN kind, in float64: exact, or measurably not."""

from typing import Any

import pytest
import torch

from tests.workloads import definition
from tests.workloads.grown import (
    FFNS,
    LLAMA,
    OPTIONS,
    base_of,
    built,
    grown_by,
    moved,
    plan_of,
    weights_of,
)
from workloads.config.growth_options import OPERATORS
from workloads.cost.flops import count_params, layer_ffns
from workloads.nn.growth.grow import grow
from workloads.nn.transformer import Transformer

EXACT: list[dict[str, Any]] = [
    {"operator": "split", "width": 32},
    {"operator": "split", "width": 48, "alpha": 0.3},
    {"operator": "zero", "width": 32},
    {"operator": "zero", "layers": 5},
    {"operator": "zero", "layers": 4, "width": 48},
    {"operator": "zero", "layer_map": [0, 1, 0, 1, 1]},
]
CHANGED: list[dict[str, Any]] = [
    {"operator": "stack", "layers": 4},
    {"operator": "stack", "layers": 5, "interleaved": True},
    {"operator": "stack", "layer_map": [0, 0, 1, 1]},
    {"operator": "random", "layers": 3, "width": 32},
    {"operator": "learn", "layers": 4},
    {"operator": "learn", "width": 32},
]


def words(asked: dict[str, Any]) -> str:
    return " ".join(str(value) for value in asked.values())


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("asked", EXACT, ids=words)
def test_the_function_is_preserved_where_theory_says_so(
    asked: dict[str, Any], ffn: dict[str, Any], options: dict[str, Any]
) -> None:
    model = built(base_of(ffn=ffn, **options))
    operator, grown = grown_by(model, **asked)
    assert operator.preserves()
    assert moved(model, grown) < 1e-12
    shape = operator.plan.model
    assert shape.hidden_dim == asked.get("width", 16)
    assert sum(p.numel() for p in grown.parameters()) == count_params(shape).total
    expected = {name: p.shape for name, p in Transformer(shape).named_parameters()}
    assert {name: p.shape for name, p in grown.named_parameters()} == expected


@pytest.mark.parametrize("ffn", FFNS)
@pytest.mark.parametrize("asked", CHANGED, ids=words)
def test_where_the_function_changes_the_record_says_by_how_much(
    asked: dict[str, Any], ffn: dict[str, Any]
) -> None:
    model = built(base_of(ffn=ffn, **LLAMA))
    weights, record = grow(plan_of(model.config, **asked), weights_of(model))
    assert not record.preserves and record.logits_moved > 0.01
    assert weights["wte.weight"].dtype == torch.float64
    assert record.params > record.base_params == count_params(model.config).total


def test_the_definition_agrees_on_a_grown_model() -> None:
    model = built(base_of(ffn={"kind": "blockdense", "rank": 4, "nblocks": 2}, norm="layernorm"))
    _, grown = grown_by(model, operator="split", width=32, alpha=0.2)
    tokens = torch.randint(11, (1, 12))
    by_definition = definition.reference(grown.config, grown, tokens)
    assert (by_definition - model(tokens)).abs().max() < 1e-6  # angles are in fp32


def test_a_partial_width_keeps_heads_whole_and_every_size_in_proportion() -> None:
    base = base_of(num_kv_heads=2, ffn={"kind": "blockdense", "rank": 4, "nblocks": 2}, **LLAMA)
    model = built(base)
    operator, grown = grown_by(model, operator="zero", width=24)
    shape = operator.plan.model
    assert (shape.hidden_dim, shape.ffn_dim, shape.attn_dim) == (24, 36, 24)
    assert (shape.num_heads, shape.num_kv_heads, shape.head_dim) == (6, 3, 4)
    assert shape.ffn.sizes == {"rank": 6, "nblocks": 3}
    assert moved(model, grown) < 1e-12


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
def test_zero_width_is_exact_only_with_the_eps_scaled(norm: str) -> None:
    model = built(base_of(norm=norm))
    with torch.no_grad():  # activations of a size at which the eps counts
        model.wte.weight *= 0.01
    _, grown = grown_by(model, operator="zero", width=32)
    assert grown.config.norm_eps == model.config.norm_eps / 2
    assert moved(model, grown) < 1e-12
    for module in grown.modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.RMSNorm):
            module.eps = 1e-5
    assert moved(model, grown) > 1e-6


def test_layer_maps() -> None:
    dense, structured = (
        base_of(num_layers=3),
        base_of(num_layers=3, ffn={"kind": "lowrank", "rank": 2}),
    )

    def of(base: Any, **asked: Any) -> tuple[int | None, ...]:
        return plan_of(base, **asked).layer_map

    assert of(dense, operator="stack", layers=7) == (0, 1, 2, 0, 1, 2, 0)
    assert of(dense, operator="stack", layers=6, interleaved=True) == (0, 0, 1, 1, 2, 2)
    assert of(dense, operator="zero", layers=5) == (0, 0, 1, 1, 2)
    assert of(dense, operator="random", layers=5) == (0, 1, 2, None, None)
    # The first layer stays the dense one.
    assert of(structured, operator="stack", layers=6) == (0, 1, 2, 1, 2, 1)
    assert of(structured, operator="zero", layers=6) == (0, 1, 1, 1, 2, 2)
    plan = plan_of(structured, operator="stack", layers=6)
    assert [ffn.is_dense for ffn in layer_ffns(plan.model)] == [True] + [False] * 5
    # Or the map says otherwise.
    plan = plan_of(structured, operator="stack", layer_map=[1, 0, 2, 0])
    assert [ffn.is_dense for ffn in layer_ffns(plan.model)] == [False, True, False, True]
    assert plan.model.ffn.dense_layers == (1, 3) and not plan.model.ffn.keep_first_dense


def test_stacked_layers_are_copies_and_all_else_stays() -> None:
    model = built(base_of(num_layers=3, ffn={"kind": "lowrank", "rank": 2}, tie_embeddings=False))
    _, grown = grown_by(model, operator="stack", layer_map=[0, 2, 1, 1, 0])
    before, after = weights_of(model), weights_of(grown)
    for at, layer in enumerate([0, 2, 1, 1, 0]):
        own = {n: t for n, t in after.items() if n.startswith(f"layers.{at}.")}
        assert own
        for name, tensor in own.items():
            assert torch.equal(tensor, before[name.replace(f"layers.{at}.", f"layers.{layer}.")])
    shared = [name for name in before if not name.startswith("layers.")]
    assert all(torch.equal(after[name], before[name]) for name in shared)
    assert {n for n in after if not n.startswith("layers.")} == set(shared)


def test_a_layer_that_moves_keeps_its_scores_where_they_are_divided_by_its_number() -> None:
    model = built(base_of(inverse_layer_scale=True, position="absolute"))
    operator, grown = grown_by(model, operator="zero", layers=5)
    assert operator.plan.layer_map == (0, 0, 0, 1, 1)
    assert moved(model, grown) < 1e-12


def test_seeds_decide_what_is_drawn_and_nothing_else_is() -> None:
    model = built(base_of())
    weights = weights_of(model)
    state = torch.get_rng_state()
    for asked in ({"operator": "random", "layers": 3}, {"operator": "learn", "width": 32}):
        plan = plan_of(model.config, **asked)
        one, again, other = (grow(plan, weights, seed)[0] for seed in (1, 1, 2))
        assert all(torch.equal(one[name], again[name]) for name in one)
        assert not all(torch.equal(one[name], other[name]) for name in one)
    assert torch.equal(torch.get_rng_state(), state)


def test_every_operator_is_tried_above() -> None:
    assert {asked["operator"] for asked in EXACT + CHANGED} == set(OPERATORS)
