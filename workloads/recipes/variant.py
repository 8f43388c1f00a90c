"""What tells the runs of a study apart: a preset, and what differs from it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    field_serializer,
    model_validator,
)

from workloads.config.ffn_kinds import SizedFFN
from workloads.config.model import (
    ArchitectureOptions,
    FFNConfig,
    GuideConfig,
    GuideOptions,
    ModelConfig,
)
from workloads.cost import flops
from workloads.data.config import Weights, mixture_label
from workloads.errors import Misfit
from workloads.optim.config import OptimizerOptions
from workloads.optim.kinds import AnyOptimizerOptions
from workloads.recipes.budget import Budget
from workloads.recipes.grow_choice import Growths
from workloads.recipes.presets import PRESETS, PresetName
from workloads.recipes.rule_choice import AnyRule, RuleChoice
from workloads.schema.base import BatchSize, Config, Depth, Seed, Size, Width


def _one_line(name: str) -> str:
    """Return the name. Raises ValueError where it is empty or has more than printable text."""
    if not name.strip() or not name.isprintable():
        raise ValueError("this should be one line of printable text; change it")
    return name


class FFNChoice(SizedFFN):
    """An FFN kind with its sizes, one of which may follow from a `fraction` of dense weights."""

    fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """Chooses the rank whose weights are this fraction of the dense FFN's: the nearest multiple of
    32 from hidden width 512 up, of 4 below, and always of `nblocks`."""
    keep_first_dense: bool = True
    """The first layer's FFN is dense."""
    arm: Annotated[str, Field(max_length=200), AfterValidator(_one_line)] | None = None
    """The curve that the run belongs to; by default the kind and its size."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        self.check_size()
        return self

    def check_size(self) -> None:
        """Raise ValueError unless the kind's sizes are given, each in one way."""
        if self.fraction is None:
            self.check_sizes()
            return
        chosen = self.row.fraction_size
        if chosen is None:
            raise Misfit(
                f"fraction chooses a size, and kind {self.kind} has none to choose; remove it",
                "fraction",
            )
        if chosen in self.sizes:
            raise ValueError(f"{chosen} and fraction both give the size; remove one")
        FFNConfig.model_validate({"kind": self.kind} | self.sizes | {chosen: 1})

    def in_words(self, size: str) -> str:
        """Return the keys that give a size."""
        return f"{size} or fraction" if size == self.row.fraction_size else size

    def resolve(self, model: ModelConfig) -> FFNConfig:
        """Return the FFN in a model of this shape, with the size that `fraction` chooses."""
        given = {"kind": self.kind, "keep_first_dense": self.keep_first_dense} | self.sizes
        chosen = self.row.fraction_size
        if self.fraction is None or chosen is None:
            self.check_sizes()
            return FFNConfig.model_validate(given)
        # The least value that the given sizes allow: they may have to divide the chosen one.
        rules = self.row.sizes
        least = math.lcm(
            *(self.sizes[name] for name in self.sizes if chosen in rules[name].divides)
        )
        weights = flops.ffn_weights(model, FFNConfig.model_validate(given | {chosen: least}))
        dense = flops.ffn_weights(model, FFNConfig())
        multiple = math.lcm(32 if model.hidden_dim >= 512 else 4, least)
        count = round(self.fraction * dense / (weights / least) / multiple)
        return FFNConfig.model_validate(given | {chosen: max(1, count) * multiple})

    def arm_name(self) -> str:
        """Return `dense`, `lowrank 62.5%`, `lowrank r256`, `blockshuffle b4`, or the `arm`."""
        if self.arm is not None:
            return self.arm
        fraction = [] if self.fraction is None else [f"{100 * self.fraction:g}%"]
        return " ".join([self.kind, *fraction, *self.size_labels])


class ModelChanges(ArchitectureOptions):
    """Changes of a preset's model; only what is written counts.

    The FFN's kind and size and the guide are given beside it.
    """

    vocab_size: Size | None = None
    """Token ids."""
    block_size: Size | None = None
    """Tokens of a sequence."""
    num_layers: Depth | None = None
    """Layers, each of attention and an FFN."""
    hidden_dim: Size | None = None
    """Width of the residual stream."""
    ffn_dim: Size | None = None
    """Width inside the FFN."""
    attn_dim: Size | None = None
    """Width of all query heads together."""
    num_heads: Depth | None = None
    """Query heads."""
    num_kv_heads: Depth | None = None
    """Key and value heads, each shared by as many query heads."""

    def written(self) -> dict[str, Any]:
        """Return the changes, by field. A size that is null is the preset's."""
        changes = self.model_dump(exclude_unset=True)
        return {
            name: changes.get(name)  # A dump leaves out what is null.
            for name in type(self).model_fields
            if name in self.model_fields_set
            and (getattr(self, name) is not None or name in ArchitectureOptions.model_fields)
        }

    def apply(self, model: ModelConfig) -> ModelConfig:
        """Return the dense model with the changes. Raises ValueError where they do not fit."""
        # Fields that the preset leaves out follow from other fields, here from the changed ones.
        return ModelConfig.model_validate(model.model_dump(exclude_unset=True) | self.written())


