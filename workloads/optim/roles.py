"""Roles of parameters, and factors of what an optimizer does to those of a role.

The role of a parameter is its name without the number of its layer: `attention.o_linear.weight`,
`mlp.fc1.v`. Two more roles stand for many parameters: `layers` for all of the layers, `outside`
for embeddings, head and the last norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, PositiveFloat

from workloads.schema.base import Config

if TYPE_CHECKING:
    from torch import nn

LAYERS, OUTSIDE = "layers", "outside"
# What Adam adds to the root of its mean of squared gradients, torch's default.
EPSILON = 1e-8
# A factor that is dumped only where it changes something: another one may join later.
Factor = Annotated[PositiveFloat, Field(exclude_if=lambda v: v == 1)]


class Factors(Config):
    """Factors of the learning rate, the weight decay and Adam's epsilon for one role."""

    rate: Factor = 1.0
    decay: Factor = 1.0
    epsilon: Factor = 1.0


def role_of(name: str) -> str:
    """Return the role of a parameter: that of `layers.3.mlp.fc1.v` is `mlp.fc1.v`."""
    return name.split(".", 2)[2] if name.startswith("layers.") else name


def factors_of(name: str, roles: Mapping[str, Factors]) -> Factors:
    """Return the factors for the parameter of this name: those of its own role, or of the many."""
    many = LAYERS if name.startswith("layers.") else OUTSIDE
    return roles.get(role_of(name)) or roles.get(many) or Factors()


def by_role(
    groups: list[dict[str, Any]], model: nn.Module, roles: Mapping[str, Factors]
) -> list[dict[str, Any]]:
    """Split groups of parameters into those that have the same factors, and apply these."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    split: list[dict[str, Any]] = []
    for group in groups:
        parts: dict[Factors, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            parts.setdefault(factors_of(names[id(parameter)], roles), []).append(parameter)
        split += [group | _options(group, each) | {"params": own} for each, own in parts.items()]
    return split


def _options(group: Mapping[str, Any], factors: Factors) -> dict[str, Any]:
    """Return the options of a group under these factors."""
    return {
        "weight_decay": group["weight_decay"] * factors.decay,
        "rate_multiplier": factors.rate,
        "eps": EPSILON * factors.epsilon,
    }
