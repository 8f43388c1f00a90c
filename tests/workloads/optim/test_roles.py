"""Factors by role: every parameter is stepped with the rate, decay and epsilon of its role."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from tests.workloads.definition import build, config, tokens_of
from workloads.optim.adamw import AdamWConfig
from workloads.optim.build import build_optimizer, set_learning_rate
from workloads.optim.config import OptimizerConfig
from workloads.optim.muon_config import MuonConfig
from workloads.optim.roles import EPSILON, Factors, factors_of, role_of

ROLES = {
    "mlp.fc1.v": Factors(rate=0.25, decay=4.0),
    "mlp.fc1.u": Factors(rate=0.5, decay=2.0, epsilon=0.125),
    "layers": Factors(epsilon=0.125),
    "outside": Factors(epsilon=0.5),
}
LOWRANK: dict[str, Any] = {"ffn": {"kind": "lowrank", "rank": 6}}


def test_a_role_is_a_name_without_its_layer() -> None:
    names = {
        "layers.0.mlp.fc1.v": "mlp.fc1.v",
        "layers.12.attention.qkv_linear.weight": "attention.qkv_linear.weight",
        "wte.weight": "wte.weight",
        "ln_f.bias": "ln_f.bias",
    }
    assert {name: role_of(name) for name in names} == names
    assert factors_of("layers.3.mlp.fc1.v", ROLES) == ROLES["mlp.fc1.v"]
    assert factors_of("layers.3.ln1.weight", ROLES) == ROLES["layers"]
    assert factors_of("ln_f.weight", ROLES) == ROLES["outside"]
    assert factors_of("ln_f.weight", {}) == Factors()


def test_a_step_is_adams_with_the_options_of_each_role() -> None:
    """Against Adam's first step, w <- (1 - lr decay) w - lr g / (|g| + eps), in float64."""
    model = build(config(**LOWRANK))
    adamw = AdamWConfig(learning_rate=0.01, weight_decay=0.1, decay="matrices", roles=ROLES)
    optimizer = build_optimizer(model, adamw)
    set_learning_rate(optimizer, 0.004)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tokens = tokens_of(model.config)
    model(tokens, tokens).backward()
    # Small gradients, so that epsilon matters.
    for parameter in model.parameters():
        assert parameter.grad is not None
        parameter.grad *= 1e-7
    optimizer.step()
    for name, parameter in model.named_parameters():
        own, gradient = factors_of(name, ROLES), parameter.grad
        assert gradient is not None
        rate = 0.004 * own.rate
        decay = 0.1 * own.decay if parameter.ndim > 1 else 0.0
        wanted = (1 - rate * decay) * before[name]
        wanted -= rate * gradient / (gradient.abs() + EPSILON * own.epsilon)
        torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", [AdamWConfig, MuonConfig])
def test_every_parameter_is_in_one_group(kind: type[OptimizerConfig]) -> None:
    model = build(config(**LOWRANK))
    named = {} if kind is AdamWConfig else {"kind": "muon"}
    given: dict[str, Any] = {"learning_rate": 0.01, "decay": "hidden_matrices", **named}
    groups = kind.model_validate(given | {"roles": ROLES}).parameter_groups(model)
    held = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(held) == sorted(map(id, model.parameters()))
    names = {id(p): name for name, p in model.named_parameters()}
    for group in groups:
        for parameter in group["params"]:
            own = factors_of(names[id(parameter)], ROLES)
            assert group["rate_multiplier"] == own.rate
            assert math.isclose(group["eps"], EPSILON * own.epsilon)
            if kind is MuonConfig:
                hidden = names[id(parameter)].startswith("layers.") and parameter.ndim > 1
                assert group["orthogonal"] == hidden
    plain = kind.model_validate(given).parameter_groups(model)
    assert all(group.keys().isdisjoint({"rate_multiplier", "eps"}) for group in plain)
