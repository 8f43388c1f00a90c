"""A transfer rule: what it is given and what it chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.config.scaling import ScalingConfig
from workloads.optim.roles import Factors


@dataclass(frozen=True)
class Situation:
    """A run as it is without a rule, and the shape at which its hyperparameters were tuned.

    `base` is the run's model in the base's width, with as many layers as the run's.
    """

    run: RunConfig
    base: ModelConfig
    base_layers: int

    @property
    def width_ratio(self) -> float:
        """The run's width over the base's."""
        return self.run.model.hidden_dim / self.base.hidden_dim

    @property
    def depth_ratio(self) -> float:
        """The run's layers over the base's."""
        return self.run.model.num_layers / self.base_layers


@dataclass(frozen=True)
class Choice:
    """What a rule chooses; what is left out stays as it is without one.

    `batch_size` is in sequences. `cautions` say where the rule leaves the range that it is known
    in.
    """

    learning_rate: float | None = None
    batch_size: int | None = None
    scaling: ScalingConfig = field(default_factory=ScalingConfig)
    roles: Mapping[str, Factors] = field(default_factory=dict)
    cautions: tuple[str, ...] = ()


class Rule(NamedTuple):
    """One row of the table: the rule, and whether it starts from a base's shape."""

    choose: Callable[[Situation], Choice]
    has_base: bool = False
