"""Parameters and FLOPs against the numbers that the papers print."""

from typing import Any

import pytest

from workloads.config.run import RunConfig
from workloads.cost.flops import count_params, ffn_fraction, train_flops
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Recipe
from workloads.recipes.variant import FFNChoice

# arXiv 2406.16450: all parameters, FFN weights, and training FLOPs on the preset's tokens; the
# FLOPs have 5 digits, from the figure of the scaling laws and, for the block kinds, table 1.
PUBLISHED: list[tuple[str, str, int | None, int | None, int, int, float]] = [
    # preset, kind, rank, nblocks, parameters, FFN weights, training FLOPs
    ("transformer-s", "dense", None, None, 109632000, 56623104, 1.6947e18),
    ("transformer-m", "dense", None, None, 335079424, 201326592, 1.5481e19),
    ("transformer-l", "dense", None, None, 729111552, 452984832, 7.0345e19),
    ("transformer-xl", "dense", None, None, 1274138624, 805306368, 2.1025e20),
    ("transformer-s", "lowrank", 384, None, 90167808, 37158912, 1.4378e18),
    ("transformer-s", "lowrank", 192, None, 73947648, 20938752, 1.2236e18),
    ("transformer-m", "lowrank", 512, None, 262727680, 128974848, 1.2572e19),
    ("transformer-m", "lowrank", 256, None, 202434560, 68681728, 1.0148e19),
    ("transformer-l", "lowrank", 768, None, 566320128, 290193408, 5.6104e19),
    ("transformer-l", "lowrank", 384, None, 430660608, 154533888, 4.4237e19),
    ("transformer-xl", "lowrank", 1024, None, 984731648, 515899392, 1.6597e20),
    ("transformer-xl", "lowrank", 512, None, 743559168, 274726912, 1.2907e20),
    ("transformer-xl", "blockdense", 1536, 4, 954585088, 485752832, 1.6135e20),
    ("transformer-xl", "blockdense", 768, 4, 728485888, 259653632, 1.2676e20),
    ("transformer-xl", "blockshuffle", None, 2, 984731648, 515899392, 1.6597e20),
    ("transformer-xl", "blockshuffle", None, 4, 743559168, 274726912, 1.2907e20),
]

# The paper's table 1, transformer-xl on 25.5e9 tokens, as printed: millions of parameters, of FFN
# weights, and training FLOPs.
TABLE_1: list[tuple[str, int | None, int | None, str, str, str]] = [
    ("dense", None, None, "1274", "805", "2.10e+20"),
    ("lowrank", 1024, None, "985", "516", "1.66e+20"),
    ("blockdense", 1536, 4, "955", "486", "1.61e+20"),
    ("blockshuffle", None, 2, "985", "516", "1.66e+20"),
    ("lowrank", 512, None, "744", "275", "1.29e+20"),
    ("blockdense", 768, 4, "728", "260", "1.27e+20"),
    ("blockshuffle", None, 4, "744", "275", "1.29e+20"),
]

# Blocks and ranks of the paper's blockdense models: preset, nblocks, rank at 63% and at 32%.
BLOCKDENSE = [
    ("transformer-s", 2, 512, 256),
    ("transformer-m", 4, 768, 384),
    ("transformer-l", 2, 1024, 512),
    ("transformer-xl", 4, 1536, 768),
]


def recipe(preset: str, kind: str, rank: int | None, nblocks: int | None) -> Recipe:
    return Recipe(preset=preset, ffn=FFNChoice(kind=kind, rank=rank, nblocks=nblocks))


@pytest.mark.parametrize(
    ("preset", "kind", "rank", "nblocks", "params", "ffn_params", "published_flops"), PUBLISHED
)
def test_the_papers_counts_and_flops(
    preset: str,
    kind: str,
    rank: int | None,
    nblocks: int | None,
    params: int,
    ffn_params: int,
    published_flops: float,
) -> None:
    config = recipe(preset, kind, rank, nblocks).resolve()
    count = count_params(config.model)
    assert (count.total, count.ffn) == (params, ffn_params)
    assert count.embedding == 32_000 * config.model.hidden_dim
    assert train_flops(config) == pytest.approx(published_flops, rel=1e-4)


