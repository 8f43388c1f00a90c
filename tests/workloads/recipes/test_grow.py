"""`grow` of a recipe: the run that it stands for, and what does not fit."""

from pathlib import Path
from typing import Any

import pytest

from workloads.config.fingerprint import fingerprint, identity
from workloads.config.run import RunConfig
from workloads.cost.flops import count_params, train_flops
from workloads.errors import InputError
from workloads.recipes.recipe import Recipe, load_run

TOKENS = 16 * 128


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"preset": "pico", "budget": {"steps": 20}} | changes)


def grown(**growth: Any) -> RunConfig:
    return recipe(
        grow={"operator": "stack", "factor": 2, "at": {"fraction": 0.5}} | growth
    ).resolve()


def test_the_shape_is_that_of_the_base_and_the_model_that_of_the_end() -> None:
    run = grown()
    assert run.model.num_layers == 4 and run.phases[0].model == recipe().resolve().model
    assert [(phase.start, phase.steps) for phase in run.phases] == [(0, 10), (10, 10)]
    assert recipe(grow=None).resolve() == recipe(grow=[]).resolve() == recipe().resolve()
    assert grown(at={"tokens": 3 * TOKENS + 1}).phases[1].start == 3
    assert grown(factor=None, layers=6).model.num_layers == 6


def test_every_key_stands_in_the_identity() -> None:
    prints = {
        fingerprint(identity(run, "abc"))
        for run in (
            recipe().resolve(),
            recipe(model={"num_layers": 4}).resolve(),
            grown(),
            grown(factor=3),
            grown(at={"fraction": 0.6}),
            grown(interleaved=True),
            grown(optimizer_state="carry"),
            grown(schedule="continue"),
            grown(schedule="continue", rewarmup_steps=2),
            grown(base_learning_rate=1e-3),
            grown(data="restart"),
            grown(operator="learn", learn_steps=3),
            grown(operator="learn", learn_steps=4),
        )
    }
    assert len(prints) == 13


def test_a_run_spends_what_its_scratch_twin_does() -> None:
    growth = {"operator": "stack", "factor": 3, "at": {"tokens": 40 * TOKENS}}
    run = recipe(grow=growth, budget={"match_flops_of": "scratch", "steps": 100}).resolve()
    scratch = recipe(model={"num_layers": 6}, budget={"steps": 100}).resolve()
    assert count_params(run.model) == count_params(scratch.model)
    assert train_flops(run) == pytest.approx(train_flops(scratch), rel=0.01)
    assert run.steps > 120
    asked = recipe(grow=growth, budget={"match_flops_of": "scratch", "steps": 100})
    assert asked.target_flops == train_flops(scratch)
    # A run that does not grow is its own twin.
    alone = recipe(budget={"match_flops_of": "scratch", "steps": 100}).resolve()
    assert alone == recipe(budget={"steps": 100}).resolve()


def test_other_budgets_count_both_phases() -> None:
    flops = 20 * train_flops(recipe(budget={"steps": 1}).resolve())
    growth = {"operator": "stack", "factor": 2, "at": {"tokens": 10 * TOKENS}}
    run = recipe(grow=growth, budget={"train_flops": flops}).resolve()
    assert train_flops(run) <= flops < train_flops(run.model_copy(update={"steps": run.steps + 1}))
    assert 10 < run.steps < 20


def test_its_arm_says_how_it_grows() -> None:
    growth = {"operator": "stack", "factor": 2, "at": {"fraction": 0.5}}
    wide = {"operator": "split", "width": 64, "at": {"tokens": 9000}, "optimizer_state": "carry"}
    late = {"operator": "stack", "base": {"layers": 1}, "at": {"fraction": 0.8}}
    for grow, label in (
        (growth, "stack x2 at 0.5"),
        ([growth, wide], "stack x2 at 0.5, split to 64 wide at 9000 tokens carry"),
        (late | {"schedule": "continue"}, "stack from 1 layer at 0.8 continue"),
        (growth | {"factor": None, "layer_map": [0, 1, 1]}, "stack map 0,1,1 at 0.5"),
        (
            {"operator": "zero", "layers": 4, "width": 64, "at": {"fraction": 0.25}},
            "zero to 4 layers 64 wide at 0.25",
        ),
        (
            {"operator": "random", "factor": 2, "mask_steps": 9, "at": {"fraction": 0.5}},
            "random x2 mask 9 at 0.5",
        ),
    ):
        run = recipe(grow=grow)
        assert run.growth_label() == label
        assert run.arm_name() == f"dense, {label}"
    assert recipe(grow=growth, ffn={"arm": "mine"}).arm_name() == "mine, stack x2 at 0.5"
    assert recipe().growth_label() == ""


