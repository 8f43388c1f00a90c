"""How the model of a run grows, as a person writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from workloads.config.growth import (
    check_base_sizes,
    grown_model,
    listed,
    plan_growth,
    smaller_model,
)
from workloads.config.growth_options import GrowthOptions, GrowthPolicy
from workloads.config.model import ModelConfig
from workloads.cost.flops import count_params
from workloads.errors import Misfit
from workloads.recipes.growth_guideline import guideline
from workloads.schema.base import MOST_FEATURES, MOST_LAYERS, Config

# Models of either size, of one growth: layers, or the features of the residual stream.
Factor = Annotated[int, Field(ge=2, le=1000)]


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

    def label(self) -> str:
        """Return the time in words, with all digits: `at 0.3`, `at 2048 tokens`, `at guideline`."""
        if self.fraction is not None:
            return f"at {self.fraction}"
        return f"at {self.tokens} tokens" if self.tokens else "at guideline"

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


class GrowBase(Config):
    """The size of the base, of a growth whose grown model has the shape that the run is given."""

    factor: Factor | None = None
    """Layers of the grown model over those of the base; of `split`, features."""
    layers: Annotated[int, Field(ge=1, le=MOST_LAYERS)] | None = None
    """Layers of the base."""
    width: Annotated[int, Field(ge=1, le=MOST_FEATURES)] | None = None
    """The `hidden_dim` of the base; `ffn_dim` and the number of heads shrink in proportion."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.factor is None and self.layers is None and self.width is None:
            raise ValueError("a base is smaller by factor, layers or width; give one of them")
        return self


