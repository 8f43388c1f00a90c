"""Model sizes with their training recipes, and `Recipe`: one run as a person writes it.

A preset fixes the shape, tokens, learning rate and batch. The transformer-* rows are the paper's
(arXiv 2406.16450, table of models; 20 tokens a parameter). pico to mini are ours, for CPUs: byte
vocabulary, short blocks; their tokens are chosen for minutes, not for compute-optimality.
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from workloads import flops, strict_yaml
from workloads.config import (
    AdamWConfig,
    ArchitectureOptions,
    Config,
    DataConfig,
    FFNConfig,
    GuideConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
)
from workloads.parametrizations import PARAMETRIZATIONS, FFNKind


class Preset(Config):
    """A dense model's shape and recipe; `batch_size` is in sequences, `tokens` in tokens."""

    model: ModelConfig
    tokens: PositiveInt
    learning_rate: PositiveFloat
    batch_size: PositiveInt
    micro_batch_size: PositiveInt
    eval_tokens: PositiveInt


def _cpu(layers: int, hidden: int, heads: int, tokens: float, lr: float) -> Preset:
    model = ModelConfig(
        vocab_size=257,
        block_size=128,
        num_layers=layers,
        hidden_dim=hidden,
        ffn_dim=4 * hidden,
        num_heads=heads,
    )
    return Preset(
        model=model,
        tokens=int(tokens),
        learning_rate=lr,
        batch_size=16,
        micro_batch_size=16,
        eval_tokens=65_536,
    )


def _paper(layers: int, hidden: int, heads: int, tokens: float, lr: float) -> Preset:
    model = ModelConfig(
        vocab_size=32_000,
        block_size=1024,
        num_layers=layers,
        hidden_dim=hidden,
        ffn_dim=4 * hidden,
        num_heads=heads,
    )
    return Preset(
        model=model,
        tokens=int(tokens),
        learning_rate=lr,
        batch_size=512,
        micro_batch_size=16,
        eval_tokens=512_000 * 1024,
    )


PRESETS: dict[str, Preset] = {
    "pico": _cpu(layers=2, hidden=32, heads=2, tokens=409_600, lr=6.0e-3),
    "nano": _cpu(layers=3, hidden=64, heads=4, tokens=614_400, lr=4.0e-3),
    "micro": _cpu(layers=4, hidden=96, heads=4, tokens=819_200, lr=3.0e-3),
    "mini": _cpu(layers=4, hidden=160, heads=5, tokens=1_024_000, lr=2.0e-3),
    "transformer-s": _paper(layers=12, hidden=768, heads=12, tokens=2.2e9, lr=6.0e-4),
    "transformer-m": _paper(layers=24, hidden=1024, heads=16, tokens=6.7e9, lr=3.0e-4),
    "transformer-l": _paper(layers=24, hidden=1536, heads=12, tokens=14.58e9, lr=2.5e-4),
    "transformer-xl": _paper(layers=24, hidden=2048, heads=16, tokens=25.5e9, lr=2.0e-4),
}


def _known_preset(name: str) -> str:
    if name not in PRESETS:
        nearest = difflib.get_close_matches(name.lower(), PRESETS, n=1, cutoff=0.0)[0]
        raise ValueError(f"no such preset; the nearest is {nearest} (of {', '.join(PRESETS)})")
    return name


PresetName = Annotated[str, AfterValidator(_known_preset)]


class FFNChoice(Config):
    """An FFN kind with its size given as `rank`, `nblocks`, or the `fraction` of dense weights.

    `fraction` chooses the rank nearest to it: a multiple of 32 from hidden width 512 up, of 4
    below, and always of `nblocks`. `arm` names the curve the run belongs to; by default it is
    the kind and its size.
    """

    kind: FFNKind = "dense"
    rank: PositiveInt | None = None
    nblocks: PositiveInt | None = None
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    keep_first_dense: bool = True
    arm: str | None = None

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        rank = self.rank
        if self.fraction is not None:
            if self.rank is not None:
                raise ValueError("rank and fraction both give the size; remove one")
            if "rank" not in PARAMETRIZATIONS[self.kind].sizes:
                raise ValueError(
                    f"fraction chooses a rank, and kind {self.kind} has none; remove it"
                )
            rank = 1
        FFNConfig(kind=self.kind, rank=rank, nblocks=self.nblocks)
        return self

    def resolve(self, model: ModelConfig) -> FFNConfig:
        """The parametrization in a model of this shape, with the rank chosen."""
        rank = self.rank
        if self.fraction is not None:
            rank = self._rank_for(model, self.fraction)
        return FFNConfig(
            kind=self.kind, rank=rank, nblocks=self.nblocks, keep_first_dense=self.keep_first_dense
        )

    def _rank_for(self, model: ModelConfig, fraction: float) -> int:
        dense = flops.ffn_weights(model, FFNConfig())
        per_rank = flops.ffn_weights(
            model, FFNConfig(kind=self.kind, rank=self.nblocks or 1, nblocks=self.nblocks)
        ) / (self.nblocks or 1)
        multiple = math.lcm(32 if model.hidden_dim >= 512 else 4, self.nblocks or 1)
        return max(1, round(fraction * dense / per_rank / multiple)) * multiple

    def arm_name(self) -> str:
        """`dense`, `lowrank 62.5%`, `lowrank r256`, `blockshuffle b4`, or the given `arm`."""
        if self.arm is not None:
            return self.arm
        sizes = [
            f"{100 * self.fraction:g}%" if self.fraction is not None else None,
            f"r{self.rank}" if self.rank is not None else None,
            f"b{self.nblocks}" if self.nblocks is not None else None,
        ]
        return " ".join([self.kind, *(size for size in sizes if size)])


