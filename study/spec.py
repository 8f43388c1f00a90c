"""A study file: which runs, under which budget, on which resources."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from workloads import strict_yaml
from workloads.config import AdamWConfig, Config, DataConfig, GuideConfig, RuntimeConfig
from workloads.presets import Budget, FFNChoice, ModelChanges, PresetName, Variant
from workloads.strict_yaml import Loaded


class Grid(Config):
    """The product of its lists; a learning rate that is left out is the preset's.

    `model` changes every preset's model alike. A dense FFN has nothing to guide: its points stand
    once, without, whatever `guide` lists; `null` there is training without a guide.
    """

    preset: Annotated[tuple[PresetName, ...], Field(min_length=1)]
    model: ModelChanges = ModelChanges()
    ffn: Annotated[tuple[FFNChoice, ...], Field(min_length=1)]
    guide: Annotated[tuple[GuideConfig | None, ...], Field(min_length=1)] = (None,)
    learning_rate: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    seed: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)] = (0,)


class Resources(Config):
    """What one point occupies while it trains.

    `num_workers: 0` trains in the Tune trial's own process; from 1 up, the trial starts that many
    Ray Train workers, data-parallel.
    """

    num_workers: NonNegativeInt = 1
    cpus_per_worker: PositiveInt = 1
    gpus_per_worker: NonNegativeInt = 0


class StudySpec(Config):
    """The whole file. `max_total_flops` caps the sum of all points' training FLOPs.

    `budget`, `optimizer`, `eval_tokens` and `runtime` apply to every point of the grid and, unless
    it has its own budget, to every row of `points`; left out, each point takes its preset's.
    """

    study: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    max_total_flops: PositiveFloat
    grid: Grid | None = None
    points: tuple[Variant, ...] = ()
    budget: Budget | None = None
    eval_tokens: PositiveInt | None = None
    data: DataConfig = DataConfig()
    optimizer: AdamWConfig = AdamWConfig()
    runtime: RuntimeConfig | None = None
    resources: Resources = Resources()

    @model_validator(mode="after")
    def _has_points(self) -> Self:
        if self.grid is None and not self.points:
            raise ValueError("a study has a grid, points, or both; add one")
        return self


def load(path: Path) -> Loaded[StudySpec]:
    """Read a study file. Raises InputError with file, line, value and remedy."""
    return strict_yaml.load(path, StudySpec)
