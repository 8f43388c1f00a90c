"""A study file: which runs, under which budget, on which resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
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

from study.spec.exclude import Exclude
from study.spec.hardware import HardwareSpec
from study.spec.search import GridFFN, SchedulerChoice, Search
from workloads.config.runtime import RuntimeConfig
from workloads.data.config import AnyTextField, DataConfig, EvalSets, Weights
from workloads.errors import Misfit
from workloads.optim.adamw import AdamWOptions
from workloads.optim.kinds import AnyOptimizerOptions
from workloads.recipes.budget import Budget
from workloads.recipes.grow_choice import Growths
from workloads.recipes.presets import PresetName
from workloads.recipes.rule_choice import AnyRule, RuleChoice
from workloads.recipes.variant import GuideChoice, ModelChanges, Variant
from workloads.schema import strict_yaml
from workloads.schema.base import BatchSize, Config, Seed, Width
from workloads.schema.strict_yaml import Loaded


class Grid(Config):
    """The product of its lists.

    A dense FFN has nothing to guide: it is planned once without a guide, whatever `guide` lists. A
    run is guided or grows: combinations of both are dropped.
    """

    preset: Annotated[tuple[PresetName, ...], Field(min_length=1)]
    """Presets: shape, tokens, batch and learning rate."""
    model: ModelChanges = ModelChanges()
    """What differs from every preset's model."""
    width: Annotated[tuple[Width, ...], Field(min_length=1)] = (1.0,)
    """Multipliers of `hidden_dim`, `ffn_dim` and `attn_dim`: sizes between the presets."""
    ffn: Annotated[tuple[GridFFN, ...], Field(min_length=1)]
    """FFN kinds with their sizes; sizes that a search samples are left out."""
    guide: Annotated[tuple[GuideChoice | None, ...], Field(min_length=1)] = (None,)
    """Self-guided training; `null` is training without a guide."""
    grow: Annotated[tuple[Growths, ...], Field(min_length=1)] = ((),)
    """Growth of the model in the course of its run: one growth, or a list of several in a row;
    `null` is training from scratch."""
    learning_rate: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    """Peak learning rates; left out, the search's, or the preset's."""
    batch_size: Annotated[tuple[BatchSize, ...], Field(min_length=1)] | None = None
    """Sequences of one optimizer step, over all workers; left out, the preset's."""
    mixture: Annotated[tuple[Weights, ...], Field(min_length=1)] | None = None
    """Weights of the sources of `data`; left out, those that `data` gives."""
    optimizer: Annotated[tuple[AnyOptimizerOptions, ...], Field(min_length=1)] | None = None
    """Optimizers, each an arm; what one leaves out is as in the study's `optimizer`."""
    recipe: Annotated[tuple[AnyRule, ...], Field(min_length=1)] = (RuleChoice(),)
    """Transfer rules, each an arm: they set scales, learning rates, batch and weight decay for the
    size of the model; `fixed` leaves them to the preset and the file."""
    seed: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """Seeds of initialization, data order and dropout, one point each."""


class Resources(Config):
    """What one point occupies while it trains."""

    num_workers: NonNegativeInt = 1
    """Ray Train workers, data-parallel; 0 trains in the Tune trial's own process."""
    cpus_per_worker: PositiveInt = 1
    """CPU cores of each worker, and its threads."""
    gpus_per_worker: NonNegativeInt = 0
    """GPUs of each worker."""
    accelerator_type: str | None = None
    """The GPU model to train on, as Ray names it (A100, H100, H200); left out, any."""

    @property
    def gpus_per_point(self) -> int:
        """GPUs that one point occupies while it trains."""
        return max(1, self.num_workers) * self.gpus_per_worker

    @model_validator(mode="after")
    def _has_the_gpu_it_names(self) -> Self:
        if self.accelerator_type and not self.gpus_per_worker:
            problem = "accelerator_type needs a GPU; set gpus_per_worker, or remove it"
            raise Misfit(problem, "accelerator_type")
        return self


