"""Schedules against published rates and against torch's own."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
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


def cosine_of(progress: float, start: float, end: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


# What each schedule gives at a share s of a budget in seconds, of a peak of 2 and a floor of 0.6.
BY_SHARE: dict[str, Callable[[float], float]] = {
    "cosine": lambda s: 2 * s / 0.25 if s < 0.25 else cosine_of((s - 0.25) / 0.75, 2, 0.6),
    "onecycle": lambda s: (
        cosine_of(s / 0.25, 0.02, 2) if s < 0.25 else cosine_of((s - 0.25) / 0.75, 2, 0.6)
    ),
    "wsd": lambda s: 2 if s < 0.6 else 0.6 + 1.4 * (1 - (s - 0.6) / 0.4),
    "constant": lambda s: 2,
}


@pytest.mark.parametrize("schedule", BY_SHARE)
def test_a_clock_gives_a_schedule_the_share_of_its_time(schedule: str) -> None:
    fields = {"warmup_fraction": 0.25, "min_learning_rate_ratio": 0.3, "decay_fraction": 0.4}
    known = {n: v for n, v in fields.items() if n in SCHEDULES[schedule].fields}
    warmup = {"warmup_steps": 10} if "warmup_steps" in SCHEDULES[schedule].fields else {}
    config = AdamWConfig.model_validate(
        {"learning_rate": 2.0, "schedule": schedule} | known | warmup
    )
    shares = np.linspace(0, 1, 41)
    # How many steps are expected is of no account.
    found = [learning_rate(500, 7, config, share) for share in shares]
    np.testing.assert_allclose(found, [BY_SHARE[schedule](s) for s in shares], rtol=1e-9, atol=1e-9)
    if warmup:
        assert learning_rate(3, 7, config, 0.01) == pytest.approx(2 * 4 / 10)


def test_the_inverse_square_root_goes_by_steps_under_a_clock_too() -> None:
    config = AdamWConfig(learning_rate=0.02, schedule="inverse_sqrt", warmup_steps=16)
    for step in (0, 15, 63):
        assert learning_rate(step, 9, config, 0.5) == learning_rate(step, 100, config)