class ModelChanges(ArchitectureOptions):
    """What differs from a preset's model; only what is written counts.

    The FFN's kind and size and the guide are given beside it.
    """

    vocab_size: PositiveInt | None = None
    block_size: PositiveInt | None = None
    num_layers: PositiveInt | None = None
    hidden_dim: PositiveInt | None = None
    ffn_dim: PositiveInt | None = None
    attn_dim: PositiveInt | None = None
    num_heads: PositiveInt | None = None
    num_kv_heads: PositiveInt | None = None

    def written(self) -> dict[str, Any]:
        """The changes, by field."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    def apply(self, model: ModelConfig) -> ModelConfig:
        """The dense model with the changes. Raises ValueError where they do not fit together."""
        # What the preset leaves to follow from other fields follows from the changed ones.
        return ModelConfig.model_validate(model.model_dump(exclude_unset=True) | self.written())


class Budget(Config):
    """How long to train, in exactly one unit. `tokens_per_param` counts the run's own parameters.

    Tokens are fresh ones: a guide in mode `fixed_flops` reads some again on top, and its FLOPs
    count into `train_flops`. Steps are whole and never exceed the budget.
    """

    tokens: PositiveInt | None = None
    tokens_per_param: PositiveFloat | None = None
    train_flops: PositiveFloat | None = None
    steps: PositiveInt | None = None

    @model_validator(mode="after")
    def _one_unit(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            units = ", ".join(type(self).model_fields)
            raise ValueError(f"a budget has exactly one of {units}; found {given or 'none'}")
        return self

    def resolve(self, model: ModelConfig, batch_size: int) -> int:
        """The number of steps on fresh tokens the budget pays for (0 when it pays for none)."""
        if self.steps is not None:
            return self.steps
        if self.train_flops is not None:
            return flops.affordable_steps(model, batch_size, self.train_flops)
        if self.tokens_per_param is not None:
            tokens = self.tokens_per_param * flops.count_params(model).total
        else:
            tokens = self.tokens or 0
        return int(tokens // (batch_size * model.block_size))


class Variant(Config):
    """What tells the runs of a study apart: a preset, and what differs from it."""

    preset: PresetName
    model: ModelChanges = ModelChanges()
    ffn: FFNChoice = FFNChoice()
    guide: GuideConfig | None = None
    budget: Budget | None = None
    learning_rate: PositiveFloat | None = None
    seed: NonNegativeInt = 0

    def arm_name(self) -> str:
        """The curve that the run belongs to: the FFN's, and how it is guided if it is."""
        if self.guide is None or self.ffn.arm is not None:
            return self.ffn.arm_name()
        mode = " fixed steps" if self.guide.mode == "fixed_steps" else ""
        return f"{self.ffn.arm_name()} guided {self.guide.ratio:g}{mode}"


class Recipe(Variant):
    """One run as a person writes it; what is left out is the preset's."""

    data: DataConfig = DataConfig()
    optimizer: AdamWConfig = AdamWConfig()
    eval_tokens: PositiveInt | None = None
    runtime: RuntimeConfig | None = None

    def resolve(self) -> RunConfig:
        """The run in full. Raises ValueError where the parts do not fit together."""
        preset = PRESETS[self.preset]
        dense = self.model.apply(preset.model)
        parts = {"ffn": self.ffn.resolve(dense).model_dump(), "guide": self.guide}
        model = ModelConfig.model_validate(dense.model_dump() | parts)
        budget = self.budget or Budget(tokens=preset.tokens)
        steps = budget.resolve(model, preset.batch_size)
        if steps == 0:
            raise ValueError(
                f"the budget pays for less than one step of {preset.batch_size} x "
                f"{model.block_size} tokens; raise it"
            )
        rate = self.learning_rate or preset.learning_rate
        return RunConfig(
            model=model,
            data=self.data,
            optimizer=OptimizerConfig(**self.optimizer.model_dump(), learning_rate=rate),
            batch_size=preset.batch_size,
            steps=steps,
            seed=self.seed,
            eval_tokens=self.eval_tokens or preset.eval_tokens,
            runtime=self.runtime or RuntimeConfig(micro_batch_size=preset.micro_batch_size),
        )


def load_run(path: Path) -> RunConfig:
    """The run that a recipe file describes. Raises InputError for a mistake in it."""
    recipe = strict_yaml.load(path, Recipe)
    try:
        return recipe.value.resolve()
    except ValueError as error:
        raise recipe.error((), strict_yaml.reason(error)) from error
