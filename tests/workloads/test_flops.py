"""Parameters and FLOPs: the paper's published numbers, a really built model, a real count."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from workloads.config import FFNConfig, ModelConfig
from workloads.flops import (
    count_params,
    ffn_fraction,
    layer_ffns,
    train_flops,
    train_flops_per_token,
)
from workloads.model import Transformer
from workloads.presets import PRESETS, Budget, FFNChoice, Recipe

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

STRUCTURES = [
    FFNConfig(),
    FFNConfig(kind="lowrank", rank=5),
    FFNConfig(kind="lowrank", rank=7, keep_first_dense=False),
    FFNConfig(kind="blockdense", rank=10, nblocks=5),
    FFNConfig(kind="blockdense", rank=9, nblocks=1, keep_first_dense=False),
    FFNConfig(kind="blockshuffle", nblocks=5),
    FFNConfig(kind="blockshuffle", nblocks=2, keep_first_dense=False),
]


def recipe(preset: str, kind: str, rank: int | None, nblocks: int | None) -> Recipe:
    return Recipe(preset=preset, ffn=FFNChoice(kind=kind, rank=rank, nblocks=nblocks))


def small(ffn: FFNConfig, ffn_dim: int = 30) -> ModelConfig:
    return ModelConfig(
        vocab_size=37,
        block_size=11,
        num_layers=3,
        hidden_dim=20,
        ffn_dim=ffn_dim,
        num_heads=5,
        ffn=ffn,
    )


def name(ffn: FFNConfig) -> str:
    return f"{ffn.kind}-{ffn.rank}-{ffn.nblocks}"


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


@pytest.mark.parametrize("ffn_dim", [30, 10])
@pytest.mark.parametrize("ffn", STRUCTURES, ids=name)
def test_counts_are_those_of_the_built_model(ffn: FFNConfig, ffn_dim: int) -> None:
    config = small(ffn, ffn_dim)
    model = Transformer(config)
    count = count_params(config)
    assert count.total == sum(parameter.numel() for parameter in model.parameters())
    weights = {
        name: parameter.numel()
        for name, parameter in model.named_parameters()
        if ".mlp." in name and not name.endswith("bias")
    }
    assert count.ffn == sum(weights.values())
    assert count.embedding == model.wte.weight.numel()


def test_only_the_first_layer_is_kept_dense() -> None:
    ffn = FFNConfig(kind="lowrank", rank=5)
    assert [layer.kind for layer in layer_ffns(small(ffn))] == ["dense", "lowrank", "lowrank"]
    everywhere = ffn.model_copy(update={"keep_first_dense": False})
    assert layer_ffns(small(everywhere)) == [everywhere] * 3


@pytest.mark.parametrize("ffn_dim", [30, 10])
@pytest.mark.parametrize("ffn", STRUCTURES, ids=name)
def test_paper_flops_are_those_a_training_step_executes(ffn: FFNConfig, ffn_dim: int) -> None:
    config = small(ffn, ffn_dim)
    model = Transformer(config)
    tokens = torch.randint(config.vocab_size, (3, config.block_size))
    counter = FlopCounterMode(display=False)
    # The mathematical attention executes the whole T x T square, and the counter sees it.
    with sdpa_kernel(SDPBackend.MATH), counter:
        model(tokens).sum().backward()
    expected = counter.get_total_flops() / tokens.numel()
    assert train_flops_per_token(config) == pytest.approx(expected, rel=0.01)


def test_conventions_by_hand() -> None:
    model = PRESETS["transformer-s"].model
    layer = 4 * 768 * 768 + 2 * 768 * 3072
    logits = 768 * 32_000
    # Per token: scores and mixture are 1,024 x 768 multiply-adds each, or half of both.
    assert train_flops_per_token(model) == 6 * (12 * (layer + 2 * 1024 * 768) + logits)
    assert train_flops_per_token(model, "causal") == 6 * (12 * (layer + 1024 * 768) + logits)
    assert train_flops_per_token(model, "6nd") == 6 * 109_632_000


def test_a_run_costs_its_whole_steps() -> None:
    config = Recipe(preset="pico", budget=Budget(tokens=10_000)).resolve()
    assert config.steps == 4  # of 16 x 128 tokens
    assert config.tokens == 8192
    for convention in ("paper", "causal", "6nd"):
        per_token = train_flops_per_token(config.model, convention)
        assert train_flops(config, convention) == 8192 * per_token