class GuideChoice(GuideOptions):
    """A guide whose ratio is given, or chosen by the FLOPs that it spends."""

    ratio: Annotated[float, Field(gt=0, le=1)] | None = None
    """Fraction of the steps that are guided, from the first."""
    match_flops_of: Literal["dense"] | None = None
    """In place of `ratio`: the run reads the fresh tokens of its dense twin, whose budget the
    run's is, and is guided for the fraction of its steps that spends the twin's FLOPs to within
    1%."""

    @model_validator(mode="after")
    def _one_ratio(self) -> Self:
        if (self.ratio is None) == (self.match_flops_of is None):
            raise ValueError("a guide has exactly one of ratio and match_flops_of; change it")
        return self

    def resolve(self, ratio: float) -> GuideConfig:
        """Return the guide with the ratio that was given or chosen."""
        options = self.model_dump(include=set(GuideOptions.model_fields))
        return GuideConfig(ratio=ratio, **options)


class Variant(Config):
    """What tells the runs of a study apart: a preset, and what differs from it."""

    preset: PresetName
    """Shape, tokens, batch and learning rate, unless given otherwise."""
    model: ModelChanges = ModelChanges()
    """What differs from the preset's model."""
    width: Width = 1.0
    """Multiplies the model's `hidden_dim`, `ffn_dim` and `attn_dim`; heads keep their size where
    that divides. Tokens and learning rate stay the preset's."""
    ffn: FFNChoice = FFNChoice()
    """The feedforward layers."""
    guide: GuideChoice | None = None
    """Self-guided training; left out or null, there is none."""
    grow: Growths = ()
    """The model grows in the course of the run: the shape above is that of the base, which trains
    first, or that of the grown model where the growth gives the size of its base. One growth, or a
    list of several in a row."""
    budget: Budget | None = None
    """How long to train; left out, the preset's tokens."""
    learning_rate: PositiveFloat | None = None
    """The peak; left out, the preset's."""
    batch_size: BatchSize | None = None
    """Sequences of one optimizer step, over all workers; left out, the preset's."""
    mixture: Weights | None = None
    """The share of the samples that comes from each source of `data`; left out, that of `data`."""
    optimizer: Annotated[
        AnyOptimizerOptions | None, Field(exclude_if=lambda value: value is None)
    ] = None
    """The optimizer and its schedule; what is left out is the preset's."""
    recipe: AnyRule = RuleChoice()
    """The transfer rule that sets scales, learning rates, batch and weight decay for the size of
    the model; `fixed` leaves them to the preset and the file."""
    seed: Seed = 0
    """Seed of initialization, data order and dropout."""

    def tree(self) -> dict[str, Any]:
        """Return what differs from the defaults or, of the model, from the preset's, JSON-ready."""
        tree = self.model_dump(mode="json", exclude_defaults=True)
        preset = PRESETS[self.preset].model.model_dump()
        changes = {
            name: value
            for name, value in self.model.written().items()
            if name in ArchitectureOptions.model_fields and value != preset.get(name)
        }
        if changes:
            tree["model"] = tree.get("model", {}) | changes
        return tree

    @field_serializer("optimizer")
    def _as_written(self, optimizer: OptimizerOptions | None) -> dict[str, Any] | None:
        # What is left out is others', and so has to be left out again.
        return None if optimizer is None else optimizer.model_dump(mode="json", exclude_unset=True)

    def arm_name(self) -> str:
        """Return the name of the run's curve: the FFN's, how the run is guided or grows, and the
        optimizer, the mixture and the transfer rule of the run if it has some of its own."""
        rule = [] if self.recipe.is_fixed else [self.recipe.label()]
        return " ".join([self.unruled_arm(), *rule])

    def unruled_arm(self) -> str:
        """Return the name of the curve that the run would belong to under `recipe: fixed`."""
        optimizer = self.optimizer.written_words() if self.optimizer else []
        mixture = [mixture_label(self.mixture)] if self.mixture else []
        return " ".join([self._model_arm(), *optimizer, *mixture])

    def _model_arm(self) -> str:
        return ", ".join([self._guided_arm(), *(growth.label() for growth in self.grow)])

    def _guided_arm(self) -> str:
        if self.ffn.arm is not None or self.guide is None:
            return self.ffn.arm_name()
        until = f"{self.guide.ratio:g}" if self.guide.ratio else "to dense FLOPs"
        mode = " fixed steps" if self.guide.mode == "fixed_steps" else ""
        return f"{self.ffn.arm_name()} guided {until}{mode}"

    def growth_label(self) -> str:
        """Return operator, size and time of each growth, such as `stack x4 at 0.3`; nothing where
        the model does not grow."""
        return ", ".join(growth.label() for growth in self.grow)

    @property
    def matches_dense(self) -> bool:
        """True where a structured run is to spend the FLOPs of its dense twin."""
        matching = [part.match_flops_of for part in (self.budget, self.guide) if part]
        return not self.ffn.is_dense and "dense" in matching

    @property
    def matches_scratch(self) -> bool:
        """True where a run that grows is to spend the FLOPs of its scratch twin."""
        scratch = self.budget is not None and self.budget.match_flops_of == "scratch"
        return bool(self.grow) and scratch
