"""Transfer rules: what each chooses, against the papers' tables and one condition on norms."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from workloads.config.fingerprint import identity
from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.cost import flops, memory
from workloads.errors import InputError
from workloads.optim.roles import Factors
from workloads.recipes.recipe import Recipe, load_run
from workloads.recipes.rules.rule import Choice

FFNS: dict[str, dict[str, Any]] = {
    "dense": {},
    "lowrank": {"kind": "lowrank", "fraction": 0.5},
    "blockdense": {"kind": "blockdense", "fraction": 0.5, "nblocks": 2},
    "blockshuffle": {"kind": "blockshuffle", "nblocks": 2},
}
over_ffns = pytest.mark.parametrize("ffn", FFNS.values(), ids=FFNS)
HIDDEN = ("attention.qkv_linear.weight", "attention.o_linear.weight")
DENSE = (*HIDDEN, "mlp.fc1.weight", "mlp.fc2.weight")


def resolved(rule: Any, **changes: Any) -> tuple[RunConfig, Choice]:
    recipe = {"preset": "nano", "recipe": rule, "model": {"vocab_size": 300}} | changes
    return Recipe.model_validate(recipe).resolved()


def run_of(rule: Any, **changes: Any) -> RunConfig:
    return resolved(rule, **changes)[0]


def roles_of(run: RunConfig) -> dict[str, Factors]:
    return run.optimizer.roles


# Without a rule, and at the base


@over_ffns
def test_fixed_and_rules_at_their_base_are_the_run_without_a_rule(ffn: dict[str, Any]) -> None:
    recipe = {"preset": "nano", "ffn": ffn}
    plain = Recipe.model_validate(recipe).resolve()
    for rule in ("fixed", "mup", "completep", {"rule": "mup", "base_width": 64}):
        found = Recipe.model_validate(recipe | {"recipe": rule}).resolve()
        assert found == plain
        assert found.model_dump_json() == plain.model_dump_json()
        assert identity(found, "abc") == identity(plain, "abc")


def test_a_rule_stands_in_the_identity_by_what_it_multiplies() -> None:
    found = identity(run_of("mup", width=2), "abc")
    plain = identity(run_of("fixed", width=2), "abc")
    scaling, roles = found["model"].pop("scaling"), found["optimizer"].pop("roles")
    assert found == plain
    assert scaling == {"output": 0.5, "initial": dict.fromkeys(DENSE, pytest.approx(0.5**0.5))}
    assert roles == {role: {"rate": 0.5, "decay": 2.0} for role in DENSE}


@over_ffns
def test_costs_are_those_without_a_rule(ffn: dict[str, Any]) -> None:
    plain, found = (run_of(rule, width=4, ffn=ffn) for rule in ("fixed", "completep"))
    assert found != plain
    assert flops.train_flops(found) == flops.train_flops(plain)
    assert memory.peak_memory_bytes(found) == memory.peak_memory_bytes(plain)


# muP


def test_mup_is_the_table_of_its_paper_for_dense_models() -> None:
    """Yang et al. 2022, table 8: with n times the inputs, variance and Adam's rate over n."""
    for width in (0.5, 2, 8):
        run = run_of("mup", width=width)
        assert roles_of(run) == {role: Factors(rate=1 / width, decay=width) for role in DENSE}
        scaling = run.model.multipliers
        assert scaling.output == 1 / width and scaling.residual == scaling.attention == 1
        assert {role: f**2 for role, f in scaling.initial.items()} == pytest.approx(
            dict.fromkeys(DENSE, 1 / width)
        )


def test_weight_decay_takes_the_same_part_of_every_weight_in_a_step() -> None:
    run = run_of("mup", width=4, ffn=FFNS["lowrank"])
    assert roles_of(run)
    for each in roles_of(run).values():
        assert each.rate * each.decay == pytest.approx(1)


def test_scores_fall_as_one_over_the_size_of_heads() -> None:
    run = run_of("mup", width=0.625)  # 40 features have no heads of 16
    assert run.model.head_dim == 20
    scale = 20**-0.5 * run.model.multipliers.attention
    assert scale == pytest.approx(16**0.5 / 20)


