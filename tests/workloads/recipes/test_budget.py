"""Budgets of one run that ask for FLOPs: the nearest whole steps, found by trying all others."""

from __future__ import annotations

from typing import Any

import pytest

from workloads.config.clock import ClockConfig
from workloads.config.fingerprint import identity
from workloads.config.model import GuideConfig
from workloads.config.run import RunConfig
from workloads.cost.flops import train_flops
from workloads.recipes.budget import TOLERANCE, Unreachable
from workloads.recipes.recipe import Recipe

LOWRANK = {"kind": "lowrank", "fraction": 0.3125}


def resolved(**recipe: Any) -> RunConfig:
    return Recipe.model_validate({"preset": "nano", **recipe}).resolve()


def with_steps(run: RunConfig, steps: int) -> RunConfig:
    return run.model_copy(update={"steps": steps})


def with_guided_steps(run: RunConfig, guided: int) -> RunConfig:
    assert run.model.guide
    options = run.model.guide.model_dump(exclude={"ratio"})
    guide = GuideConfig(ratio=min(1.0, (guided + 0.5) / run.steps), **options)
    return run.model_copy(update={"model": run.model.model_copy(update={"guide": guide})})


@pytest.mark.parametrize(
    ("flops", "guide"),
    [
        (2.0e11, None),
        (1.0e12, None),
        (3.3e11, {"ratio": 0.3}),
        (3.3e11, {"ratio": 0.5, "mode": "fixed_steps"}),
    ],
)
def test_isoflop_takes_the_nearest_whole_steps(flops: float, guide: dict[str, Any] | None) -> None:
    run = resolved(ffn=LOWRANK, guide=guide, budget={"isoflop": [flops]})
    others = [abs(train_flops(with_steps(run, n)) - flops) for n in range(10, 2 * run.steps)]
    assert abs(train_flops(run) - flops) == min(others) <= TOLERANCE * flops


@pytest.mark.parametrize(
    ("steps", "mode", "reduce_flops"),
    [
        (97, "fixed_flops", True),
        (300, "fixed_flops", True),
        (300, "fixed_steps", True),
        (300, "fixed_flops", False),
        (1111, "fixed_steps", False),
    ],
)
def test_a_matching_guide_takes_the_nearest_share(
    steps: int, mode: str, reduce_flops: bool
) -> None:
    options = {"mode": mode, "reduce_flops": reduce_flops}
    guide = {"match_flops_of": "dense", **options}
    run = resolved(ffn=LOWRANK | {"fraction": 0.625}, guide=guide, budget={"steps": steps})
    spent = train_flops(resolved(budget={"steps": steps}))
    others = [with_guided_steps(run, guided) for guided in range(1, steps)]
    assert run.steps == steps
    assert [other.phases[0].steps for other in others] == [*range(1, steps)]
    nearest = min(abs(train_flops(other) - spent) for other in others)
    assert abs(train_flops(run) - spent) == nearest <= TOLERANCE * spent


def test_a_dense_run_matches_itself() -> None:
    assert resolved(budget={"match_flops_of": "dense"}) == resolved()
    assert resolved(budget={"match_flops_of": "dense", "steps": 7}).steps == 7


def test_without_a_unit_the_twin_has_its_presets_tokens() -> None:
    matched = resolved(ffn=LOWRANK, budget={"match_flops_of": "dense"})
    assert train_flops(matched) == pytest.approx(train_flops(resolved()), rel=TOLERANCE)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ({"budget": {"isoflop": [1e9]}}, "pay for less than one step"),
        ({"ffn": LOWRANK, "guide": {"ratio": 0.1}, "budget": {"isoflop": [1e10]}}, "one guided st"),
        ({"budget": {"isoflop": [1e10]}}, "come within 4.7% of 1e\\+10 FLOPs and not 1%"),
        (
            {"ffn": LOWRANK, "guide": {"match_flops_of": "dense"}, "budget": {"steps": 2}},
            "no guide",
        ),
    ],
)
def test_what_cannot_be_spent_says_why(recipe: dict[str, Any], message: str) -> None:
    with pytest.raises(Unreachable, match=message):
        resolved(**recipe)


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({"isoflop": [1e11, 1e12]}, "lists several FLOPs and one run spends one; use a study"),
    ],
)
def test_budgets_that_only_a_study_can_resolve(budget: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolved(budget=budget)


def test_a_budget_in_seconds_has_a_clock_and_no_number_of_steps() -> None:
    run = resolved(budget={"wall_seconds": 60})
    assert run.clock == ClockConfig(seconds=60)
    everything = resolved(budget={"wall_seconds": 60, "clock": "everything"})
    assert everything.clock == ClockConfig(seconds=60, counts="everything")
    trees = [identity(each, "text") for each in (run, run.lasting(3), everything, resolved())]
    assert trees[0] == trees[1] and "steps" not in trees[0]
    assert trees[0]["clock"] == {"seconds": 60.0}
    assert trees[2]["clock"] == {"seconds": 60.0, "counts": "everything"}
    assert "clock" not in trees[3] and "steps" in trees[3]
    assert run.stable_steps == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ffn": LOWRANK, "guide": {"ratio": 0.3}}, "a model is guided for a part of the run's"),
        (
            {"grow": {"operator": "stack", "factor": 2, "at": {"fraction": 0.5}}},
            "a model is grown for a part of the run's",
        ),
        ({"ffn": LOWRANK, "guide": {"match_flops_of": "dense"}}, "needs FLOPs that are known"),
        (
            {"budget": {"wall_seconds": 60, "match_flops_of": "dense"}},
            "needs FLOPs that are known",
        ),
        (
            {"budget": {"wall_seconds": 60, "clock": "everything", "match_flops_of": "dense"}},
            "needs FLOPs that are known",
        ),
        ({"budget": {"steps": 3, "clock": "training"}}, "clock says what wall_seconds counts"),
        ({"budget": {"wall_seconds": 0}}, "greater than 0"),
    ],
)
def test_what_a_clock_cannot_end_says_why(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolved(**{"budget": {"wall_seconds": 60}} | changes)
