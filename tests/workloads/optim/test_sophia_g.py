"""Sophia-G against the published update written out in NumPy, and when it estimates."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workloads.optim.build import build_optimizer
from workloads.optim.sophia_g import SophiaG
from workloads.optim.sophia_g_config import SophiaGConfig
from workloads.optim.update import use_gradients

BETAS, RHO, DECAY, TOKENS = (0.9, 0.8), 0.03, 0.3, 55


def gradients_of(model: nn.Module) -> list[np.ndarray]:
    return [p.grad.numpy().copy() for p in model.parameters() if p.grad is not None]


def test_twelve_steps_are_the_published_ones() -> None:
    """In float64, with an estimate before every third step, as in algorithm 3 of the paper."""
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    x, y = torch.randn(11, 5).double(), torch.randint(3, (11,))
    weights = [p.detach().numpy().copy() for p in model.parameters()]
    means = [np.zeros_like(weight) for weight in weights]
    hessians = [np.zeros_like(weight) for weight in weights]
    optimizer = SophiaG(model.parameters(), 0.0, BETAS, RHO, DECAY, tokens_per_step=TOKENS)
    clipped, entries = 0, 0
    for step in range(12):
        rate = 0.01 * (step + 1)
        optimizer.param_groups[0]["lr"] = rate
        if step % 3 == 0:
            labels = torch.distributions.Categorical(logits=model(x)).sample()
            nn.functional.cross_entropy(model(x), labels).backward()
            for hessian, gradient in zip(hessians, gradients_of(model), strict=True):
                hessian[...] = BETAS[1] * hessian + (1 - BETAS[1]) * gradient * gradient
            optimizer.update_hessian()
            optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        gradients = gradients_of(model)
        optimizer.step()
        optimizer.zero_grad()
        for i, gradient in enumerate(gradients):
            means[i] = BETAS[0] * means[i] + (1 - BETAS[0]) * gradient
            ratio = np.abs(means[i]) / (RHO * TOKENS * hessians[i] + 1e-15)
            weights[i] *= 1 - rate * DECAY
            weights[i] -= rate * np.sign(means[i]) * np.minimum(ratio, 1)
            clipped, entries = clipped + int((ratio > 1).sum()), entries + ratio.size
        for parameter, weight in zip(model.parameters(), weights, strict=True):
            np.testing.assert_allclose(parameter.detach().numpy(), weight, rtol=1e-12, atol=1e-14)
    assert 0.1 < clipped / entries < 0.9, "one side of the clipping was not tested"


def built(**options: object) -> tuple[nn.Module, SophiaGConfig, SophiaG]:
    model = nn.Linear(4, 3)
    values = {"kind": "sophia_g", "learning_rate": 0.1, "hessian_interval": 4} | options
    config = SophiaGConfig.model_validate(values)
    optimizer = build_optimizer(model, config, tokens_per_step=64)
    assert isinstance(optimizer, SophiaG)
    return model, config, optimizer


def test_it_estimates_at_its_interval_from_the_first_step_and_clips_as_the_step_does() -> None:
    model, config, optimizer = built(max_grad_norm=0.5)
    sampled: list[int] = []

    def with_sampled(use: Callable[[], object], step: int) -> None:
        sampled.append(step)
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        use_gradients(model, use, config.max_grad_norm)

    for step in range(10):
        config.before_step(optimizer, step, partial(with_sampled, step=step))
        assert all(parameter.grad is None for parameter in model.parameters())
    assert sampled == [0, 4, 8]
    # 15 entries of 1 are clipped to a norm of 0.5; three estimates leave 1 - 0.99^3 of a square.
    for parameter in model.parameters():
        expected = (1 - 0.99**3) * 0.25 / 15
        hessian: Tensor = optimizer.state[parameter]["hessian"]
        torch.testing.assert_close(hessian, torch.full_like(hessian, expected))


def test_the_authors_settings_are_the_defaults_and_the_batch_factor_is_the_runs() -> None:
    _, config, optimizer = built(hessian_interval=10)
    (group,) = optimizer.param_groups
    assert (group["betas"], group["rho"], group["weight_decay"]) == ((0.965, 0.99), 0.05, 0.2)
    assert group["tokens_per_step"] == 64
    assert SophiaGConfig(kind="sophia_g", learning_rate=0.1) == config
    (group,) = built(hessian_tokens=5120)[2].param_groups
    assert group["tokens_per_step"] == 5120
    with pytest.raises(ValueError, match="needs the tokens of a step"):
        build_optimizer(nn.Linear(2, 2), config)