def reference_norms(run: RunConfig) -> dict[str, tuple[float, float]]:
    """(sqrt(outputs / inputs), inputs) of each factor or block, written out for each kind."""
    model, found = run.model, {}
    for name, (n, m) in zip(("fc1", "fc2"), model.ffn_shapes, strict=True):
        sizes, inner = model.ffn.sizes, min(n, m)
        rank, blocks = sizes.get("rank", 0), sizes.get("nblocks", 1)
        shapes = {
            "lowrank": [(n, rank), (rank, m)],
            "blockdense": [(n / blocks, rank / blocks), (rank, m)],
            "blockshuffle": [(n / blocks, inner / blocks), (inner / blocks, m / blocks)],
        }[model.ffn.kind]
        for factor, (inputs, outputs) in zip("vu", shapes, strict=True):
            found[f"mlp.{name}.{factor}"] = (math.sqrt(outputs / inputs), inputs)
    return found


over_factored = pytest.mark.parametrize(
    "ffn",
    [
        *list(FFNS.values())[1:],
        {"kind": "lowrank", "rank": 16},  # the rank stays while the width grows
        {"kind": "blockdense", "rank": 16, "nblocks": 4},
        {"kind": "blockshuffle", "nblocks": 8},
    ],
    ids=lambda ffn: " ".join(map(str, ffn.values())),
)


@over_factored
def test_each_factor_has_the_rate_of_its_own_inputs(ffn: dict[str, Any]) -> None:
    base, wide = (run_of("mup", width=width, ffn=ffn) for width in (1, 8))
    before, after = reference_norms(base), reference_norms(wide)
    for role in before:
        rate = before[role][1] / after[role][1]
        assert roles_of(wide).get(role, Factors()).rate == pytest.approx(rate)


@over_factored
def test_each_factor_starts_with_the_norm_of_the_condition(ffn: dict[str, Any]) -> None:
    """Factors of low rank start as the root of a dense weight's singular values, which grow as the
    root of the width; those of blocks are orthonormal in every width. The rule takes both to
    sqrt(outputs / inputs), times what they are over it at the base."""
    base, wide = (run_of("mup", width=width, ffn=ffn) for width in (1, 8))
    before, after = reference_norms(base), reference_norms(wide)
    start = 8**0.25 if ffn["kind"] == "lowrank" else 1.0
    initial = wide.model.multipliers.initial
    for role in before:
        wanted = after[role][0] / before[role][0] / start
        assert initial.get(role, 1.0) == pytest.approx(wanted)
    for role in DENSE:  # The first FFN is dense.
        assert initial[role] == pytest.approx(8**-0.5)


def test_a_guide_is_a_dense_matrix() -> None:
    run = run_of("mup", width=4, ffn=FFNS["lowrank"], guide={"ratio": 0.5})
    guides = {role: f for role, f in roles_of(run).items() if role.endswith(".guide")}
    assert {role: f.rate for role, f in guides.items()} == {
        "mlp.fc1.guide": 0.25,
        "mlp.fc2.guide": 0.25,
    }
    assert not any(role.endswith(".guide") for role in run.model.multipliers.initial)


def test_orthogonal_steps_have_the_norm_of_the_condition() -> None:
    """A step of Muon has norm rate x sqrt(max(rows, columns)); sqrt(rows / columns) asks for rates
    of 1/sqrt(width)."""
    run = run_of("mup", width=4, optimizer={"kind": "muon"})
    assert roles_of(run) == dict.fromkeys(DENSE, Factors(rate=0.5, decay=2.0))


# CompleteP


def test_completep_is_mup_with_the_depth_of_its_paper() -> None:
    """Dey et al. 2025, table 1 with alpha = 1, for 4 times the width and 2 times the layers."""
    changes = {"width": 4, "model": {"num_layers": 6, "vocab_size": 300}}
    run, plain = run_of("completep", **changes), run_of("mup", **changes)
    assert run.model.multipliers.residual == 0.5
    kept = run.model.multipliers.model_copy(update={"residual": 1.0})
    assert kept == plain.model.multipliers
    wanted = {role: f.model_copy(update={"epsilon": 1 / 8}) for role, f in roles_of(plain).items()}
    wanted |= {"layers": Factors(epsilon=1 / 8), "outside": Factors(epsilon=1 / 4)}
    assert roles_of(run) == wanted


def test_completep_of_more_layers_alone_leaves_rates() -> None:
    run = run_of("completep", model={"num_layers": 12, "vocab_size": 300})
    assert run.model.multipliers.residual == 0.25 and run.model.multipliers.initial == {}
    assert roles_of(run) == {"layers": Factors(epsilon=0.25)}


