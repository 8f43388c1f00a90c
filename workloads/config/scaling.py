"""Multipliers of a model: of what its parts give, and of its first weights."""

from __future__ import annotations

from pydantic import Field, PositiveFloat

from workloads.schema.base import Config


class ScalingConfig(Config):
    """What a transfer rule changes in a model of the same shape.

    `initial` is by the role of a parameter (`workloads.optim.roles`). Roles that are left out start
    as they do without a rule.
    """

    attention: PositiveFloat = 1.0
    """Multiplies the attention scores, beside 1/sqrt(head_dim)."""
    residual: PositiveFloat = 1.0
    """Multiplies what each sublayer adds to the residual stream."""
    output: PositiveFloat = 1.0
    """Multiplies the logits."""
    initial: dict[str, PositiveFloat] = Field(default_factory=dict)
    """Multiplies the initial weights of a role."""

    def __hash__(self) -> int:
        # Plans are remembered by their models, and a dict has no hash.
        numbers = (self.attention, self.residual, self.output)
        return hash((numbers, tuple(sorted(self.initial.items()))))
