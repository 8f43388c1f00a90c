"""What learning a growth costs, against products that torch counts and parameters that are made."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.workloads.grown import FFNS, OPTIONS, base_of, built, weights_of
from workloads.config.growth import grown_model, plan_of
from workloads.config.growth_options import GrowthOptions, GrowthPolicy
from workloads.cost.learned_growth import learned_growth
from workloads.nn.growth.learn import Learn

SIZES = [
    pytest.param({"layers": 5}, id="depth"),
    pytest.param({"width": 32}, id="width"),
    pytest.param({"layer_map": [0, 1, 0, 1, 1], "width": 48}, id="both"),
]


@pytest.mark.parametrize("asked", SIZES)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("ffn", FFNS)
def test_planned_products_are_those_that_are_carried_out(
    ffn: dict[str, Any], options: dict[str, Any], asked: dict[str, Any]
) -> None:
    base = base_of(ffn=ffn, **options)
    given = GrowthOptions.model_validate({"operator": "learn", "learn_steps": 2} | asked)
    growth = grown_model(base, given, GrowthPolicy(), at_step=1).growth
    assert growth
    planned = learned_growth(growth)
    learned = Learn(plan_of(growth)).trainable(weights_of(built(base)))
    trained = [p for p in learned.parameters() if p.requires_grad]
    assert planned.parameters == sum(p.numel() for p in trained)
    with FlopCounterMode(display=False) as counter:
        weights = [weight for weight in learned.weights().values() if weight.requires_grad]
        torch.autograd.backward(weights, [torch.ones_like(weight) for weight in weights])
    assert all(p.grad is not None for p in trained)
    assert counter.get_total_flops() == planned.flops
