"""What all optimizers have in common: the schedule of the rate, clipping, weight decay, groups.

An optimizer is one file beside this one and one row of the table in `kinds.py`. No torch is
imported before an optimizer is built, so that planning works on any laptop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    model_validator,
)

from workloads.errors import Misfit
from workloads.optim.roles import Factors, by_role
from workloads.optim.schedules import SCHEDULE_FIELDS, SCHEDULES
from workloads.schema.base import Config
from workloads.schema.known_names import OneOf

if TYPE_CHECKING:
    import torch
    from torch import nn

Fraction = Annotated[float, Field(ge=0, lt=1)]
# Runs the passes on labels that the model itself draws for the inputs of the batch, clips their
# gradients as those of a step, and calls its argument while the optimizer's parameters have them:
# those of a part of the model at a time, or all. Gradients that are not finite are left out.
WithSampled = Callable[[Callable[[], object]], object]


class Trained(NamedTuple):
    """What an optimizer trains, in numbers.

    `hidden_matrices` are those of the layers as (count, rows, columns), where each block of a
    block-diagonal factor is a matrix; `others` counts the parameters of embeddings, head, norms and
    biases, `head` the weights of the head, tied or not.
    """

    hidden_matrices: tuple[tuple[int, int, int], ...]
    others: int
    head: int

    @property
    def in_hidden_matrices(self) -> int:
        """Parameters of the hidden matrices."""
        return sum(count * rows * columns for count, rows, columns in self.hidden_matrices)

    @property
    def parameters(self) -> int:
        return self.in_hidden_matrices + self.others


class OptimizerOptions(Config):
    """An optimizer as a study file has it; the defaults of the common fields are the paper's.

    A kind adds the field `kind`, its own fields and what is declared here. Only the first kind's
    `kind` has a default: that of any other has to stand in a run's identity.
    """

    state_bytes_per_param: ClassVar[int]
    """Bytes of optimizer state for each parameter, in training and in a checkpoint; a kind that
    treats parameters differently also defines `state_bytes`."""
    steps_on_cpu: ClassVar[bool] = True
    """Whether a step may be taken in CPU memory, as under offloading: one that goes once over
    weights, gradients and state, each number by itself."""

    schedule: Annotated[str, OneOf(SCHEDULES, "schedule")] = "cosine"
    """After a linear warm-up: `cosine` decay; `constant` at the peak; `wsd`, constant and then
    linear decay; `inverse_sqrt`. Under the latter three a larger budget continues from the smaller
    one's run. `onecycle`: half a cosine up and one down to the last step."""
    min_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """The lowest rate over the peak, for `cosine`, `wsd` and `onecycle`."""
    initial_learning_rate_ratio: Annotated[float, Field(ge=0, le=1)] = 0.01
    """The first rate over the peak, for `onecycle`."""
    warmup_fraction: Fraction = 0.1
    """Fraction of the steps that `cosine` and `onecycle` warm up."""
    warmup_steps: NonNegativeInt | None = None
    """Optimizer steps that `constant`, `wsd` and `inverse_sqrt` warm up."""
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Fraction of the steps, the last ones, that `wsd` decays."""
    weight_decay: NonNegativeFloat = 0.1
    """Decoupled weight decay, times the learning rate a step."""
    decay: Literal["all", "matrices", "hidden_matrices"] = "all"
    """What weight decay pulls on: `all`, as in the paper; `matrices`, neither biases nor norms;
    `hidden_matrices`, those of the layers alone, neither embeddings nor head."""
    max_grad_norm: PositiveFloat = 1.0
    """The global gradient norm is clipped to it."""

    @model_validator(mode="after")
    def _takes_what_its_schedule_takes(self) -> Self:
        for name in sorted(self.unused_fields):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise Misfit(f"{name} does not apply to schedule {self.schedule}; remove it", name)
        if self.warmup_steps is None and "warmup_steps" in SCHEDULES[self.schedule].fields:
            raise Misfit(f"schedule {self.schedule} needs warmup_steps; add it")
        return self

    @property
    def unused_fields(self) -> set[str]:
        """Names of the fields that the chosen schedule does not use."""
        return set(SCHEDULE_FIELDS - SCHEDULES[self.schedule].fields)

    def decay_start(self, steps: int) -> int:
        """Return how many of `steps` come before the linear decay of `wsd`, of at least one."""
        decay = max(1, round(self.decay_fraction * steps)) if self.schedule == "wsd" else 0
        return steps - decay

    def stable_steps(self, steps: int) -> int:
        """Return how many first steps of `steps` are the same whatever the length of the run."""
        return self.decay_start(steps) if SCHEDULES[self.schedule].opening else 0

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Return the trained parameters in groups that are treated alike, each parameter in one.

        A group has `params` and `weight_decay`, and may have `rate_multiplier`, by which the
        schedule's rate is multiplied for it, and options of the kind's own.
        """
        decayed: list[nn.Parameter] = []
        undecayed: list[nn.Parameter] = []
        named = ((name, p) for name, p in model.named_parameters() if p.requires_grad)
        for name, parameter in named:
            pulled = (
                self.decay == "all"
                or (self.decay == "matrices" and parameter.ndim >= 2)
                or is_hidden_matrix(name, parameter)
            )
            (decayed if pulled else undecayed).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": self.weight_decay},
            {"params": undecayed, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def build(
        self, groups: list[dict[str, Any]], tokens_per_step: int | None
    ) -> torch.optim.Optimizer:
        """Return the optimizer of these groups; its rates are set before each step.

        `tokens_per_step` are those of the run; None outside of runs.
        """
        raise NotImplementedError

    def state_bytes(self, trained: Trained) -> int:
        """Return the bytes of optimizer state, in training and in a checkpoint."""
        return self.state_bytes_per_param * trained.parameters

    def extra_step_flops(self, trained: Trained, tokens: int, pass_flops: int) -> int:
        """Return the FLOPs of one step beside the passes over its batch, on average over steps.

        `tokens` are those of the step, and `pass_flops` the FLOPs of the passes over them.
        """
        return 0

    def step_norm(self, rows: int, columns: int) -> float | None:
        """Return the spectral norm of a step of a hidden matrix of this shape over the learning
        rate, up to a factor that is the same for all shapes; None where that is not known.

        Transfer rules take from it how rates depend on shapes.
        """
        return None

    def before_step(
        self, optimizer: torch.optim.Optimizer, step: int, with_sampled: WithSampled
    ) -> None:
        """Prepare the optimizer for the 0-based `step`, before the passes over its batch."""

    def written_words(self) -> list[str]:
        """Return the kind and what is written of the options: `sophia_g`, `rho=0.04`."""
        return self._words(self.model_fields_set)

    def label(self) -> str:
        """Return the kind and what differs from its defaults: `sophia_g rho=0.04`."""
        fields = type(self).model_fields
        return " ".join(self._words(n for n in fields if getattr(self, n) != fields[n].default))

    def _words(self, names: Iterable[str]) -> list[str]:
        named = {*names} - {"kind", "learning_rate", "roles"}
        ordered = [name for name in type(self).model_fields if name in named]
        return [
            getattr(self, "kind"),  # noqa: B009 (each kind has its own type of it)
            *(f"{name}={_in_words(getattr(self, name))}" for name in ordered),
        ]


class OptimizerConfig(OptimizerOptions):
    """The optimizer of one run; `learning_rate` is the peak."""

    learning_rate: PositiveFloat
    roles: Annotated[dict[str, Factors], Field(exclude_if=lambda v: not v)] = Field(
        default_factory=dict
    )
    """What a transfer rule multiplies, by role; without one, nothing."""

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        groups = super().parameter_groups(model)
        return by_role(groups, model, self.roles) if self.roles else groups

    @property
    def floor(self) -> float:
        """The lowest rate of a schedule that decays."""
        return self.min_learning_rate_ratio * self.learning_rate


def is_hidden_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Return whether a model's parameter of this name is a matrix of a layer, or a stack of
    blocks; embeddings and head are none."""
    return parameter.ndim >= 2 and name.startswith("layers.")


def _in_words(value: Any) -> str:
    return ",".join(map(repr, value)) if isinstance(value, tuple) else str(value)