class GrowChoice(GrowthOptions, GrowthPolicy):
    """One growth of the model in the course of its run."""

    factor: Factor | None = None
    """Layers of the grown model over those of its base, in place of `layers`; of `split`, features,
    in place of `width`."""
    base: GrowBase | None = None
    """The base's size, in place of the grown model's: the run's shape is then that of the grown
    model, as its scratch twin has it."""
    at: GrowAt
    """When it grows."""

    @model_validator(mode="after")
    def _one_size(self) -> Self:
        for choice, base in ((self, ""), (self.base, "base.")):
            replaced = self._factor_of
            if choice and choice.factor is not None and getattr(choice, replaced) is not None:
                raise Misfit(
                    f"{base}factor {choice.factor} and {base}{replaced} "
                    f"{getattr(choice, replaced)} give the same size; remove one",
                    *(f"{base}factor", f"{base}{replaced}"),
                )
        given = [name for name in ("factor", "layers", "width") if getattr(self, name) is not None]
        if self.base and given:
            raise Misfit(
                f"base gives the base's size and {given[0]} {getattr(self, given[0])} the grown "
                f"model's, which is the run's; remove one",
                *(given[0], "base"),
            )
        return self

    @property
    def _factor_of(self) -> Literal["layers", "width"]:
        """The size that a factor multiplies."""
        return "layers" if self.row.order else "width"

    @property
    def sizes(self) -> GrowBase | Self:
        """What gives the sizes of this growth: `factor`, `layers` and `width`."""
        return self.base or self

    def smaller(self, grown: ModelConfig) -> ModelConfig:
        """Return the base of the grown model, where `base` gives its size.

        Raises Misfit where no model of that size grows into it.
        """
        assert self.base
        sizes = {"layers": self.base.layers, "width": self.base.width}
        check_base_sizes(self.operator, **sizes)
        if factor := self.base.factor:
            whole = {"layers": grown.num_layers, "width": grown.hidden_dim}[self._factor_of]
            if whole % factor:
                divisors = (n for n in range(1, whole + 1) if whole % n == 0)
                works = min(divisors, key=lambda n: (n == 1, abs(n - factor)))
                raise Misfit(
                    f"base.factor {factor} does not divide the grown model's {whole} "
                    f"{_SIZES[self._factor_of]}; the nearest that does is {works}",
                    "base.factor",
                )
            sizes[self._factor_of] = whole // factor
        return smaller_model(grown, **sizes)

    def grow(
        self,
        base: ModelConfig,
        tokens_per_step: int,
        run_steps: Callable[[ModelConfig], int | None],
        grown: ModelConfig | None = None,
    ) -> ModelConfig:
        """Return the grown model, which trains `base` first.

        `run_steps` gives the fresh steps of a run with a model, None where they follow from FLOPs.
        `grown` has the size to grow to where `base` gives none. Raises Misfit where the growth does
        not fit.
        """
        given = {name: getattr(self, name) for name in GrowthOptions.model_fields}
        if grown:
            given["layers"] = grown.num_layers if grown.num_layers > base.num_layers else None
            given["width"] = grown.hidden_dim if grown.hidden_dim > base.hidden_dim else None
        elif self.factor is not None:
            own = {"layers": base.num_layers, "width": base.hidden_dim}[self._factor_of]
            given[self._factor_of] = self.factor * own
        options = GrowthOptions.model_validate(given)
        policy = GrowthPolicy(**{name: getattr(self, name) for name in GrowthPolicy.model_fields})
        shape = plan_growth(base, options).model
        at = self.at.resolve(shape, tokens_per_step, run_steps(shape))
        return grown_model(base, options, policy, **at)

    def label(self, timed: bool = True) -> str:
        """Return operator, size, time and what differs from the defaults, as they are written:
        `stack x4 at 0.3`, `split to 64 wide at 0.7 carry`, `stack from 1 layer at 0.8 continue`.

        Without `timed` a number of tokens is left out.
        """
        sizes, way = self.sizes, "from" if self.base else "to"
        layers = f"{sizes.layers} layer{'s' * (sizes.layers != 1)}" if sizes.layers else ""
        width = f"{sizes.width} wide" if sizes.width else ""
        to = " ".join(filter(None, (layers, width)))
        words = [
            self.operator,
            f"x{sizes.factor}" if sizes.factor else "",
            f"{way} {to}" if to else "",
            f"map {listed(self.layer_map)}" if self.layer_map else "",
            "interleaved" if self.interleaved else "",
            *(f"{word} {value}" for word, value in self._changed(_OPTION_WORDS)),
            self.at.label() if timed or not self.at.tokens else "",
            *(
                str(value) if word is None else f"{word} {value}"
                for word, value in self._changed(_POLICY_WORDS)
            ),
        ]
        return " ".join(filter(None, words))

    def _changed(self, words: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Yield the words and values of those fields that differ from their defaults."""
        for name, word in words.items():
            value = getattr(self, name)
            if value != type(self).model_fields[name].default:
                yield word, value


_SIZES = {"layers": "layers", "width": "features"}
# How labels name options and policies that differ from their defaults; None for the value alone.
_OPTION_WORDS = {"alpha": "alpha", "mask_steps": "mask", "learn_steps": "learning"}
_POLICY_WORDS: dict[str, str | None] = {
    "optimizer_state": None,
    "schedule": None,
    "rewarmup_steps": "rewarmup",
    "base_learning_rate": "base lr",
    "data": "data",
}


def grown_from(
    shape: ModelConfig,
    growths: Sequence[GrowChoice],
    tokens_per_step: int,
    run_steps: Callable[[ModelConfig], int | None],
) -> ModelConfig:
    """Return the model of a run that grows: `shape` is that of the first base, or that of the last
    model where the growths give the sizes of their bases.

    Raises Misfit, at the place of the growth that does not fit.
    """
    by_base = [growth.base is not None for growth in growths]
    if any(by_base) and not all(by_base):
        raise Misfit(
            "some growths in a row give the size of their base and others that of the grown model; "
            "give one of the two in all",
            *(f"grow.{by_base.index(True)}.base", "grow"),
        )
    shapes = [shape]
    for index, growth in reversed([*enumerate(growths)]) if all(by_base) else ():
        with _placed(index):
            shapes.insert(0, growth.smaller(shapes[0]))
    model = shapes[0]
    for index, growth in enumerate(growths):
        with _placed(index):
            target = shapes[index + 1] if growth.base else None
            model = growth.grow(model, tokens_per_step, run_steps, target)
    return model


@contextmanager
def _placed(index: int) -> Iterator[None]:
    """Name the growth of that number in a Misfit: `grow[1].at`, or `grow.at` of the only one."""
    try:
        yield
    except Misfit as error:
        fields = [field[1:] if field[0] == "grow" else field for field in error.fields]
        places = [(*growth, *field) for field in fields for growth in (("grow", index), ("grow",))]
        error.fields = [*places, ("grow", index), ("grow",)]
        raise


def _as_list(given: Any) -> Any:
    """Return one growth as a list of one."""
    if given is None:
        return ()
    return given if isinstance(given, list | tuple) else (given,)


# One growth, or several in a row.
Growths = Annotated[
    tuple[GrowChoice, ...],
    BeforeValidator(_as_list, json_schema_input_type=GrowChoice | tuple[GrowChoice, ...] | None),
]