@pytest.mark.parametrize(("kind", "rank", "nblocks", "params", "ffn_params", "flops"), TABLE_1)
def test_every_printed_digit_of_table_1(
    kind: str,
    rank: int | None,
    nblocks: int | None,
    params: str,
    ffn_params: str,
    flops: str,
) -> None:
    config = recipe("transformer-xl", kind, rank, nblocks).resolve()
    count = count_params(config.model)
    assert f"{count.total / 1e6:.0f}" == params
    assert f"{count.ffn / 1e6:.0f}" == ffn_params
    assert f"{train_flops(config):.2e}" == flops


@pytest.mark.parametrize(("preset", "nblocks", "rank_63", "rank_32"), BLOCKDENSE)
def test_blockdense_counts_at_the_papers_ranks(
    preset: str, nblocks: int, rank_63: int, rank_32: int
) -> None:
    hidden, inner = PRESETS[preset].model.hidden_dim, PRESETS[preset].model.ffn_dim
    layers = PRESETS[preset].model.num_layers
    dense = count_params(PRESETS[preset].model)
    for rank in (rank_63, rank_32):
        model = recipe(preset, "blockdense", rank, nblocks).resolve().model
        # V has a row of hidden/B or inner/B inputs per rank; U is whole.
        layer = rank * (hidden // nblocks + inner) + rank * (inner // nblocks + hidden)
        count = count_params(model)
        assert count.ffn == layer * (layers - 1) + 2 * hidden * inner
        assert dense.total - count.total == dense.ffn - count.ffn


@pytest.mark.parametrize("preset", [name for name in PRESETS if name.startswith("transformer")])
@pytest.mark.parametrize(("nblocks", "share"), [(2, 0.625), (4, 0.3125)])
def test_blockshuffle_is_as_large_as_lowrank_at_the_papers_ranks(
    preset: str, nblocks: int, share: float
) -> None:
    shuffled = recipe(preset, "blockshuffle", None, nblocks).resolve()
    rank = PRESETS[preset].model.hidden_dim // nblocks
    lowrank = recipe(preset, "lowrank", rank, None).resolve()
    assert count_params(shuffled.model) == count_params(lowrank.model)
    assert train_flops(shuffled) == train_flops(lowrank)
    assert ffn_fraction(shuffled.model) == share == ffn_fraction(lowrank.model)


# The paper's self-guided and wide models


def published(
    preset: str,
    ffn: dict[str, Any],
    guide: float | None = None,
    tokens: float | None = None,
    **model: Any,
) -> RunConfig:
    recipe: dict[str, Any] = {"preset": preset, "ffn": ffn, "model": model}
    if guide:
        recipe["guide"] = {"ratio": guide}
    if tokens:
        recipe["budget"] = {"tokens": int(tokens)}
    return Recipe.model_validate(recipe).resolve()


WIDE_M = {"ffn_dim": 4864, "attn_dim": 512, "num_heads": 8, "num_kv_heads": 4}
WIDE_L = {"ffn_dim": 7424, "attn_dim": 768, "num_heads": 12, "num_kv_heads": 4}


@pytest.mark.parametrize(
    ("ffn", "guide", "tokens", "model", "params", "flops"),
    [
        ({}, None, None, {}, "335", "1.55e+19"),
        ({}, None, None, {"num_kv_heads": 4, "ffn_dim": 4864}, "335", "1.55e+19"),
        ({"kind": "lowrank", "rank": 512}, None, 10.58e9, WIDE_M, "219", "1.55e+19"),
        ({"kind": "lowrank", "rank": 512}, 0.40, 6.7e9, WIDE_M, "219", "1.56e+19"),
    ],
    ids=["dense", "grouped queries", "wide", "wide and guided"],
)
def test_every_printed_digit_of_the_wide_structured_table(
    ffn: dict[str, Any],
    guide: float | None,
    tokens: float | None,
    model: dict[str, Any],
    params: str,
    flops: str,
) -> None:
    config = published("transformer-m", ffn, guide, tokens, **model)
    assert f"{count_params(config.model).total / 1e6:.0f}" == params
    assert f"{train_flops(config):.2e}" == flops


def test_the_wide_structured_counterparts_at_l() -> None:
    dense = published("transformer-l", {})
    grouped = published("transformer-l", {}, num_kv_heads=2, ffn_dim=7424)
    lowrank = {"kind": "lowrank", "rank": 768}
    guided_wide = published("transformer-l", lowrank, 0.395, **WIDE_L)
    assert grouped.model.head_dim == 128 and guided_wide.model.head_dim == 64
    assert count_params(grouped.model).total == pytest.approx(
        count_params(dense.model).total, rel=0.01
    )
    assert count_params(guided_wide.model).total < 0.7 * count_params(dense.model).total
    for config in (grouped, guided_wide):
        assert train_flops(config) == pytest.approx(train_flops(dense), rel=0.02)


@pytest.mark.parametrize(
    ("preset", "ffn", "ratio"),
    [
        ("transformer-s", {"kind": "lowrank", "rank": 192}, 0.30),
        ("transformer-m", {"kind": "lowrank", "rank": 256}, 0.38),
        ("transformer-l", {"kind": "lowrank", "rank": 384}, 0.41),
        ("transformer-xl", {"kind": "lowrank", "rank": 512}, 0.43),
        ("transformer-s", {"kind": "blockdense", "rank": 256, "nblocks": 2}, 0.30),
        ("transformer-m", {"kind": "blockdense", "rank": 384, "nblocks": 4}, 0.40),
        ("transformer-l", {"kind": "blockdense", "rank": 512, "nblocks": 2}, 0.41),
        ("transformer-xl", {"kind": "blockdense", "rank": 768, "nblocks": 4}, 0.45),
        ("transformer-s", {"kind": "blockshuffle", "nblocks": 4}, 0.30),
        ("transformer-m", {"kind": "blockshuffle", "nblocks": 4}, 0.38),
        ("transformer-l", {"kind": "blockshuffle", "nblocks": 4}, 0.41),
        ("transformer-xl", {"kind": "blockshuffle", "nblocks": 4}, 0.43),
    ],
)
def test_the_papers_ratios_bring_guided_runs_to_the_dense_flops(
    preset: str, ffn: dict[str, Any], ratio: float
) -> None:
    config, dense = published(preset, ffn, ratio), published(preset, {})
    assert train_flops(config) == pytest.approx(train_flops(dense), rel=0.02)
    assert config.steps == dense.steps and config.tokens == dense.tokens
    assert config.total_steps == dense.steps + int(ratio * dense.steps)


def test_guidance_by_fixed_steps_adds_a_quarter_of_the_ffns_flops() -> None:
    """At ratio 0.5: half of the steps, half of the draws, of a dense FFN's FLOPs."""
    ffn = {"kind": "lowrank", "rank": 512}
    plain = published("transformer-xl", ffn)
    recipe = {"preset": "transformer-xl", "ffn": ffn}
    guide = {"ratio": 0.5, "mode": "fixed_steps"}
    config = Recipe.model_validate(recipe | {"guide": guide}).resolve()
    assert config.total_steps == plain.steps
    dense_ffn = 6 * 23 * 2 * 2048 * 8192 * plain.tokens
    added = train_flops(config) - train_flops(plain)
    assert added == pytest.approx(dense_ffn / 4, rel=1e-4)
