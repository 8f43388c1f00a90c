"""Parameters and FLOPs: counts of a really built model, operations really executed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from kernels import switches
from workloads.config.model import FFNConfig, ModelConfig
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost.flops import (
    affordable_steps,
    count_params,
    layer_ffns,
    train_flops,
    train_flops_at,
    train_flops_per_token,
)
from workloads.data.config import DataConfig
from workloads.data.dataset import TokenDataset
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import add_guides, drop_guides, set_guides
from workloads.nn.transformer import Transformer
from workloads.optim.adamw import AdamWConfig, AdamWOptions
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Budget, Recipe
from workloads.training.trainer import train

STRUCTURES = [
    FFNConfig(),
    FFNConfig(kind="lowrank", rank=5),
    FFNConfig(kind="lowrank", rank=7, keep_first_dense=False),
    FFNConfig(kind="blockdense", rank=10, nblocks=5),
    FFNConfig(kind="blockdense", rank=9, nblocks=1, keep_first_dense=False),
    FFNConfig(kind="blockshuffle", nblocks=5),
    FFNConfig(kind="blockshuffle", nblocks=2, keep_first_dense=False),
]
# Every structure in an FFN that widens; in one that narrows, each kind once.
OVER_SHAPES = [(ffn, 30) for ffn in STRUCTURES] + [(STRUCTURES[i], 10) for i in (0, 2, 3, 6)]


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


def name(case: object) -> str:
    return f"{case.kind}-{case.rank}-{case.nblocks}" if isinstance(case, FFNConfig) else str(case)


@pytest.mark.parametrize(("ffn", "ffn_dim"), OVER_SHAPES, ids=name)
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


@pytest.mark.parametrize(("ffn", "ffn_dim"), OVER_SHAPES, ids=name)
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


# Options and guidance

GQA = {"attn_dim": 24, "num_heads": 6, "num_kv_heads": 2}
VARIANTS: dict[str, dict[str, Any]] = {
    "grouped queries": GQA,
    "swiglu": {"activation": "swiglu"},
    "untied": {"tie_embeddings": False},
    "absolute, rmsnorm, no bias": {"position": "absolute", "norm": "rmsnorm", "bias": False},
    "papers": {},
    "all": GQA | {"activation": "swiglu", "tie_embeddings": False, "norm": "rmsnorm"},
}


def guided(
    ffn: FFNConfig, reduce_flops: bool, mode: str = "fixed_flops", **model: Any
) -> RunConfig:
    """40 steps of 3 sequences, 20 of them guided."""
    shape = {
        "vocab_size": 257,
        "block_size": 11,
        "num_layers": 3,
        "hidden_dim": 20,
        "ffn_dim": 60,
        "num_heads": 5,
        "ffn": ffn,
        "guide": {"ratio": 0.5, "reduce_flops": reduce_flops, "mode": mode},
    }
    return RunConfig(
        model=ModelConfig.model_validate(shape | model),
        data=DataConfig(),
        optimizer=AdamWConfig(learning_rate=1e-3),
        batch_size=3,
        steps=40,
        seed=0,
        eval_tokens=3 * 64,
    )


def executed(model: Transformer, config: RunConfig) -> int:
    """FLOPs of the matrix products of one forward and backward pass."""
    tokens = torch.randint(config.model.vocab_size, (config.batch_size, config.model.block_size))
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), counter:
        model(tokens, tokens).backward()
    return counter.get_total_flops()


def planned(config: RunConfig, step: int) -> int:
    """FLOPs that the plan gives to the step after `step`."""
    return train_flops_at(config, step + 1) - train_flops_at(config, step)


# Every structure with all options, and every option with one structure.
OVER_OPTIONS = [(ffn, "all") for ffn in STRUCTURES]
OVER_OPTIONS += [(STRUCTURES[1], option) for option in VARIANTS if option != "all"]


@pytest.mark.parametrize(("ffn", "option"), OVER_OPTIONS, ids=name)
def test_a_step_executes_what_is_planned_with_every_option(ffn: FFNConfig, option: str) -> None:
    config = guided(ffn, reduce_flops=False, guide=None, **VARIANTS[option])
    assert executed(Transformer(config.model), config) == pytest.approx(
        planned(config, 7), rel=0.01
    )


@pytest.mark.parametrize(("ffn", "option"), OVER_OPTIONS[1:], ids=name)
def test_a_guided_step_executes_what_is_planned(ffn: FFNConfig, option: str) -> None:
    config = guided(ffn, reduce_flops=False, **VARIANTS[option])
    assert config.model.guide is not None
    model = Transformer(config.model)
    add_guides(model, config.model.guide)
    for step in (0, 10, 19):
        set_guides(model, step, config)
        with switches.reference("self_guided"):  # Merged guides are those of `hardware_flops`.
            assert executed(model, config) == pytest.approx(planned(config, step), rel=0.01)
    drop_guides(model)
    for step in (20, 45):  # The latter reads its text again.
        set_guides(model, step, config)
        assert executed(model, config) == pytest.approx(planned(config, step), rel=0.01)


@pytest.mark.parametrize("ffn", STRUCTURES[1:6:2], ids=name)
def test_reduced_flops_are_planned_as_the_draws_execute_on_average(ffn: FFNConfig) -> None:
    config = guided(ffn, reduce_flops=True).model_copy(update={"steps": 6000})
    assert config.model.guide is not None and config.phases[0].steps == 3000
    model = Transformer(config.model)
    add_guides(model, config.model.guide)
    projections = [m for m in model.modules() if isinstance(m, Projection) and m.guide is not None]
    # A drawn guide executes 6 FLOPs per weight and token, in addition to the unguided step's.
    weights = [m.guide.numel() for m in projections if m.guide is not None]
    unguided = planned(config, 3000)
    extra = []
    for step in range(3000):
        set_guides(model, step, config)
        drawn = sum(
            size for size, module in zip(weights, projections, strict=True) if module.guide_runs
        )
        extra.append(6 * 33 * drawn)
        if step % 500 == 499:
            with switches.reference("self_guided"):
                found = executed(model, config)
            assert found == pytest.approx(unguided + extra[-1], rel=0.01)
    assert len(set(extra)) > 3, "the draws were not tested"
    total = 3000 * unguided + sum(extra)
    assert total == pytest.approx(train_flops_at(config, 3000), rel=0.01)


@pytest.mark.parametrize("mode", ["fixed_steps", "fixed_flops"])
def test_a_real_run_executes_what_is_planned(
    stdlib: TokenDataset, tmp_path: Path, on_cpu: None, mode: str
) -> None:
    ffn = FFNConfig(kind="lowrank", rank=5)
    config = guided(ffn, reduce_flops=False, mode=mode, block_size=64)
    runtime = RuntimeConfig(micro_batch_size=3, eval_interval=1000)
    config = config.model_copy(update={"steps": 10, "runtime": runtime})
    counter = FlopCounterMode(display=False)
    with switches.reference("self_guided"), sdpa_kernel(SDPBackend.MATH), counter:
        result = train(config, stdlib, tmp_path)
    # One evaluation at the end: three sequences' forward pass, a third of a training step.
    evaluation = 3 * 64 * train_flops_per_token(config.phases[-1].model) / 3
    assert counter.get_total_flops() - evaluation == pytest.approx(train_flops(config), rel=0.01)
    assert result.train_flops == train_flops(config)


def test_a_guided_run_by_hand() -> None:
    """Two guides of 20 x 60 in two of three layers."""
    ffn = FFNConfig(kind="lowrank", rank=5)
    for reduce_flops, mode, total in (
        (False, "fixed_steps", 40),
        (True, "fixed_steps", 40),
        (False, "fixed_flops", 60),
        (True, "fixed_flops", 60),
    ):
        config = guided(ffn, reduce_flops, mode)
        unguided = config.model.model_copy(update={"guide": None})
        guide = 6 * 4 * 20 * 60 // (2 if reduce_flops else 1)
        for convention in ("paper", "causal", "6nd"):
            step = 33 * train_flops_per_token(unguided, convention)
            expected = total * step + 20 * 33 * guide
            assert train_flops(config, convention) == expected
            assert train_flops_at(config, 0, convention) == 0
            assert train_flops_at(config, 7, convention) == 7 * (step + 33 * guide)
            assert train_flops_at(config, 31, convention) == 31 * step + 20 * 33 * guide
        assert train_flops_per_token(unguided, "6nd") == 6 * count_params(unguided).total
        assert count_params(config.model) == count_params(unguided)


# What a budget pays for


@pytest.mark.parametrize(
    ("mode", "ratio", "kind"),
    [
        (None, 1.0, "ordinary"),
        *(("fixed_flops", ratio, "ordinary") for ratio in (0.02, 0.1, 0.39, 1.0)),
        *((mode, 0.39, "a guide far above the rest") for mode in ("fixed_steps", "fixed_flops")),
        ("fixed_steps", 1.0, "a guide far above the rest"),
    ],
)
def test_affordable_steps_are_the_most_that_fit(mode: str | None, ratio: float, kind: str) -> None:
    sizes = small(FFNConfig(kind="lowrank", rank=1, keep_first_dense=False)).model_dump()
    if kind != "ordinary":
        sizes |= {"hidden_dim": 40, "ffn_dim": 1000, "attn_dim": 2, "num_heads": 1}
        sizes |= {"num_kv_heads": 1, "vocab_size": 3, "block_size": 2}
    guide = {"ratio": ratio, "mode": mode, "reduce_flops": False} if mode else None
    model = ModelConfig.model_validate(sizes | {"guide": guide})
    per_token = train_flops_per_token(ModelConfig.model_validate(sizes | {"guide": None}))

    def cost(steps: int) -> int:
        if guide is None:
            return steps * 3 * model.block_size * per_token
        guided = int(ratio * steps)
        total = steps + (guided if mode == "fixed_flops" else 0)
        extra = 6 * model.num_layers * 2 * model.hidden_dim * model.ffn_dim
        return 3 * model.block_size * (total * per_token + guided * extra)

    for steps in (1, 2, 9, 10, 49, 50, 51, 99, 333):
        assert affordable_steps(model, AdamWOptions(), 3, cost(steps)) == steps
        assert affordable_steps(model, AdamWOptions(), 3, cost(steps) - 1) == steps - 1
        assert affordable_steps(model, AdamWOptions(), 3, cost(steps + 1) - 1) == steps
    assert affordable_steps(model, AdamWOptions(), 3, 0.0) == 0
