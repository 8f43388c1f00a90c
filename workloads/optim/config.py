"""What all optimizers have in common: the schedule of the rate, clipping, weight decay, groups.

An optimizer is one file beside this one and one row of the table in `kinds.py`. No torch is
imported before an optimizer is built, so that planning works on any laptop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_validator,
)

from workloads.errors import Misfit
from workloads.schema.base import Config

if TYPE_CHECKING:
    import torch
    from torch import nn

Fraction = Annotated[float, Field(ge=0, lt=1)]


Schedule = Literal["cosine", "constant", "wsd"]


# What each schedule takes. A warm-up in steps is the same for longer runs that continue shorter.
SCHEDULE_FIELDS: dict[Schedule, frozenset[str]] = {
    "cosine": frozenset({"warmup_fraction", "min_learning_rate_ratio"}),
    "constant": frozenset({"warmup_steps"}),
    "wsd": frozenset({"warmup_steps", "decay_fraction", "min_learning_rate_ratio"}),
}


class OptimizerOptions(Config):
    """An optimizer as a study file has it; the defaults of the common fields are the paper's.

    A kind adds the field `kind`, its own fields and what is declared here. Only the first kind's
    `kind` has a default: that of any other has to stand in a run's identity.
    """

    state_bytes_per_param: ClassVar[int]
    """Bytes of optimizer state for each parameter, in training and in a checkpoint."""

    schedule: Schedule = "cosine"
    """After a linear warm-up: `cosine` decay; `constant` at the peak; `wsd`, constant and then
    linear decay. Under the latter two a larger budget continues from the smaller one's run."""
    min_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The lowest rate over the peak, for `cosine` and `wsd`."""
    warmup_fraction: Fraction = 0.1
    """Fraction of the steps that `cosine` warms up."""
    warmup_steps: NonNegativeInt | None = None
    """Optimizer steps that `constant` and `wsd` warm up."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Fraction of the steps, the last ones, that `wsd` decays."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay, times the learning rate a step."""
    decay: Literal["all", "matrices"] = "all"
    """What weight decay pulls on: `all`, as in the paper, or neither biases nor norms."""
    max_grad_norm: PositiveFloat = 1.0
    """The global gradient norm is clipped to it."""

    @model_validator(mode="after")
    def _takes_what_its_schedule_takes(self) -> Self:
        for name in sorted(self.unused_fields):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise Misfit(f"{name} does not apply to schedule {self.schedule}; remove it", name)
        if self.schedule != "cosine" and self.warmup_steps is None:
            raise Misfit(f"schedule {self.schedule} needs warmup_steps; add it")
        return self

    @property
    def unused_fields(self) -> set[str]:
        """Names of the fields that the chosen schedule does not use."""
        return set[str]().union(*SCHEDULE_FIELDS.values()) - SCHEDULE_FIELDS[self.schedule]

    def decay_start(self, steps: int) -> int:
        """Return how many of `steps` come before the linear decay of `wsd`, of at least one."""
        decay = max(1, round(self.decay_fraction * steps)) if self.schedule == "wsd" else 0
        return steps - decay

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return the trained parameters in groups that are treated alike, each parameter in one.

        A group has `params` and `weight_decay`, and may have `rate_multiplier`, by which the
        schedule's rate is multiplied for it, and options of the kind's own.
        """
        parameters = [p for p in model.parameters() if p.requires_grad]
        undecayed = [p for p in parameters if p.ndim < 2 and self.decay == "matrices"]
        others = {id(p) for p in undecayed}
        groups: list[dict[str, Any]] = [
            {
                "params": [p for p in parameters if id(p) not in others],
                "weight_decay": self.weight_decay,
            },
            {"params": undecayed, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer of these groups; its rates are set before each step."""
        raise NotImplementedError

    def extra_step_flops(self, parameters: int, pass_flops: int) -> int:
        """Return the FLOPs of one step beside the passes over its batch, on average over steps.

        `parameters` counts what is trained, and `pass_flops` are the FLOPs of the passes.
        """
        return 0

    def before_step(self, optimizer: torch.optim.Optimizer, step: int) -> None:
        """Prepare the optimizer for the 0-based `step`, before the passes over its batch."""


class OptimizerConfig(OptimizerOptions):
    """The optimizer of one run; `learning_rate` is the peak."""

    learning_rate: PositiveFloat
