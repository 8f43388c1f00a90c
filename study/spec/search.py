"""Tuning in a study file: which dimensions a search samples, and when a run is stopped early."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from workloads.config.ffn_kinds import FFN_KINDS, SIZES, with_sizes
from workloads.recipes.variant import FFNChoice, Variant
from workloads.schema.base import Config

Metric = Literal["val_loss", "train_flops"]


class Asha(Config):
    """Asynchronous successive halving among the learning rates of one model and budget."""

    grace_flops: PositiveFloat
    """Training FLOPs at which runs are first compared."""
    reduction_factor: Annotated[float, Field(gt=1)] = 4.0
    """Runs are compared again at each multiple by this factor; one in so many goes on."""


class Scheduler(Config):
    """Which runs of a sweep are trained to the end."""

    asha: Asha
    """Stop the worse learning rates early."""


def _scheduler(value: Any) -> Any:
    if isinstance(value, str) and value != "fifo":
        raise ValueError("no such scheduler; use fifo, or {asha: {grace_flops: 1.0e+12}}")
    return None if value == "fifo" else value


SchedulerChoice = Annotated[
    Scheduler | None,
    BeforeValidator(_scheduler, json_schema_input_type=Literal["fifo"] | Scheduler | None),
]


class _Range(Config):
    @model_validator(mode="after")
    def _given_in_one_way(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            ways = ", ".join(type(self).model_fields)
            found = ", ".join(given) or "none"
            raise ValueError(f"a dimension has exactly one of {ways}; found {found}")
        if given[0] != "choice":
            low, high, *_ = getattr(self, given[0])
            if low == high:
                raise ValueError(f"both ends of {given[0]} are {low:g}; move one of them")
            if low > high:
                raise ValueError(f"{given[0]} goes from a lower to a higher value; swap the two")
        return self


class FloatRange(_Range):
    """The real values of a dimension; samples have three significant digits."""

    log: tuple[PositiveFloat, PositiveFloat] | None = None
    """Lowest and highest value, evenly on a logarithmic scale."""
    uniform: tuple[PositiveFloat, PositiveFloat] | None = None
    """Lowest and highest value, evenly."""
    choice: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] | None = None
    """One of these."""

    def planned_values(self) -> list[float]:
        """Return the values that are planned ahead, which the costliest sample is among: the
        lowest and the highest, or every value of a choice."""
        return list(self.log or self.uniform or self.choice or ())

    def contains(self, value: float) -> bool:
        """Return whether a sample can have the value."""
        values = self.planned_values()
        return value in values if self.choice else values[0] <= value <= values[-1]


MOST_VALUES = 10_000


class IntRange(_Range):
    """The whole numbers of a dimension."""

    integers: Annotated[tuple[PositiveInt, ...], Field(min_length=2, max_length=3)] | None = None
    """Lowest and highest value, both included, and the step between values, 1 if left out."""
    choice: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] | None = None
    """One of these."""

    def planned_values(self) -> Sequence[int]:
        """Return the values that are planned ahead: all, since only some may make a model."""
        if self.integers is None:
            return self.choice or ()
        low, high, *step = self.integers
        return range(low, high + 1, *step)

    def contains(self, value: float) -> bool:
        """Return whether a sample can have the value."""
        return value in self.planned_values()

    @model_validator(mode="after")
    def _has_two_values(self) -> Self:
        if self.integers is None:
            return self
        low, high, step = *self.integers[:2], self.integers[2] if self.integers[2:] else 1
        count = (high - low) // step + 1
        if count < 2:
            raise ValueError("the step is longer than from the lowest to the highest; lower it")
        if count > MOST_VALUES:
            raise ValueError(
                f"{count:,} values are too many to plan each of them, at most {MOST_VALUES:,}; "
                "raise the step, or narrow the range"
            )
        return self


def _metrics(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


# Sizes that a fraction of the dense FFN's weights may choose.
FRACTION_SIZES = {kind.fraction_size for kind in FFN_KINDS.values() if kind.fraction_size}
# What a search may sample, in the order of its columns.
DIMENSIONS = ("learning_rate", "fraction", *SIZES)


@with_sizes(IntRange)
class Search(Config):
    """Optuna samples what the grid leaves open, separately for each of its combinations."""

    learning_rate: FloatRange | None = None
    """Peak learning rate, where the grid lists none."""
    fraction: FloatRange | None = None
    """Fraction of the dense FFN's weights, of FFNs that are given without a size."""
    trials: Annotated[int, Field(gt=0, le=10**6)]
    """Samples for each combination; a sample drawn twice is trained once."""
    metric: Annotated[
        tuple[Metric, ...],
        BeforeValidator(_metrics, json_schema_input_type=Metric | tuple[Metric, ...]),
    ] = ("val_loss",)
    """What the search minimizes: `val_loss`, or `[val_loss, train_flops]` for a Pareto front."""
    seed: NonNegativeInt = 0
    """Seed of the samples."""

    @model_validator(mode="after")
    def _is_a_search(self) -> Self:
        if not self.dimensions:
            ways = f"{', '.join(DIMENSIONS[:-1])} or {DIMENSIONS[-1]}"
            raise ValueError(f"searches nothing; give {ways}")
        for name in self.dimensions:
            if self.fraction and name in FRACTION_SIZES:
                raise ValueError(f"{name} and fraction both give the size; remove one")
        if self.metric not in (("val_loss",), ("val_loss", "train_flops")):
            raise ValueError("metric is val_loss or [val_loss, train_flops]; change it")
        return self

    @property
    def dimensions(self) -> dict[str, FloatRange | IntRange]:
        """What the search samples, by name."""
        found = ((name, getattr(self, name)) for name in DIMENSIONS)
        return {name: dimension for name, dimension in found if dimension is not None}

    def dimensions_of(self, variant: Variant) -> dict[str, FloatRange | IntRange]:
        """Return the dimensions that the search samples for a combination, by name: those that
        the combination leaves open."""
        open_names = {"learning_rate"} if variant.learning_rate is None else set[str]()
        if isinstance(variant.ffn, GridFFN):
            open_names |= variant.ffn.open_sizes
        return {n: dimension for n, dimension in self.dimensions.items() if n in open_names}


