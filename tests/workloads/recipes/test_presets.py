"""Presets and recipes: ranks from fractions, budgets in every unit, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from workloads.config.model import RopeScaling
from workloads.cost.flops import count_params, ffn_fraction, train_flops, train_flops_per_token
from workloads.data.config import DataConfig
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Budget, Recipe
from workloads.recipes.variant import FFNChoice, ModelChanges

# The paper's models (arXiv 2406.16450): layers, hidden, ffn, heads, tokens, learning rate, steps =
# int(tokens / 512 / 1024).
PAPER = {
    "transformer-s": (12, 768, 3072, 12, 2.2e9, 6.0e-4, 4196),
    "transformer-m": (24, 1024, 4096, 16, 6.7e9, 3.0e-4, 12779),
    "transformer-l": (24, 1536, 6144, 12, 14.58e9, 2.5e-4, 27809),
    "transformer-xl": (24, 2048, 8192, 16, 25.5e9, 2.0e-4, 48637),
}
# The published configurations: layers, hidden, ffn, factor of RoPE's scaling, and the parameters of
# their safetensors files (meta-llama/Llama-3.2-1B, with tied embeddings, and Llama-3.1-8B).
LLAMA = {
    "llama-1b": (16, 2048, 8192, 32.0, 1_235_814_400),
    "llama-8b": (32, 4096, 14_336, 8.0, 8_030_261_248),
}
OURS = [name for name in PRESETS if name not in (*PAPER, *LLAMA, "llama-nano", "noam-wide")]


def rank_of(preset: str, ffn: FFNChoice) -> int | None:
    return ffn.resolve(PRESETS[preset].model).rank


# Presets


@pytest.mark.parametrize("name", PAPER)
def test_the_papers_models(name: str) -> None:
    layers, hidden, inner, heads, tokens, rate, steps = PAPER[name]
    run = Recipe(preset=name).resolve()
    assert run.model.num_layers == layers
    assert (run.model.hidden_dim, run.model.ffn_dim) == (hidden, inner)
    assert run.model.num_heads == heads
    assert (run.model.vocab_size, run.model.block_size) == (32_000, 1024)
    assert run.model.ffn.kind == "dense"
    assert (run.batch_size, run.steps, PRESETS[name].tokens) == (512, steps, tokens)
    assert run.optimizer.learning_rate == rate
    assert run.eval_tokens == 512_000 * 1024


@pytest.mark.parametrize("name", LLAMA)
def test_the_llama_models_are_the_published_ones_but_for_the_tied_head(name: str) -> None:
    layers, hidden, inner, factor, params = LLAMA[name]
    run = Recipe(preset=name).resolve()
    model = run.model
    assert (model.num_layers, model.hidden_dim, model.ffn_dim) == (layers, hidden, inner)
    assert (model.num_heads, model.num_kv_heads, model.vocab_size) == (32, 8, 128_256)
    assert (model.norm, model.activation, model.bias) == ("rmsnorm", "swiglu", False)
    assert (model.rope_base, model.norm_eps, model.tie_embeddings) == (500_000, 1e-5, False)
    scaling = {"factor": factor, "low_freq_factor": 1, "high_freq_factor": 4}
    assert model.rope_scaling
    assert model.rope_scaling.model_dump() == scaling | {"original_block_size": 8192}
    tied = Recipe(preset=name, model=ModelChanges(tie_embeddings=name == "llama-1b")).resolve()
    assert count_params(tied.model).total == params
    assert run.tokens_per_step == 512 * 8192
    assert run.tokens == pytest.approx(20 * count_params(model).total, rel=0.01)


@pytest.mark.parametrize("name", LLAMA)
def test_the_llama_models_cost_what_their_products_do(name: str) -> None:
    """Multiply-adds a token, forward: matrices and the head, and the scores over 8,192 keys."""
    layers, hidden, inner, _, _ = LLAMA[name]
    keys = 8 * hidden // 32
    matrices = layers * (2 * hidden * hidden + 2 * hidden * keys + 3 * hidden * inner)
    head, scores = 128_256 * hidden, layers * 2 * 8192 * hidden
    found = train_flops_per_token(PRESETS[name].model)
    assert found == 3 * 2 * (matrices + head + scores)
    norms = (2 * layers + 1) * hidden
    assert count_params(PRESETS[name].model).total == matrices + 2 * head + norms


def test_the_small_llama_is_of_the_same_family() -> None:
    small, large = PRESETS["llama-nano"].model, PRESETS["llama-8b"].model
    for name in ("norm", "activation", "bias", "tie_embeddings", "rope_base", "position"):
        assert getattr(small, name) == getattr(large, name)
    assert small.num_kv_heads < small.num_heads and small.rope_scaling
    assert (small.vocab_size, small.block_size) == (257, 128)


def test_scaled_positions_are_a_change_of_a_preset_and_null_takes_them_away() -> None:
    none = Recipe(preset="llama-nano", model=ModelChanges(rope_scaling=None)).resolve().model
    assert none == PRESETS["llama-nano"].model.model_copy(update={"rope_scaling": None})
    given = ModelChanges.model_validate({"rope_scaling": {"factor": 2}, "num_layers": None})
    model = Recipe(preset="llama-nano", model=given).resolve().model
    assert model.rope_scaling == RopeScaling(factor=2, original_block_size=8192)
    assert model.num_layers == PRESETS["llama-nano"].model.num_layers


def test_a_variants_tree_holds_what_differs_from_its_preset_and_is_read_back() -> None:
    """Options at their default are a change of a preset that has others, and of no other preset."""
    changes = {"norm": "layernorm", "rope_scaling": None, "num_layers": 2}
    small = Recipe.model_validate({"preset": "llama-nano", "model": changes})
    assert small.tree() == {"preset": "llama-nano", "model": changes}
    assert Recipe.model_validate(small.tree()).resolve() == small.resolve()
    assert Recipe(preset="pico", model=ModelChanges(norm="layernorm")).tree() == {"preset": "pico"}


@pytest.mark.parametrize("name", [*OURS, "llama-nano"])
def test_our_models_read_bytes_and_train_in_whole_steps(name: str) -> None:
    run = Recipe(preset=name).resolve()
    assert run.model.vocab_size == 257
    assert run.tokens == PRESETS[name].tokens
    assert run.batch_size % run.runtime.micro_batch_size == 0


def test_our_models_grow() -> None:
    sizes = [count_params(PRESETS[name].model).total for name in OURS]
    assert sizes == sorted(sizes) and sizes[0] < 100_000 < sizes[-1]


@pytest.mark.parametrize(
    ("given", "nearest"),
    [("transformer-xs", "transformer-"), ("picco", "pico"), ("MINI", "mini"), ("tiny", "mini")],
)
def test_an_unknown_preset_names_the_nearest(given: str, nearest: str) -> None:
    with pytest.raises(ValidationError, match=f"no such preset; the nearest is {nearest}"):
        Recipe(preset=given)


# Sizes of the structured layers


@pytest.mark.parametrize(
    ("preset", "fraction", "rank"),
    [
        ("transformer-s", 0.625, 384),
        ("transformer-s", 0.3125, 192),
        ("transformer-m", 0.625, 512),
        ("transformer-m", 0.3125, 256),
        ("transformer-l", 0.625, 768),
        ("transformer-l", 0.3125, 384),
        ("transformer-xl", 0.625, 1024),
        ("transformer-xl", 0.3125, 512),
    ],
)
def test_fractions_give_the_papers_lowrank_ranks(preset: str, fraction: float, rank: int) -> None:
    assert rank_of(preset, FFNChoice(kind="lowrank", fraction=fraction)) == rank


@pytest.mark.parametrize(
    ("preset", "nblocks", "fraction", "rank"),
    [
        ("transformer-s", 2, 0.625, 512),
        ("transformer-s", 2, 0.3125, 256),
        ("transformer-l", 2, 0.625, 1024),
        ("transformer-l", 2, 0.3125, 512),
        # With four blocks, the paper's ranks are these fractions and not 0.625 and 0.3125.
        ("transformer-m", 4, 0.586, 768),
        ("transformer-m", 4, 0.293, 384),
        ("transformer-xl", 4, 0.586, 1536),
        ("transformer-xl", 4, 0.293, 768),
    ],
)
def test_fractions_give_the_papers_blockdense_ranks(
    preset: str, nblocks: int, fraction: float, rank: int
) -> None:
    choice = FFNChoice(kind="blockdense", nblocks=nblocks, fraction=fraction)
    assert rank_of(preset, choice) == rank


@pytest.mark.parametrize(
    ("preset", "kind", "nblocks", "fraction"),
    [
        *((preset, "lowrank", None, 0.3125) for preset in PRESETS),
        *(("pico", "lowrank", None, fraction) for fraction in (0.1, 0.5, 0.625)),
        ("pico", "blockdense", 2, 0.3125),
        ("transformer-xl", "blockdense", 2, 0.1),
    ],
)
def test_the_rank_is_the_nearest_allowed_to_the_fraction(
    preset: str, kind: str, nblocks: int | None, fraction: float
) -> None:
    shape = PRESETS[preset].model

    def distance(rank: int) -> float:
        ffn = FFNChoice(kind=kind, rank=rank, nblocks=nblocks).resolve(shape)
        return abs(ffn_fraction(shape.model_copy(update={"ffn": ffn})) - fraction)

    rank = rank_of(preset, FFNChoice(kind=kind, nblocks=nblocks, fraction=fraction))
    assert rank is not None
    multiple = 32 if shape.hidden_dim >= 512 else 4
    assert rank % multiple == 0
    allowed = range(multiple, shape.hidden_dim + 1, multiple)
    assert distance(rank) == pytest.approx(min(map(distance, allowed)))


@pytest.mark.parametrize(("preset", "nblocks"), [("micro", 3), ("transformer-s", 3)])
def test_the_rank_divides_into_the_blocks(preset: str, nblocks: int) -> None:
    choice = FFNChoice(kind="blockdense", nblocks=nblocks, fraction=0.5)
    run = Recipe(preset=preset, ffn=choice).resolve()
    assert run.model.ffn.rank is not None
    assert run.model.ffn.rank % nblocks == 0
    assert ffn_fraction(run.model) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"kind": "lowrank", "rank": 8, "fraction": 0.5}, "rank and fraction both give the size"),
        ({"kind": "lowrank", "rank": 0}, "greater than 0"),
        ({"kind": "lowrank", "fraction": 0.0}, "greater than 0"),
        ({"kind": "lowrank", "fraction": 1.1}, "less than or equal to 1"),
        ({"kind": "lowrank"}, "kind lowrank needs rank or fraction; add it"),
        ({"kind": "dense", "fraction": 0.5}, "kind dense has none to choose"),
        (
            {"kind": "blockshuffle", "nblocks": 2, "fraction": 0.5},
            "shuffle has none to choose",
        ),
        ({"kind": "blockdense", "fraction": 0.5}, "kind blockdense needs nblocks; add it"),
        ({"kind": "lowrank", "nblocks": 2, "fraction": 0.5}, "nblocks does not apply to kind low"),
    ],
)
def test_sizes_that_contradict_are_refused(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FFNChoice.model_validate(choice)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (FFNChoice(kind="lowrank", rank=33), "rank 33 exceeds .* use 32 or less"),
        (FFNChoice(kind="blockshuffle", nblocks=3), "nblocks 3 .* hidden_dim 32; .* nearest .* 2"),
        (FFNChoice(kind="blockshuffle", nblocks=33), "nblocks 33 .* the nearest that does is 32"),
        (
            FFNChoice(kind="blockdense", rank=6, nblocks=4),
            "4 does not divide rank 6; the nearest that divides hidden_dim, ffn_dim, rank is 2",
        ),
    ],
)
def test_sizes_that_do_not_fit_the_preset_are_refused(choice: FFNChoice, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Recipe(preset="pico", ffn=choice).resolve()


def test_arms_are_named_by_kind_and_size() -> None:
    names = {
        "dense": FFNChoice(),
        "lowrank 62.5%": FFNChoice(kind="lowrank", fraction=0.625),
        "lowrank r256": FFNChoice(kind="lowrank", rank=256),
        "blockdense 31.25% b4": FFNChoice(kind="blockdense", fraction=0.3125, nblocks=4),
        "blockshuffle b4": FFNChoice(kind="blockshuffle", nblocks=4),
        "mine": FFNChoice(kind="lowrank", rank=8, arm="mine"),
    }
    assert {choice.arm_name(): choice for choice in names.values()} == names


# Budgets


@pytest.mark.parametrize("ffn", [FFNChoice(), FFNChoice(kind="lowrank", fraction=0.3125)])
def test_every_unit_buys_whole_steps_within_the_budget(ffn: FFNChoice) -> None:
    model = Recipe(preset="nano", ffn=ffn).resolve().model
    per_step = 16 * 128
    units = {
        "tokens": 1,
        "tokens_per_param": 1 / count_params(model).total,
        "train_flops": train_flops_per_token(model),
    }
    for unit, price in units.items():
        for tokens, steps in ((per_step * 7 + 1, 7), (per_step * 8 - 1, 7), (per_step + 1, 1)):
            amount = int(tokens) if unit == "tokens" else tokens * price
            budget = Budget.model_validate({unit: amount})
            run = Recipe(preset="nano", ffn=ffn, budget=budget).resolve()
            assert run.steps == steps, (unit, tokens)
    assert Recipe(preset="nano", ffn=ffn, budget=Budget(steps=7)).resolve().steps == 7


@pytest.mark.parametrize("flops", [1e18, 3.3e18, 1e20])
def test_a_flop_budget_is_never_exceeded(flops: float) -> None:
    run = Recipe(preset="transformer-m", budget=Budget(train_flops=flops)).resolve()
    step = run.tokens_per_step * train_flops_per_token(run.model)
    assert train_flops(run) <= flops < train_flops(run) + step


def test_a_cheaper_model_trains_longer_on_the_same_flops() -> None:
    budget = Budget(train_flops=1e12)
    dense = Recipe(preset="nano", budget=budget).resolve()
    lowrank = FFNChoice(kind="lowrank", fraction=0.3125)
    assert Recipe(preset="nano", ffn=lowrank, budget=budget).resolve().steps > dense.steps


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        ({}, "exactly one of tokens, tokens_per_param, steps, .*, isoflop; found none"),
        ({"tokens": 10_000, "steps": 3}, "exactly one of .* found tokens, steps"),
        ({"steps": 0}, "greater than 0"),
        ({"tokens": 2.5}, "fractional part"),
        ({"train_flops": float("inf")}, "finite"),
        ({"hours": 3}, "Extra inputs"),
    ],
)
def test_budgets_that_say_nothing_or_too_much_are_refused(
    budget: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        Budget.model_validate(budget)


def test_a_budget_below_one_step_is_refused() -> None:
    with pytest.raises(ValueError, match="less than one step of 16 x 128 tokens; raise it"):
        Recipe(preset="pico", budget=Budget(tokens=2047)).resolve()
    assert Recipe(preset="pico", budget=Budget(tokens=2048)).resolve().steps == 1


# Batches


@pytest.mark.parametrize(
    ("batch_size", "micro_batch_size"), [(8, 8), (16, 16), (24, 12), (17, 1), (64, 16)]
)
def test_a_batch_keeps_the_tokens_and_is_read_in_whole_micro_batches(
    batch_size: int, micro_batch_size: int
) -> None:
    run = Recipe(preset="pico", batch_size=batch_size).resolve()
    assert run.steps == PRESETS["pico"].tokens // (batch_size * 128)
    assert run.tokens_per_step == batch_size * 128
    assert run.runtime.micro_batch_size == micro_batch_size


def test_a_batch_of_the_presets_size_is_the_presets_run() -> None:
    assert Recipe(preset="pico", batch_size=16).resolve() == Recipe(preset="pico").resolve()


@pytest.mark.parametrize("budget", [{"train_flops": 1e11}, {"isoflop": (1e11,)}])
def test_flops_buy_fewer_steps_of_a_larger_batch(budget: dict[str, Any]) -> None:
    small, large = (
        Recipe(preset="pico", batch_size=size, budget=Budget(**budget)).resolve()
        for size in (8, 32)
    )
    assert small.steps == pytest.approx(4 * large.steps, abs=4)
    assert train_flops(large) == pytest.approx(train_flops(small), rel=0.02)


def test_a_matched_run_has_its_twins_batch() -> None:
    budget = Budget(match_flops_of="dense", tokens=200_000)
    lowrank = FFNChoice(kind="lowrank", fraction=0.3125)
    recipe = Recipe(preset="pico", batch_size=8, ffn=lowrank, budget=budget)
    twin = recipe.dense_twin().resolve()
    assert twin.batch_size == recipe.resolve().batch_size == 8
    assert train_flops(recipe.resolve()) == pytest.approx(train_flops(twin), rel=0.01)


# Recipes


def test_an_evaluation_below_one_sequence_is_refused() -> None:
    with pytest.raises(ValueError, match="eval_tokens 127 is less than one sequence of 128 tokens"):
        Recipe(preset="pico", eval_tokens=127).resolve()
    assert Recipe(preset="pico", eval_tokens=128).resolve().eval_tokens == 128


def test_a_recipe_overrides_its_preset() -> None:
    recipe = Recipe.model_validate(
        {
            "preset": "pico",
            "ffn": {"kind": "lowrank", "rank": 8, "keep_first_dense": False},
            "budget": {"steps": 3},
            "learning_rate": 1e-3,
            "seed": 5,
            "data": {"val_fraction": 0.1},
            "eval_tokens": 256,
            "runtime": {"micro_batch_size": 4},
        }
    )
    run = recipe.resolve()
    assert run.model.ffn.model_dump() == {
        "kind": "lowrank",
        "rank": 8,
        "nblocks": None,
        "keep_first_dense": False,
    }
    assert (run.steps, run.seed, run.eval_tokens) == (3, 5, 256)
    assert (run.optimizer.learning_rate, run.data) == (1e-3, DataConfig(val_fraction=0.1))
    assert run.runtime.micro_batch_size == 4
    plain = Recipe(preset="pico").resolve()
    assert run.model.model_copy(update={"ffn": plain.model.ffn}) == plain.model
    assert run.batch_size == plain.batch_size