# Step Law


def test_step_law_is_the_formula_of_its_paper() -> None:
    run = run_of("step_law", budget={"tokens": 1_000_000})
    hidden = run.model.hidden_dim
    params = flops.count_params(run.model).total - 300 * hidden
    rate = math.exp(math.log(1.79) - 0.713 * math.log(params) + 0.307 * math.log(run.tokens))
    assert run.optimizer.learning_rate == pytest.approx(rate, rel=1e-3)
    sequences = math.exp(math.log(0.58) + 0.571 * math.log(1e6)) / run.model.block_size
    assert run.batch_size == 8 * round(sequences / 8) == 16
    assert run.tokens <= 1_000_000 < run.tokens + run.tokens_per_step
    larger = run_of("step_law", budget={"tokens": 40_000_000})
    assert larger.batch_size == 96 and run.model.scaling is None and not roles_of(run)


def test_what_is_written_counts_before_what_a_rule_chooses() -> None:
    budget = {"tokens": 1_000_000}
    chosen = run_of("step_law", budget=budget)
    rate = run_of("step_law", budget=budget, learning_rate=0.5)
    assert (rate.optimizer.learning_rate, rate.batch_size) == (0.5, chosen.batch_size)
    batch = run_of("step_law", budget={"steps": 100}, batch_size=4)
    assert (batch.batch_size, batch.steps) == (4, 100)


# What is said, and refused


def test_a_rule_says_where_it_leaves_its_range() -> None:
    said = {
        "mup does not adapt to depth: 6 layers": resolved("mup", model={"num_layers": 6}),
        "16 times (arXiv 2203.03466)": resolved("mup", width=32),
        "width 32 is below the base's 64": resolved("completep", width=0.5),
        "300 layers are 100 times the base's 3": resolved("completep", model={"num_layers": 300}),
        "tokens are outside the 2e+09 to 1e+11": resolved("step_law"),
        "base_width 32 takes it as tuned there": resolved({"rule": "mup", "base_width": 32}),
    }
    for words, (_, choice) in said.items():
        assert any(words in caution for caution in choice.cautions), (words, choice.cautions)
    for rule in ("mup", "completep"):
        assert resolved(rule, width=4)[1].cautions == ()


REFUSED = {
    "unknown": ("recipe: mupp", "recipe", "no such rule; the nearest is mup"),
    "base of fixed": (
        "recipe: {rule: fixed, base_width: 64}",
        "recipe.base_width = 64",
        "base_width does not apply to rule fixed; remove it, or use mup and completep",
    ),
    "Sophia-G": (
        "recipe: mup\nwidth: 2\noptimizer: {kind: sophia_g}",
        "recipe = 'mup'",
        "no transfer rule is known for the steps of sophia_g; set recipe: fixed, or another",
    ),
    "growth": (
        "recipe: mup\ngrow: {operator: stack, layers: 6, at: {fraction: 0.5}}",
        "recipe = 'mup'",
        "sets a model's scales for one size, and this one grows; set recipe: fixed, or remove grow",
    ),
    "a rank above the base's width": (
        "recipe: mup\nwidth: 4\nffn: {kind: lowrank, rank: 100}",
        "recipe = 'mup'",
        "of the same model in the base's width 64: rank 100 exceeds the projection's smaller side",
    ),
    "a width without whole sizes": (
        "recipe: {rule: mup, base_width: 63}",
        "recipe.base_width = 63",
        "of the same model in the base's width 63: width 0.984375 leaves no heads",
    ),
    "steps under step_law": (
        "recipe: step_law\nbudget: {steps: 10}",
        "budget.steps = 10",
        "chooses the batch by the tokens, and budget.steps leaves these to the batch",
    ),
}


@pytest.mark.parametrize(("text", "place", "words"), REFUSED.values(), ids=REFUSED)
def test_a_mistake_is_one_line_with_place_and_remedy(
    text: str, place: str, words: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(f"preset: nano\n{text}\n")
    with pytest.raises(InputError) as caught:
        load_run(path)
    message = str(caught.value)
    assert place in message and words in message and "\n" not in message


def test_a_model_of_a_rule_has_a_hash_for_the_planner() -> None:
    model = run_of("mup", width=2).model
    same = ModelConfig.model_validate(model.model_dump())
    assert hash(model) == hash(same) and model == same  # type: ignore[reportUnhashable]  # frozen