def with_sample(variant: Variant, sample: Mapping[str, float]) -> Variant:
    """Return a combination completed by a sample, which holds a value by dimension.

    Raises ValueError where the values do not make an FFN.
    """
    sizes = {name: value for name, value in sample.items() if name != "learning_rate"}
    ffn = FFNChoice.model_validate(variant.ffn.model_dump() | sizes)
    rate = sample.get("learning_rate", variant.learning_rate)
    return variant.model_copy(update={"ffn": ffn, "learning_rate": rate})


def sample_of(variant: Variant, dimensions: Iterable[str]) -> dict[str, Any]:
    """Return the values that a combination has in the dimensions; None for what it leaves open."""
    return {
        name: getattr(variant if name in Variant.model_fields else variant.ffn, name)
        for name in dimensions
    }


class GridFFN(FFNChoice):
    """An FFN of a grid; a search may choose the sizes that it is given without."""

    @property
    def open_sizes(self) -> set[str]:
        """The sizes that the kind needs and that are not given.

        `fraction` is among them where it could stand for one of them.
        """
        missing = {*self.row.sizes} - {*self.sizes}
        chosen = self.row.fraction_size
        if chosen not in missing:
            return missing
        return missing | {"fraction"} if self.fraction is None else missing - {chosen}

    def check_size(self) -> None:
        """Raise ValueError where the sizes that are given do not fit together, whatever a search
        chooses for the rest."""
        any_size = {name: 1 for name in self.open_sizes - {"fraction"}}
        FFNChoice.model_validate(self.model_dump() | any_size)
