"""The schedule against the paper's formula, and AdamW against one written by hand."""

import math

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from workloads.config.model import FFNConfig, GuideConfig, ModelConfig
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer
from workloads.optim.adamw import AdamWConfig
from workloads.optim.build import build_optimizer
from workloads.optim.schedules import learning_rate

UNIT = AdamWConfig(learning_rate=1.0)


def rates(steps: int, config: AdamWConfig = UNIT) -> list[float]:
    return [learning_rate(step, steps, config) for step in range(steps)]


def test_the_schedule_at_its_edges() -> None:
    found = rates(100)
    assert found[0] == pytest.approx(0.1)  # The first of ten warm-up steps.
    assert found[4] == pytest.approx(0.5)
    assert found[9] == pytest.approx(1.0)  # The last.
    assert found[10] == pytest.approx(1.0)  # The cosine starts at its top.
    assert found[55] == pytest.approx(0.55)  # Half-way between 1 and the floor of 0.1.
    assert found[99] == pytest.approx(0.1 + 0.45 * (1 - math.cos(math.pi / 90)))
    assert found[99] > 0.1


@pytest.mark.parametrize("steps", [10, 19, 20, 129, 4196])
def test_the_schedule_is_a_ramp_and_half_a_cosine(steps: int) -> None:
    config = AdamWConfig(learning_rate=6e-4)
    warmup = steps // 10
    ramp = [6e-4 * (step + 1) / warmup for step in range(warmup)]
    # The closed form of torch's own cosine schedule is the second formulation.
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=6e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup, eta_min=6e-5)
    decay = []
    for _ in range(steps - warmup):
        decay.append(cosine.get_last_lr()[0])
        optimizer.step()
        cosine.step()
    np.testing.assert_allclose(rates(steps, config), ramp + decay, rtol=1e-9)


@pytest.mark.parametrize("steps", range(1, 13))
def test_the_shortest_runs_have_a_schedule(steps: int) -> None:
    found = rates(steps)
    assert found[0] == 1.0  # With one warm-up step or none.
    assert found == sorted(found, reverse=True)
    assert all(0.1 < rate <= 1.0 for rate in found)


def test_the_floor_and_the_warmup_are_the_configs() -> None:
    config = AdamWConfig(learning_rate=2.0, min_learning_rate_ratio=0.5, warmup_fraction=0.25)
    found = rates(8, config)
    assert found[:3] == [1.0, 2.0, 2.0]
    assert found[5] == pytest.approx(1.5)
    assert rates(4, config.model_copy(update={"warmup_fraction": 1.0})) == [0.5, 1.0, 1.5, 2.0]


def test_adamw_with_clipping_is_the_one_written_by_hand() -> None:
    config = AdamWConfig(learning_rate=3e-2, betas=(0.8, 0.95), weight_decay=0.3, max_grad_norm=0.7)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    x, y = torch.randn(11, 5, dtype=torch.float64), torch.randn(11, 3, dtype=torch.float64)
    weights = [parameter.detach().numpy().copy() for parameter in model.parameters()]
    means = [np.zeros_like(weight) for weight in weights]
    squares = [np.zeros_like(weight) for weight in weights]
    optimizer = build_optimizer(model, config)
    norms = []
    for step in range(1, 7):
        rate = learning_rate(step - 1, 6, config)
        (5 * (model(x) - y).pow(2).mean()).backward()
        gradients = [
            parameter.grad.numpy().copy()
            for parameter in model.parameters()
            if parameter.grad is not None
        ]
        for group in optimizer.param_groups:
            group["lr"] = rate
        nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

        norms.append(math.sqrt(sum((gradient**2).sum() for gradient in gradients)))
        scale = min(1.0, 0.7 / norms[-1])
        for i, gradient in enumerate(gradients):
            means[i] = 0.8 * means[i] + 0.2 * scale * gradient
            squares[i] = 0.95 * squares[i] + 0.05 * (scale * gradient) ** 2
            mean, square = means[i] / (1 - 0.8**step), squares[i] / (1 - 0.95**step)
            weights[i] -= rate * 0.3 * weights[i]
            weights[i] -= rate * mean / (np.sqrt(square) + 1e-8)
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-5, atol=1e-7)
    assert max(norms) > 1.0, "clipping was not tested"
    assert len({round(min(1.0, 0.7 / norm), 3) for norm in norms}) > 3


