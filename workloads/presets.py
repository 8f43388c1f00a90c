"""Model sizes with their training recipes, and `Recipe`: one run as a person writes it.

A preset fixes the shape, tokens, learning rate and batch. The transformer-* rows are the paper's
(arXiv 2406.16450, table of models; 20 tokens a parameter). pico to mini are ours, for CPUs: byte
vocabulary, short blocks; their tokens are chosen for minutes, not for compute-optimality.
"""

from __future__ import annotations

import difflib
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    WithJsonSchema,
    model_validator,
)

from workloads import flops, strict_yaml
from workloads.budget import Budget, Unreachable, check_spends, matching_ratios
from workloads.config import (
    AdamWConfig,
    ArchitectureOptions,
    Config,
    DataConfig,
    FFNConfig,
    GuideConfig,
    GuideOptions,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    RuntimeConfig,
)
from workloads.parametrizations import PARAMETRIZATIONS, FFNKind
from workloads.width import scale


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


PresetName = Annotated[
    str, AfterValidator(_known_preset), WithJsonSchema({"type": "string", "enum": list(PRESETS)})
]
KindName = Annotated[FFNKind, WithJsonSchema({"type": "string", "enum": list(PARAMETRIZATIONS)})]


class FFNChoice(Config):
    """An FFN kind with its size given as `rank`, `nblocks`, or the `fraction` of dense weights."""

    kind: KindName = "dense"
    """The parametrization of the two projections (arXiv 2406.16450, section 3)."""
    rank: PositiveInt | None = None
    """Features between the two factors of lowrank and blockdense."""
    nblocks: PositiveInt | None = None
    """Blocks of blockdense and blockshuffle."""
    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Chooses the rank by its share of the dense FFN's weights: the nearest multiple of 32 from
    hidden width 512 up, of 4 below, and always of `nblocks`."""
    keep_first_dense: bool = True
    """The first layer's FFN is dense."""
    arm: str | None = None
    """The curve that the run belongs to; by default the kind and its size."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        self.check_size()
        return self

    def check_size(self) -> None:
        """Raises ValueError when the size is not given, or not in one way."""
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
    """Token ids."""
    block_size: PositiveInt | None = None
    """Tokens of a sequence."""
    num_layers: PositiveInt | None = None
    """Layers, each of attention and an FFN."""
    hidden_dim: PositiveInt | None = None
    """Width of the residual stream."""
    ffn_dim: PositiveInt | None = None
    """Width inside the FFN."""
    attn_dim: PositiveInt | None = None
    """Width of all query heads together."""
    num_heads: PositiveInt | None = None
    """Query heads."""
    num_kv_heads: PositiveInt | None = None
    """Key and value heads, each shared by as many query heads."""

    def written(self) -> dict[str, Any]:
        """The changes, by field."""
        return self.model_dump(exclude_unset=True, exclude_none=True)

    def apply(self, model: ModelConfig) -> ModelConfig:
        """The dense model with the changes. Raises ValueError where they do not fit together."""
        # What the preset leaves to follow from other fields follows from the changed ones.
        return ModelConfig.model_validate(model.model_dump(exclude_unset=True) | self.written())


class GuideChoice(GuideOptions):
    """A guide with its share of the steps given, or chosen by the FLOPs that it spends."""

    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Share of the steps that are guided, from the first."""
    match_flops_of: Literal["dense"] | None = None
    """In place of `ratio`: the run reads the fresh tokens of its dense twin, whose budget the
    run's is, and is guided for the share that spends the twin's FLOPs to within 1%."""

    @model_validator(mode="after")
    def _one_share(self) -> Self:
        if (self.ratio is None) == (self.match_flops_of is None):
            raise ValueError("a guide has exactly one of ratio and match_flops_of; change it")
        return self

    def resolve(self, ratio: float) -> GuideConfig:
        """The guide with the share that was given or chosen."""
        options = self.model_dump(include=set(GuideOptions.model_fields))
        return GuideConfig(ratio=ratio, **options)


