"""How the model of a run grows, as a person writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from workloads.config.growth import grown_model, plan_growth
from workloads.config.growth_options import GrowthOptions, GrowthPolicy
from workloads.config.model import ModelConfig
from workloads.cost.flops import count_params
from workloads.errors import Misfit
from workloads.recipes.growth_guideline import guideline
from workloads.schema.base import Config


class GrowAt(Config):
    """When a model grows."""

    tokens: PositiveInt | None = None
    """Fresh tokens before the growth, never exceeded."""
    fraction: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Fraction of the run's fresh steps before the growth."""
    guideline: Literal[True] | None = None
    """As many tokens as the published formula gives (arXiv 2405.15319, section 4.2), which is for
    large runs; it needs a budget in tokens or steps, without `match_flops_of`."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"a growth is at exactly one of {', '.join(type(self).model_fields)}; found "
                f"{', '.join(given) or 'none'}"
            )
        return self

    def resolve(
        self, model: ModelConfig, tokens_per_step: int, run_steps: int | None
    ) -> dict[str, Any]:
        """Return the time as a run's configuration has it, for the growth to `model`.

        `run_steps` counts the fresh steps of the run, None where they follow from FLOPs.
        """
        if self.fraction is not None:
            return {"at_fraction": self.fraction}
        tokens = self.tokens or self._guideline(model, tokens_per_step, run_steps)
        if tokens < tokens_per_step:
            raise Misfit(
                f"grow.at.tokens {tokens} is less than one step; the nearest that works is "
                f"{tokens_per_step}",
                "grow.at.tokens",
            )
        return {"at_step": tokens // tokens_per_step}

    def _guideline(self, model: ModelConfig, tokens_per_step: int, run_steps: int | None) -> int:
        field = "grow.at.guideline"
        if run_steps is None:
            raise Misfit(
                f"{field} follows from the run's tokens, and under match_flops_of and budgets in "
                "FLOPs these follow from the growth; give grow.at.tokens or grow.at.fraction",
                field,
            )
        tokens = run_steps * tokens_per_step
        found = guideline(count_params(model).total, tokens)
        if found.outside:
            raise Misfit(
                f"{field} gives {found.base_tokens:.3g} tokens to the base, and the run has "
                f"{tokens:.3g}: outside the formula's range; give grow.at.tokens or fraction",
                field,
            )
        return found.base_tokens


class GrowChoice(GrowthOptions, GrowthPolicy):
    """One growth of the model in the course of its run."""

    factor: Annotated[int, Field(ge=2, le=1000)] | None = None
    """Layers of the grown model over those of its base, in place of `layers`."""
    at: GrowAt
    """When it grows."""

    @model_validator(mode="after")
    def _one_depth(self) -> Self:
        if self.factor is not None and self.layers is not None:
            raise Misfit(
                f"factor {self.factor} and layers {self.layers} both give the depth; remove one",
                *("factor", "layers"),
            )
        return self

    def grow(
        self,
        base: ModelConfig,
        tokens_per_step: int,
        run_steps: Callable[[ModelConfig], int | None],
    ) -> ModelConfig:
        """Return the grown model, which trains `base` first.

        `run_steps` gives the fresh steps of a run with a model, None where they follow from FLOPs.
        Raises Misfit where the growth does not fit.
        """
        given = {name: getattr(self, name) for name in GrowthOptions.model_fields}
        if self.factor is not None:
            given["layers"] = self.factor * base.num_layers
        options = GrowthOptions.model_validate(given)
        policy = GrowthPolicy(**{name: getattr(self, name) for name in GrowthPolicy.model_fields})
        grown = plan_growth(base, options).model
        at = self.at.resolve(grown, tokens_per_step, run_steps(grown))
        return grown_model(base, options, policy, **at)

    def label(self) -> str:
        """Return the operator and the size that it grows to: `stack x4`, `split 64 wide`."""
        layers = self.layers or (len(self.layer_map) if self.layer_map else None)
        depth = f"x{self.factor}" if self.factor else f"{layers} layers" if layers else None
        width = f"{self.width} wide" if self.width else None
        return " ".join([self.operator, *filter(None, (depth, width))])


def _as_list(given: Any) -> Any:
    """Return one growth as a list of one."""
    if given is None:
        return ()
    return given if isinstance(given, list | tuple) else (given,)


# One growth, or several in a row.
Growths = Annotated[tuple[GrowChoice, ...], BeforeValidator(_as_list)]