def test_every_parameter_is_decayed_and_the_defaults_are_the_papers() -> None:
    optimizer = build_optimizer(nn.Linear(3, 2), UNIT)
    (group,) = optimizer.param_groups
    assert len(group["params"]) == 2
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0.1)
    assert (UNIT.max_grad_norm, UNIT.warmup_fraction) == (1.0, 0.1)
    assert UNIT.min_learning_rate_ratio == 0.1


@pytest.mark.parametrize(
    "ffn",
    [FFNConfig(kind="lowrank", rank=3), FFNConfig(kind="blockshuffle", nblocks=3)],
    ids=lambda ffn: ffn.kind,
)
def test_decay_on_matrices_leaves_norms_and_biases(ffn: FFNConfig) -> None:
    """With gradients of zero, decay is all that moves a parameter."""
    shape = ModelConfig(
        vocab_size=11,
        block_size=5,
        num_layers=2,
        hidden_dim=6,
        ffn_dim=12,
        num_heads=1,
        position="absolute",
        tie_embeddings=False,
        ffn=ffn,
        guide=GuideConfig(ratio=0.5),
    )
    for decay in ("matrices", "all"):
        config = AdamWConfig.model_validate(
            {"learning_rate": 0.1, "weight_decay": 0.3, "decay": decay}
        )
        model = Transformer(shape)
        add_guides(model, GuideConfig(ratio=0.5))
        for parameter in model.parameters():
            nn.init.normal_(parameter)
            parameter.grad = torch.zeros_like(parameter)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer = build_optimizer(model, config)
        trained = [id(p) for group in optimizer.param_groups for p in group["params"]]
        assert sorted(trained) == sorted(id(p) for p in model.parameters())
        optimizer.step()
        for name, parameter in model.named_parameters():
            vector = name.endswith("bias") or ".ln" in name or name.startswith("ln")
            kept = 1.0 if vector and decay == "matrices" else 1 - 0.1 * 0.3
            torch.testing.assert_close(parameter.detach(), kept * before[name], msg=name)


def scheduled(schedule: str, **changes: object) -> AdamWConfig:
    return AdamWConfig.model_validate(
        {"learning_rate": 2.0, "schedule": schedule, "warmup_steps": 4} | changes
    )


def test_a_constant_schedule_holds_its_peak() -> None:
    assert rates(7, scheduled("constant")) == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0]
    assert rates(3, scheduled("constant", warmup_steps=0)) == [2.0] * 3


@pytest.mark.parametrize("steps", [10, 100, 333])
def test_wsd_warms_up_holds_and_decays_linearly(steps: int) -> None:
    config = scheduled("wsd", decay_fraction=0.3, min_learning_rate_ratio=0.25)
    decay = round(0.3 * steps)
    # The corners of the trapezium, joined by NumPy: the second formulation.
    corners = [-1, 3, steps - decay, steps]
    expected = np.interp(range(steps), corners, [0.0, 2.0, 2.0, 0.5])
    np.testing.assert_allclose(rates(steps, config), expected, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_a_longer_run_has_the_rates_of_the_shorter_ones_stable_phase(schedule: str) -> None:
    config = scheduled(schedule)
    start = config.decay_start(50)
    assert rates(50, config)[:start] == rates(80, config)[:start]
    assert start == {"constant": 50, "wsd": 40}[schedule]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "wsd"}, "schedule wsd needs warmup_steps; add it"),
        ({"schedule": "constant"}, "schedule constant needs warmup_steps; add it"),
        ({"warmup_steps": 5}, "warmup_steps does not apply to schedule cosine; remove it"),
        (
            {"schedule": "wsd", "warmup_steps": 5, "warmup_fraction": 0.2},
            "warmup_fraction does not apply to schedule wsd; remove it",
        ),
        (
            {"schedule": "constant", "warmup_steps": 5, "decay_fraction": 0.5},
            "decay_fraction does not apply to schedule constant; remove it",
        ),
    ],
)
def test_what_a_schedule_does_not_take_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        AdamWConfig.model_validate({"learning_rate": 1.0} | options)