def test_an_arm_of_ones_own_has_all_sizes_whatever_tokens_each_grows_after() -> None:
    def arm(preset: str, tokens: int, **ffn: str) -> tuple[str, str]:
        growth = {"operator": "stack", "factor": 2, "at": {"tokens": tokens}, "data": "restart"}
        run = recipe(preset=preset, grow=growth, ffn=ffn)
        return run.arm_name(), run.growth_label()

    small, large = arm("pico", 9000, arm="mine"), arm("nano", 50_000, arm="mine")
    assert small == ("mine, stack x2 data restart", "stack x2 at 9000 tokens data restart")
    assert large == ("mine, stack x2 data restart", "stack x2 at 50000 tokens data restart")
    assert arm("pico", 9000)[0] == "dense, stack x2 at 9000 tokens data restart"


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ({"operator": "stack", "base": {"factor": 2}}, {"num_layers": 2}),
        ({"operator": "stack", "base": {"layers": 1}}, {"num_layers": 1}),
        ({"operator": "stack", "base": {"layers": 3}}, {"num_layers": 3}),
        ({"operator": "zero", "base": {"layers": 2, "width": 16}}, {"num_layers": 2}),
        ({"operator": "split", "base": {"factor": 4}}, {"num_layers": 4, "hidden_dim": 16}),
        ({"operator": "random", "base": {"width": 48}}, {"num_layers": 4, "hidden_dim": 48}),
    ],
)
@pytest.mark.parametrize(
    "kind", [{}, {"kind": "blockdense", "rank": 16, "nblocks": 4, "keep_first_dense": False}]
)
def test_a_run_may_be_given_the_shape_of_the_grown_model(
    base: dict[str, Any], expected: dict[str, Any], kind: dict[str, Any]
) -> None:
    model = {"num_layers": 4, "hidden_dim": 64, "ffn_dim": 256, "num_heads": 4}
    grow = base | {"at": {"fraction": 0.5}}
    run = recipe(model=model, ffn=kind, grow=grow).resolve()
    scratch = recipe(model=model, ffn=kind).resolve()
    small, grown = (phase.model for phase in run.phases)
    assert {name: getattr(small, name) for name in expected} == expected
    same = {"growth": None, "norm_eps": scratch.model.norm_eps}
    assert grown.model_copy(update=same) == scratch.model
    assert count_params(small).total < count_params(grown).total
    # The same run, given by the shape of its base.
    asked = {n: base[n] for n in base if n != "base"} | {"at": {"fraction": 0.5}}
    if small.num_layers < grown.num_layers:
        asked["layers"] = grown.num_layers
    if small.hidden_dim < grown.hidden_dim:
        asked["width"] = grown.hidden_dim
    names = ("num_layers", "hidden_dim", "ffn_dim", "num_heads")
    shape = {name: getattr(small, name) for name in names}
    ffn = kind | small.ffn.sizes
    assert recipe(model=shape, ffn=ffn, grow=asked).resolve() == run


