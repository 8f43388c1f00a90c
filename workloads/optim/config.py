"""The optimizer of a run and the schedule of its learning rate."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_validator,
)

from workloads.schema.base import Config

Share = Annotated[float, Field(ge=0, lt=1)]


Schedule = Literal["cosine", "constant", "wsd"]


# What each schedule takes. A warm-up in steps is the same for longer runs that continue shorter.
SCHEDULE_FIELDS: dict[Schedule, frozenset[str]] = {
    "cosine": frozenset({"warmup_fraction", "min_learning_rate_ratio"}),
    "constant": frozenset({"warmup_steps"}),
    "wsd": frozenset({"warmup_steps", "decay_fraction", "min_learning_rate_ratio"}),
}


class AdamWConfig(Config):
    """AdamW with a schedule of its learning rate; the defaults are the paper's."""

    schedule: Schedule = "cosine"
    """After a linear warm-up: `cosine` decay; `constant` at the peak; `wsd`, constant and then
    linear decay. Under the latter two a larger budget continues from the smaller one's run."""
    min_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The lowest rate over the peak, for `cosine` and `wsd`."""
    warmup_fraction: Share = 0.1
    """Share of the steps that `cosine` warms up."""
    warmup_steps: NonNegativeInt | None = None
    """Optimizer steps that `constant` and `wsd` warm up."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Share of the steps, the last ones, that `wsd` decays."""
    betas: tuple[Share, Share] = (0.9, 0.999)
    """Decay of the means of gradients and of their squares."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay, times the learning rate a step."""
    decay: Literal["all", "matrices"] = "all"
    """What weight decay pulls on: `all`, as in the paper, or neither biases nor norms."""
    max_grad_norm: PositiveFloat = 1.0
    """The global gradient norm is clipped to it."""

    @model_validator(mode="after")
    def _takes_what_its_schedule_takes(self) -> Self:
        for name in sorted(self.unused_fields):
            if getattr(self, name) != AdamWConfig.model_fields[name].default:
                raise ValueError(f"{name} does not apply to schedule {self.schedule}; remove it")
        if self.schedule != "cosine" and self.warmup_steps is None:
            raise ValueError(f"schedule {self.schedule} needs warmup_steps; add it")
        return self

    @property
    def unused_fields(self) -> set[str]:
        """Names of the fields that the chosen schedule does not use."""
        return set[str]().union(*SCHEDULE_FIELDS.values()) - SCHEDULE_FIELDS[self.schedule]

    def decay_start(self, steps: int) -> int:
        """Of `steps` in all, those before the linear decay of `wsd`, which takes at least one."""
        decay = max(1, round(self.decay_fraction * steps)) if self.schedule == "wsd" else 0
        return steps - decay


class OptimizerConfig(AdamWConfig):
    """The optimizer of a run; `learning_rate` is the peak."""

    learning_rate: PositiveFloat
