"""Schedules against published rates and against torch's own."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from workloads.config.fingerprint import fingerprint, identity, trajectory
from workloads.config.rates import learning_rate_at
from workloads.config.run import RunConfig
from workloads.optim.adamw import AdamWConfig
from workloads.optim.schedules import SCHEDULES, learning_rate
from workloads.recipes.recipe import Recipe

# Rates of the three-hour recipe, read off its public code: by 0-based step of 10,000.
PUBLISHED = {
    0: 1.2499999999999924e-05,
    1: 1.2512262596439281e-05,
    100: 0.0001311290763295384,
    500: 0.0012499999692429228,
    1000: 0.0012422975857059406,
    5000: 0.0007337654992739217,
    9999: 0.000125,
}


def run(**changes: Any) -> RunConfig:
    return Recipe.model_validate({"preset": "pico"} | changes).resolve()


def rates(config: RunConfig) -> list[float]:
    (phase,) = config.phases
    return [learning_rate_at(config, phase, step) for step in range(config.total_steps)]


def onecycle(steps: int, peak: float, warmup: float, initial: float, floor: float) -> list[float]:
    """The rates of torch's scheduler."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            peak,
            total_steps=steps,
            pct_start=warmup,
            div_factor=1 / initial,
            final_div_factor=initial / floor,
        )
        found = []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            if len(found) < steps:
                scheduler.step()
    return found


def test_the_preset_has_the_published_rates_to_the_digit() -> None:
    found = rates(run(preset="noam-wide", budget={"steps": 10_000}))
    assert len(found) == 10_000
    assert {step: found[step] for step in PUBLISHED} == PUBLISHED
    np.testing.assert_allclose(found, onecycle(10_000, 1.25e-3, 0.05, 0.01, 0.1), rtol=1e-12)
    assert max(found) == found[499] == 1.25e-3


@pytest.mark.parametrize(("steps", "warmup"), [(7, 0.4), (20, 0.25), (41, 0.9), (333, 0.1)])
def test_onecycle_is_torchs(steps: int, warmup: float) -> None:
    config = AdamWConfig(
        learning_rate=2.0,
        schedule="onecycle",
        warmup_fraction=warmup,
        initial_learning_rate_ratio=0.04,
        min_learning_rate_ratio=0.3,
    )
    found = [learning_rate(step, steps, config) for step in range(steps)]
    np.testing.assert_allclose(found, onecycle(steps, 2.0, warmup, 0.04, 0.3), rtol=1e-12)


@pytest.mark.parametrize("warmup", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("steps", range(1, 13))
def test_the_shortest_runs_end_at_the_lowest_rate_of_onecycle(steps: int, warmup: float) -> None:
    config = AdamWConfig(learning_rate=1.0, schedule="onecycle", warmup_fraction=warmup)
    found = [learning_rate(step, steps, config) for step in range(steps)]
    assert all(0.01 <= rate <= 1.0 for rate in found)
    # A run of one or two steps may be all warm-up.
    assert found[-1] == pytest.approx(0.1) or int(warmup * steps) == steps - 1


@pytest.mark.parametrize(
    "budget",
    [
        {"tokens": 400_000},
        {"tokens_per_param": 7},
        {"steps": 77},
        {"train_flops": 1.0e11},
        {"isoflop": [1.0e12]},
    ],
    ids=str,
)
def test_the_last_step_has_the_lowest_rate_whatever_gives_the_length(
    budget: dict[str, Any],
) -> None:
    found = rates(run(budget=budget, optimizer={"schedule": "onecycle"}, learning_rate=2e-3))
    assert len(found) > 20 and found[-1] == pytest.approx(2e-4, rel=1e-12)


def test_the_inverse_square_root_is_that_of_the_transformer_paper() -> None:
    config = AdamWConfig(learning_rate=0.02, schedule="inverse_sqrt", warmup_steps=16)
    found = [learning_rate(step, 100, config) for step in range(100)]
    # d^-0.5 min(n^-0.5, n W^-1.5), scaled to its peak.
    n = np.arange(1, 101)
    paper = np.minimum(n**-0.5, n * 16**-1.5)
    np.testing.assert_allclose(found, 0.02 * paper / paper.max(), rtol=1e-12)
    assert found[15] == 0.02 and found[63] == pytest.approx(0.01)
    none = config.model_copy(update={"warmup_steps": 0})
    assert [learning_rate(step, 9, none) for step in (0, 3, 8)] == pytest.approx(
        [0.02, 0.01, 0.02 / 3]
    )


def test_only_runs_of_equal_first_rates_share_a_trajectory() -> None:
    def hashed(schedule: str) -> str:
        config = run(optimizer={"schedule": schedule, "warmup_steps": 3})
        return fingerprint(trajectory(identity(config, "abc")))

    assert hashed("constant") == hashed("wsd") != hashed("inverse_sqrt")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_stable_steps_are_the_first_ones_of_any_length(schedule: str) -> None:
    needs = {"warmup_steps": 5} if "warmup_steps" in SCHEDULES[schedule].fields else {}
    short, long = (
        run(optimizer={"schedule": schedule} | needs, budget={"steps": steps}) for steps in (40, 60)
    )
    stable = short.stable_steps
    assert stable == {"constant": 40, "wsd": 32, "inverse_sqrt": 40}.get(schedule, 0)
    assert rates(short)[:stable] == rates(long)[:stable]
    assert stable == 40 or rates(short) != rates(long)[:40]
