"""The phases of a run, and what asks them: a method is one more list and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workloads.small_runs import pico
from workloads.config.model import ModelConfig
from workloads.config.phases import Phase, phase_at, phases_of
from workloads.config.run import RunConfig
from workloads.cost.flops import (
    affordable_steps,
    hardware_flops,
    train_flops,
    train_flops_at,
    train_flops_per_token,
)
from workloads.cost.memory import peak_memory_bytes
from workloads.optim.adamw import AdamWOptions

TOKENS = 8 * 128


def phases(steps: int = 20, **guide: Any) -> list[tuple[int, int, bool]]:
    """(first, last + 1, guided) of each phase."""
    run = pico(budget={"steps": steps}, **({"guide": guide} if guide else {}))
    return [(phase.start, phase.end, phase.model.guide is not None) for phase in run.phases]


def test_a_plain_run_is_one_phase_and_a_guided_run_two() -> None:
    assert phases() == [(0, 20, False)]
    assert phases(ratio=0.3, mode="fixed_steps") == [(0, 6, True), (6, 20, False)]
    assert phases(ratio=0.3, mode="fixed_flops") == [(0, 6, True), (6, 26, False)]
    # Guided steps are rounded down.
    assert phases(ratio=0.39, mode="fixed_steps") == [(0, 7, True), (7, 20, False)]
    # A guide that stays to the end is dropped there.
    assert phases(ratio=1.0, mode="fixed_steps") == [(0, 20, True), (20, 20, False)]


def test_steps_lie_in_one_phase_each() -> None:
    run = pico(budget={"steps": 20}, guide={"ratio": 0.3})
    guided, alone = run.phases
    assert [phase_at(run.phases, step) for step in (0, 5)] == [guided] * 2
    assert [phase_at(run.phases, step) for step in (6, 25, 26)] == [alone] * 3
    for first in range(27):
        counted = [sum(step < first for step in range(p.start, p.end)) for p in run.phases]
        assert [phase.steps_among(first) for phase in run.phases] == counted
    assert phase_at(phases_of(run.model, 0), 0).model.guide is None


# A method of its own: 4 steps of a small model, then 6 of a larger one.


class GrownRun(RunConfig):
    small: ModelConfig

    @property
    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase(self.small, start=0, steps=4),
            Phase(self.model, start=4, steps=6, entry="grow"),
        )


@pytest.fixture
def grown() -> GrownRun:
    small = pico().model
    large = small.model_copy(update={"num_layers": 3})
    return GrownRun.model_validate(pico().model_dump() | {"small": small, "model": large})


def test_flops_and_steps_of_a_new_method_follow_from_its_list(grown: GrownRun) -> None:
    small, large = train_flops_per_token(grown.small), train_flops_per_token(grown.model)
    assert large > 1.1 * small
    assert grown.total_steps == 10
    assert train_flops_at(grown, 3) == 3 * TOKENS * small
    assert train_flops_at(grown, 4) == 4 * TOKENS * small
    assert train_flops_at(grown, 9) == (4 * small + 5 * large) * TOKENS
    assert train_flops(grown) == hardware_flops(grown) == (4 * small + 6 * large) * TOKENS


def test_the_memory_of_a_new_method_is_that_of_its_largest_model(grown: GrownRun) -> None:
    alone = pico(model={"num_layers": 3})
    assert peak_memory_bytes(grown) == peak_memory_bytes(alone) > peak_memory_bytes(pico())


def test_a_run_of_several_phases_shares_no_steps_with_longer_ones(grown: GrownRun) -> None:
    constant = {"learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 1}
    run = GrownRun.model_validate(grown.model_dump() | {"optimizer": constant})
    assert run.stable_steps == 0
    assert run.phases[1].entry and not run.phases[1].fixed
    assert pico(optimizer={"schedule": "constant", "warmup_steps": 1}).stable_steps == 40


@pytest.mark.parametrize(
    ("steps", "optimizer", "growth", "stable"),
    [
        (40, "constant", {}, 40),
        (40, "wsd", {}, 10 + 24),  # the last 6 of the 30 steps that follow growth decay
        (40, "wsd", {"schedule": "continue"}, 32),
        # The base decays before it grows, or as it grows.
        (12, "wsd", {"schedule": "continue"}, 10),
        (11, "wsd", {"schedule": "continue"}, 9),
        (40, "constant", {"operator": "learn", "learn_steps": 5}, 40),
        (40, "wsd", {"operator": "learn", "learn_steps": 5}, 15 + 20),
        (40, "constant", {"at": {"fraction": 0.25}}, 0),
        (40, "cosine", {}, 0),
    ],
)
def test_growth_at_a_number_of_tokens_is_shared_with_longer_runs(
    steps: int, optimizer: str, growth: dict[str, Any], stable: int
) -> None:
    schedule = {"schedule": optimizer} | ({} if optimizer == "cosine" else {"warmup_steps": 1})
    grow = {"operator": "stack", "factor": 2, "at": {"tokens": 10 * 16 * 128}} | growth
    run = pico(grow=grow, optimizer=schedule, budget={"steps": steps})
    assert run.stable_steps == stable


def test_a_budget_below_one_step_pays_for_none() -> None:
    model = pico(guide={"ratio": 0.5}).model
    for flops in (0.0, 1.0):
        assert affordable_steps(model, AdamWOptions(), 8, flops) == 0
