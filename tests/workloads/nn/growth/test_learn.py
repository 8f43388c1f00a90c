"""Matrices that are trained while the base is frozen, and multiplied out."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from tests.workloads.grown import (
    FFNS,
    LLAMA,
    base_of,
    built,
    grown_by,
    moved,
    plan_of,
    weights_of,
    with_weights,
)
from workloads.errors import InputError
from workloads.nn.growth.learn import Learn
from workloads.nn.transformer import Transformer

BOTH = {"operator": "learn", "layers": 4, "width": 32}


@pytest.mark.parametrize("ffn", FFNS)
def test_depth_starts_as_stack_and_width_as_the_base_beside_mixtures(ffn: dict[str, Any]) -> None:
    model = built(base_of(ffn=ffn, **LLAMA))
    _, stacked = grown_by(model, operator="stack", layers=5)
    _, learned = grown_by(model, operator="learn", layers=5)
    before = weights_of(stacked)
    assert all(torch.equal(t, before[name]) for name, t in weights_of(learned).items())
    _, wide = grown_by(model, operator="learn", width=32)
    assert torch.equal(wide.wte.weight[:, :16], model.wte.weight)
    kept = wide.get_parameter("layers.0.attention.qkv_linear.weight")[:16, :16]
    assert torch.equal(kept, model.get_parameter("layers.0.attention.qkv_linear.weight")[:16])


@pytest.mark.parametrize("ffn", FFNS)
def test_training_lowers_the_loss_leaves_the_base_and_is_multiplied_out(
    ffn: dict[str, Any],
) -> None:
    model = built(base_of(ffn=ffn, num_kv_heads=2))
    plan = plan_of(model.config, **BOTH)
    base = weights_of(model)
    before = {name: tensor.clone() for name, tensor in base.items()}
    growth = Learn(plan, seed=1).trainable(base)
    grown = Transformer(plan.model).double()
    trained = {name: p for name, p in growth.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"matrices"}
    start = {name: p.detach().clone() for name, p in trained.items()}
    tokens = torch.randint(11, (4, 12))
    optimizer = torch.optim.AdamW(trained.values(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = functional_call(grown, growth.weights(), (tokens, tokens.roll(-1, 1)))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.05
    assert all(torch.equal(base[name], before[name]) for name in base)
    assert not any(torch.equal(p, start[name]) for name, p in trained.items())

    named = {n.removeprefix("matrices.").replace("-", "."): p for n, p in trained.items()}
    operator = Learn(plan, matrices={name: matrix.detach() for name, matrix in named.items()})
    learned = with_weights(plan.model, growth.weights())
    assert moved(learned, with_weights(plan.model, operator.grow(base))) < 1e-12


def test_products_are_those_of_the_method() -> None:
    model = built(base_of(tie_embeddings=False, num_kv_heads=2, **LLAMA))
    base, plan = weights_of(model), plan_of(model.config, **BOTH)
    torch.manual_seed(0)
    matrices = {name: torch.randn_like(matrix) for name, matrix in Learn(plan).start(base).items()}
    grown = Learn(plan, matrices=matrices).grow(base)
    hidden, ffn = matrices["width.hidden"], matrices["width.ffn"]

    def mixed(suffix: str, at: int, layers: list[Tensor]) -> Tensor:
        row = matrices[f"depth.{suffix}"][at]
        return row[0] * layers[0] + row[1] * layers[1]

    down = [hidden @ base[f"layers.{n}.mlp.fc2.weight"] @ ffn.T for n in (0, 1)]
    expected = mixed("mlp.fc2.weight", 3, down)
    assert torch.allclose(grown["layers.3.mlp.fc2.weight"], expected)
    keys = [
        matrices["width.key"] @ base[f"layers.{n}.attention.qkv_linear.weight"][16:24] @ hidden.T
        for n in (0, 1)
    ]
    expected = mixed("attention.qkv_linear.weight", 2, keys)
    assert torch.allclose(grown["layers.2.attention.qkv_linear.weight"][32:48], expected)
    assert torch.allclose(grown["lm_head.weight"], base["lm_head.weight"] @ hidden.T)
    assert torch.allclose(grown["ln_f.weight"], hidden @ base["ln_f.weight"])


def test_matrices_that_do_not_fit_are_named() -> None:
    model = built(base_of())
    base, plan = weights_of(model), plan_of(model.config, operator="learn", width=32)
    start = Learn(plan).start(base)
    assert {*start} == {"width.hidden", "width.ffn", "width.query", "width.key", "width.value"}
    for wrong, message in (
        (
            {n: m for n, m in start.items() if n != "width.ffn"},
            r"width.ffn is missing, .*\(48, 24\)",
        ),
        (start | {"width.ffn": torch.zeros(3, 2)}, r"width.ffn is \(3, 2\), .*\(48, 24\)"),
        (start | {"width.fnn": torch.zeros(3, 2)}, r"width.fnn \(3, 2\) is not a matrix of"),
    ):
        with pytest.raises(InputError, match=message):
            Learn(plan, matrices=wrong).grow(base)