class Variant(Config):
    """What tells the runs of a study apart: a preset, and what differs from it."""

    preset: PresetName
    """Shape, tokens, batch and learning rate, unless given otherwise."""
    model: ModelChanges = ModelChanges()
    """What differs from the preset's model."""
    width: PositiveFloat = 1.0
    """Multiplies the model's `hidden_dim`, `ffn_dim` and `attn_dim`; heads keep their size where
    that divides. Tokens and learning rate stay the preset's."""
    ffn: FFNChoice = FFNChoice()
    """The feedforward layers."""
    guide: GuideChoice | None = None
    """Self-guided training; left out or null, there is none."""
    budget: Budget | None = None
    """How long to train; left out, the preset's tokens."""
    learning_rate: PositiveFloat | None = None
    """The peak; left out, the preset's."""
    seed: NonNegativeInt = 0
    """Of initialization, data order and dropout."""

    def arm_name(self) -> str:
        """The curve that the run belongs to: the FFN's, and how it is guided if it is."""
        if self.guide is None or self.ffn.arm is not None:
            return self.ffn.arm_name()
        share = f"{self.guide.ratio:g}" if self.guide.ratio else "to dense FLOPs"
        mode = " fixed steps" if self.guide.mode == "fixed_steps" else ""
        return f"{self.ffn.arm_name()} guided {share}{mode}"

    @property
    def matches_dense(self) -> bool:
        """True when the budget is the dense twin's, whose FLOPs the run spends."""
        matching = (part and part.match_flops_of for part in (self.budget, self.guide))
        return self.ffn.kind != "dense" and any(matching)


class Recipe(Variant):
    """One run as a person writes it; what is left out is the preset's."""

    data: DataConfig = DataConfig()
    """The text that is trained on."""
    optimizer: AdamWConfig = AdamWConfig()
    """AdamW and its schedule."""
    eval_tokens: PositiveInt | None = None
    """Validation tokens of an evaluation; left out, the preset's."""
    runtime: RuntimeConfig | None = None
    """How the run executes."""

    def resolve(self) -> RunConfig:
        """The run in full. Raises ValueError where the parts do not fit together, and Unreachable
        where no run of whole steps spends the FLOPs that are asked for."""
        if self.matches_dense:
            return self._matched(self.dense_twin().resolve())
        budget = self.budget or Budget(tokens=PRESETS[self.preset].tokens)
        if budget.match_flops_of:  # of a dense run itself
            return self.dense_twin().resolve()
        model = self._model(self.guide and self.guide.ratio)
        if budget.exact_flops:
            return self._spending(model, budget.exact_flops)
        return self._run(model, budget.resolve(model, PRESETS[self.preset].batch_size))

    @property
    def asked_flops(self) -> float | None:
        """The training FLOPs that the run is to spend, to within 1%; None where none are named."""
        exact = self.budget and self.budget.exact_flops
        if exact is None and self.matches_dense:
            return flops.train_flops(self.dense_twin().resolve())
        return exact

    def dense_twin(self) -> Recipe:
        """The same run with a dense FFN and no guide, under the same budget."""
        budget = self.budget and self.budget.of_twin()
        return self.model_copy(update={"ffn": FFNChoice(), "guide": None, "budget": budget})

    def _matched(self, twin: RunConfig) -> RunConfig:
        """This run at its twin's FLOPs: by the guide's share if it may be chosen, or by tokens."""
        asked = self.budget and self.budget.exact_flops
        spent = asked or flops.train_flops(twin)
        if self.guide is None or self.guide.ratio is not None:
            return self._spending(self._model(self.guide and self.guide.ratio), spent)
        ratios = matching_ratios(self._model(1.0), twin.tokens_per_step, twin.steps, spent)
        return _nearest([self._run(self._model(ratio), twin.steps) for ratio in ratios], spent)

    def _spending(self, model: ModelConfig, train_flops: float) -> RunConfig:
        """The run whose whole steps come nearest to `train_flops`."""
        below = flops.affordable_steps(model, PRESETS[self.preset].batch_size, train_flops)
        if below * (model.guide.ratio if model.guide else 1) < 1:
            step = "one guided step" if model.guide else "one step"
            raise Unreachable(f"{train_flops:.4g} FLOPs pay for less than {step}; raise them")
        return _nearest([self._run(model, steps) for steps in (below, below + 1)], train_flops)

    def _model(self, guide_ratio: float | None) -> ModelConfig:
        dense = scale(self.model.apply(PRESETS[self.preset].model), self.width)
        guide = self.guide.resolve(guide_ratio) if self.guide and guide_ratio else None
        parts = {"ffn": self.ffn.resolve(dense).model_dump(), "guide": guide}
        return ModelConfig.model_validate(dense.model_dump() | parts)

    def _run(self, model: ModelConfig, steps: int) -> RunConfig:
        preset = PRESETS[self.preset]
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


def _nearest(runs: list[RunConfig], train_flops: float) -> RunConfig:
    """The run that spends nearest to `train_flops`, to within 1%. Raises Unreachable."""
    nearest = min(runs, key=lambda run: abs(flops.train_flops(run) - train_flops))
    return check_spends(nearest, train_flops)


def load_run(path: Path) -> RunConfig:
    """The run that a recipe file describes. Raises InputError for a mistake in it."""
    recipe = strict_yaml.load(path, Recipe)
    try:
        return recipe.value.resolve()
    except ValueError as error:
        raise recipe.error((), strict_yaml.reason(error)) from error