NAME = r"^[a-z0-9][a-z0-9_-]*$"


def _plain_name(name: str) -> str:
    """Return the name. Raises ValueError, with one that will do, where it cannot name a study."""
    if not re.fullmatch(NAME, name):
        close = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-_") or "study"
        raise ValueError(f"a name has only a-z, 0-9, - and _, the latter two inside; try {close}")
    return name


StudyName = Annotated[
    str,
    Field(max_length=200, json_schema_extra={"pattern": NAME}),
    AfterValidator(_plain_name),
]


class StudySpec(Config):
    """A study file: the runs of a grid and of single rows, under one cap."""

    study: StudyName
    """The study's name, in the ledger and of its folder: lower case, digits, - and _."""
    max_total_flops: PositiveFloat
    """Cap on the sum of all points' training FLOPs (`paper` convention)."""
    max_gpu_hours: PositiveFloat | None = None
    """Cap on the sum of all points' GPU-hours: as planned for `hardware`, and as taken."""
    grid: Grid | None = None
    """Every combination is a point."""
    points: tuple[Variant, ...] = ()
    """Single points, beside or instead of the grid."""
    exclude: tuple[Exclude, ...] = ()
    """Combinations that are left out."""
    budget: Budget | None = None
    """How long every point trains that has no budget of its own; left out, the preset's tokens."""
    eval_tokens: PositiveInt | None = None
    """Validation tokens of an evaluation; left out, the preset's."""
    data: AnyTextField = DataConfig()
    """The text that every point is trained on."""
    eval_sets: EvalSets = Field(default_factory=dict)
    """Texts whose validation splits are evaluated beside the data's own, by the names that their
    metrics get."""
    optimizer: AnyOptimizerOptions = AdamWOptions()
    """The optimizer and its schedule, for every point; what is left out is the preset's."""
    runtime: RuntimeConfig | None = None
    """How every point executes."""
    hardware: HardwareSpec | None = None
    """The GPUs that hours, money and `wall_seconds` are planned for."""
    resources: Resources = Resources()
    """What a point occupies while it trains."""
    search: Search | None = None
    """Samples what the grid leaves open."""
    scheduler: SchedulerChoice = None
    """`fifo` trains every point to its end; `asha` stops the worse learning rates early."""

    @model_validator(mode="before")
    @classmethod
    def _grid_has_its_keys(cls, given: Any) -> Any:
        for key in given if isinstance(given, Mapping) else ():
            if key in Grid.model_fields and key not in cls.model_fields:
                problem = f"{key} belongs under grid, or to a row of points; move it there"
                raise Misfit(problem, key)
        return given

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if self.grid is None and not self.points:
            raise ValueError("a study has a grid, points, or both; add one")
        return self

    @model_validator(mode="after")
    def _plans_for_the_gpus_it_trains_on(self) -> Self:
        gpus = self.resources.gpus_per_point
        if self.hardware and gpus and self.hardware.gpus != gpus:
            raise Misfit(
                f"hardware.gpus {self.hardware.gpus} is not what resources give a point, {gpus} "
                "GPUs; change one of them",
                *("hardware.gpus", "hardware"),
            )
        return self

    @model_validator(mode="after")
    def _searches_what_is_open(self) -> Self:
        if self.search is None:
            return self
        if self.grid is None:
            raise Misfit("search samples what a grid leaves open; add a grid", "search")
        if self.search.learning_rate and self.grid.learning_rate:
            problem = "learning_rate is in the grid and in the search; remove one of them"
            raise Misfit(problem, "search.learning_rate")
        open_sizes = {size for ffn in self.grid.ffn for size in ffn.open_sizes}
        for name in self.search.dimensions.keys() - {"learning_rate"} - open_sizes:
            problem = "every FFN of the grid has its size, or none takes it; remove it"
            raise Misfit(problem, f"search.{name}")
        return self


def load(path: Path) -> Loaded[StudySpec]:
    """Read a study file. Raises InputError with file, line, value and remedy."""
    return strict_yaml.load(path, StudySpec)
