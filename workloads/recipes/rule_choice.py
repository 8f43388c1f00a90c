"""The transfer rule of a run as a person writes it, and what it makes of the run."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BeforeValidator, model_validator

from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.config.scaling import ScalingConfig
from workloads.errors import Misfit
from workloads.optim.roles import Factors
from workloads.recipes.rules.rule import Choice, Situation
from workloads.recipes.rules.table import RULES
from workloads.schema.base import Config, Depth, Size
from workloads.schema.known_names import OneOf

RuleName = Annotated[str, OneOf(RULES, "rule")]


class RuleChoice(Config):
    """A transfer rule, and the shape at which the learning rate was tuned."""

    rule: RuleName = "fixed"
    """`fixed` sets nothing; `mup` scales, rates and weight decay for the width, `completep` for
    width and depth; `step_law` learning rate and batch for parameters and tokens."""
    base_width: Size | None = None
    """The `hidden_dim` at which the learning rate was tuned; left out, the preset's."""
    base_layers: Depth | None = None
    """The layers at which the learning rate was tuned; left out, the preset's."""

    @model_validator(mode="after")
    def _has_a_base(self) -> Self:
        given = [name for name in ("base_width", "base_layers") if getattr(self, name) is not None]
        if given and not RULES[self.rule].has_base:
            having = " and ".join(name for name, row in RULES.items() if row.has_base)
            raise Misfit(
                f"{given[0]} does not apply to rule {self.rule}; remove it, or use {having}",
                given[0],
            )
        return self

    @property
    def is_fixed(self) -> bool:
        """True for the rule that sets nothing."""
        return self.rule == "fixed"

    def label(self) -> str:
        """Return the rule and what is written of its base: `mup`, `mup64`, `completep64x3`; nothing
        for `fixed`."""
        if self.is_fixed:
            return ""
        layers = f"x{self.base_layers}" if self.base_layers else ""
        return f"{self.rule}{self.base_width or ''}{layers}"

    def base_of(self, preset: ModelConfig) -> tuple[int, int]:
        """Return the base's width and layers: the preset's where they are not written."""
        return self.base_width or preset.hidden_dim, self.base_layers or preset.num_layers

    def choose(self, situation: Situation) -> Choice:
        """Return what the rule chooses. Raises Misfit where it does not apply to the run."""
        if situation.run.model.growth and RULES[self.rule].has_base:
            raise Misfit(
                f"rule {self.rule} sets a model's scales for one size, and this one grows; set "
                "recipe: fixed, or remove grow",
                *("recipe", "grow"),
            )
        return RULES[self.rule].choose(situation)


def ruled(run: RunConfig, choice: Choice) -> RunConfig:
    """Return the run with the scales and the factors of a choice: where all are 1, the same run."""
    roles = {role: each for role, each in choice.roles.items() if each != Factors()}
    if choice.scaling != ScalingConfig():
        model = run.model.model_copy(update={"scaling": choice.scaling})
        run = run.model_copy(update={"model": model})
    if roles:
        optimizer = run.optimizer.model_copy(update={"roles": roles})
        run = run.model_copy(update={"optimizer": optimizer})
    return run


def named(given: Any) -> Any:
    """Return a rule's name as the mapping that it stands for."""
    return {"rule": given} if isinstance(given, str) else given


# A rule by its name, or with its base.
AnyRule = Annotated[
    RuleChoice, BeforeValidator(named, json_schema_input_type=RuleChoice | RuleName)
]