def test_growths_in_a_row_may_all_be_given_by_their_bases() -> None:
    first = {"operator": "stack", "base": {"factor": 2}, "at": {"fraction": 0.2}}
    second = {"operator": "split", "base": {"factor": 2}, "at": {"fraction": 0.6}}
    run = recipe(model={"num_layers": 4, "hidden_dim": 64}, grow=[first, second]).resolve()
    shapes = [(p.model.num_layers, p.model.hidden_dim) for p in run.phases]
    assert shapes == [(2, 32), (4, 32), (4, 64)]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "at: {tokens: 40_960}",
            r":3: grow.*: .*after 20 steps, .* first 19 .* is 19, after 38912 tokens",
        ),
        ("at: {tokens: 100}", r"grow.at.tokens 100 is less than one step; .* is 2048"),
        ("at: {fraction: 1.5}", "must be less than 1; lower it"),
        (
            "at: {fraction: 0.01}",
            "grow.at is after 0 steps, .* nearest that works is 1, after 2048 .*: fraction 0.05",
        ),
        (
            "at: {guideline: true}",
            r"guideline gives .* to the base, and the run has 4\.1e\+04: out",
        ),
        ("at: {}", "exactly one of tokens, fraction, guideline; found none"),
        ("layers: 8, at: {fraction: 0.5}", "factor 2 and layers 8 give the same size"),
        ("rewarmup_steps: 3, at: {fraction: 0.5}", "rewarmup_steps 3 is for schedule continue"),
        ("base: {layers: 1}, at: {fraction: 0.5}", "base gives the base's size and factor 2 the"),
        ("wdith: 64, at: {fraction: 0.5}", "no such key; the nearest is width"),
        ("width: 64, at: {fraction: 0.5}", "width 64 does not apply to operator stack"),
    ],
)
def test_what_does_not_fit_is_one_line_with_the_nearest_that_works(
    tmp_path: Path, written: str, expected: str
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(
        f"preset: pico\nbudget: {{steps: 20}}\ngrow: {{operator: stack, factor: 2, {written}}}\n"
    )
    with pytest.raises(InputError, match=expected) as caught:
        load_run(path)
    assert "\n" not in str(caught.value)


def test_guides_do_not_grow() -> None:
    growth = {"operator": "stack", "factor": 2, "at": {"fraction": 0.5}}
    lowrank = {"kind": "lowrank", "rank": 4}
    with pytest.raises(ValueError, match="guide"):
        recipe(grow=growth, ffn=lowrank, guide={"ratio": 0.5}).resolve()


def test_matrices_are_learned_in_a_phase_of_their_own() -> None:
    run = grown(operator="learn", learn_steps=3)
    assert [(p.start, p.steps, p.entry) for p in run.phases] == [
        (0, 10, None),
        (10, 3, "learn"),
        (13, 7, "multiply_out"),
    ]
    base, learn, last = run.phases
    assert learn.model == last.model == run.model and base.learned_growth is None
    assert learn.learned_growth == run.model.growth and last.learned_growth is None
    assert (learn.schedule_start, last.schedule_start) == (None, 13)
    assert grown(operator="learn", learn_steps=3, schedule="continue").phases[2].schedule_start == 0
    for wrong, message in (
        ({}, "operator learn trains its matrices in steps of the run; give learn_steps"),
        ({"learn_steps": 10}, "learn_steps 10 after step 10 .* first 20; the most that do are 9"),
        ({"learn_steps": 3, "optimizer_state": "carry"}, "optimizer_state carry has nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            grown(operator="learn", **wrong)
    with pytest.raises(ValueError, match=r"learn_steps 3 does not apply .* use learn"):
        grown(learn_steps=3)


def test_text_is_read_on_or_from_its_start() -> None:
    first = {"operator": "stack", "factor": 2, "at": {"fraction": 0.2}}
    second = {"operator": "zero", "layers": 5, "at": {"fraction": 0.6}, "data": "restart"}
    step = 16 * 128
    run = recipe(grow=[first, second]).resolve()
    assert [run.text_step(n) for n in range(20)] == [*range(12), *range(8)]
    assert [run.tokens_at(n) // step for n in (1, 4, 12, 15, 20)] == [1, 4, 12, 12, 12]
    both = recipe(grow=[first | {"data": "restart"}, second]).resolve()
    assert [both.text_step(n) for n in range(20)] == [*range(4), *range(8), *range(8)]
    assert [both.tokens_at(n) // step for n in (4, 7, 9, 12, 20)] == [4, 4, 5, 8, 8]
    assert both.tokens == 8 * step and run.tokens == 12 * step
    on = recipe(grow=[first, second | {"data": "continue"}]).resolve()
    assert [on.text_step(n) for n in range(20)] == [*range(20)] and on.tokens == 20 * step


def test_a_schedule_that_restarts_has_room_for_its_warm_up() -> None:
    wsd = {"schedule": "wsd", "warmup_steps": 9}
    with pytest.raises(ValueError, match="warmup_steps 9 is more than the first 8 of 10 steps"):
        recipe(
            grow={"operator": "stack", "factor": 2, "at": {"fraction": 0.5}}, optimizer=wsd
        ).resolve()
    late = {"operator": "stack", "factor": 2, "at": {"fraction": 0.8}, "schedule": "continue"}
    assert recipe(grow=late, optimizer=wsd).resolve().phases[1].start == 16
