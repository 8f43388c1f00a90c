"""`exclude`: rows that drop the combinations which have all of a row's values."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from kernels.nearest import nearest_name
from workloads.config.ffn_kinds import FFNKindName, with_sizes
from workloads.config.growth_options import OPERATORS
from workloads.data.config import Weights
from workloads.optim.kinds import OPTIMIZERS
from workloads.recipes.grow_choice import GrowAt, GrowBase, GrowChoice
from workloads.recipes.presets import PRESETS, PresetName
from workloads.recipes.rule_choice import RuleName, named
from workloads.recipes.variant import Variant
from workloads.schema.base import Config
from workloads.schema.known_names import OneOf
from workloads.schema.strict_yaml import Loaded, Location

# What a variant that does not give it has from its preset.
PRESETS_GIVE = {"learning_rate", "batch_size"}


class _Match(Config):
    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(
                f"matches everything; give one of {', '.join(type(self).model_fields)}"
            )
        return self

    def given(self) -> dict[str, Any]:
        """Return the values that are written, `null` included, by key."""
        fields = type(self).model_fields
        return {name: getattr(self, name) for name in fields if name in self.model_fields_set}


@with_sizes(PositiveInt)
class FFNMatch(_Match):
    """Fields of an FFN as the study file gives them: a size chosen by `fraction` is not given."""

    kind: FFNKindName | None = None
    """The kind."""
    fraction: PositiveFloat | None = None
    """The fraction, where the file gives it."""


class GuideMatch(_Match):
    """Fields of a guide."""

    ratio: PositiveFloat | None = None
    """The fraction of the steps that are guided."""
    mode: Literal["fixed_steps", "fixed_flops"] | None = None
    """How the guide is paid for."""
    match_flops_of: Literal["dense"] | None = None
    """Matches guides whose ratio is chosen by FLOPs."""


class GrowMatch(_Match):
    """Fields of a growth as the study file gives them; of several in a row, those of the last."""

    operator: Annotated[str, OneOf(OPERATORS, "operator")] | None = None
    """The operator."""
    factor: PositiveInt | None = None
    """The factor of the growth, or of its base."""
    layers: PositiveInt | None = None
    """The layers of the grown model, or of its base."""
    width: PositiveInt | None = None
    """The width of the grown model, or of its base."""
    at: GrowAt | None = None
    """The time."""


class OptimizerMatch(_Match):
    """Fields of an optimizer of the grid or of a point."""

    kind: Annotated[str, OneOf(OPTIMIZERS, "optimizer")] | None = None
    """The kind."""


class RuleMatch(_Match):
    """Fields of a transfer rule as the study file gives them."""

    rule: RuleName | None = None
    """The rule."""
    base_width: PositiveInt | None = None
    """The base's width, where the file gives it."""
    base_layers: PositiveInt | None = None
    """The base's layers, where the file gives them."""


class Exclude(_Match):
    """A row drops the combinations that have all of its values."""

    preset: PresetName | None = None
    """The preset."""
    width: PositiveFloat | None = None
    """The width multiplier."""
    ffn: FFNMatch | None = None
    """Some of the FFN's fields."""
    guide: GuideMatch | None = None
    """Some of the guide's fields; `null` matches training without one."""
    grow: GrowMatch | None = None
    """Some of a growth's fields; `null` matches training from scratch."""
    learning_rate: PositiveFloat | None = None
    """The peak learning rate, the preset's where none is given."""
    batch_size: PositiveInt | None = None
    """Sequences of one optimizer step, the preset's where none are given."""
    mixture: Weights | None = None
    """The weights, as they are written."""
    optimizer: OptimizerMatch | None = None
    """The kind of the optimizer."""
    recipe: Annotated[
        RuleMatch | None,
        BeforeValidator(named, json_schema_input_type=RuleMatch | RuleName | None),
    ] = None
    """Some of the transfer rule's fields."""
    seed: NonNegativeInt | None = None
    """The seed."""

    def matches(self, variant: Variant) -> bool:
        """Return whether the variant has all of the row's values."""
        return all(_value(variant, path) == wanted for path, wanted in self._wanted().items())

    def check_matches_one(
        self, spec: Loaded[Any], location: Location, variants: list[Variant]
    ) -> None:
        """Raise InputError, naming the nearest value, when no variant has all of the row's."""
        for path, wanted in self._wanted().items():
            found = [_value(variant, path) for variant in variants]
            variants = [v for v, value in zip(variants, found, strict=True) if value == wanted]
            if not variants:
                message = (
                    f"excludes nothing: {_nearest_value(wanted, found)}; change or remove the row"
                )
                raise spec.error((*location, *path), message)

    def _wanted(self) -> dict[tuple[str, ...], Any]:
        """Return the row's values by their place in it."""
        wanted: dict[tuple[str, ...], Any] = {}
        for name, value in self.given().items():
            if isinstance(value, _Match):
                wanted |= {(name, key): inner for key, inner in value.given().items()}
            else:
                wanted[name,] = value
        return wanted


def _value(variant: Variant, path: tuple[str, ...]) -> Any:
    """Return the variant's value for the key at `path` of an exclude row."""
    value: Any = variant
    for name in path:
        value = getattr(value, name, None)
        if isinstance(value, tuple):  # of growths in a row
            value = value[-1] if value else None
        if isinstance(value, GrowChoice) and path[-1] in GrowBase.model_fields:
            value = value.sizes
    if value is None and path[-1] in PRESETS_GIVE:
        return getattr(PRESETS[variant.preset], path[-1])
    return value


def _nearest_value(wanted: Any, found: list[Any]) -> str:
    """Return words for the value among `found` that is nearest to the one wanted, and the
    others."""
    known: list[Any] = list(dict.fromkeys(v for v in found if isinstance(v, str | int | float)))
    if not known or wanted is None:
        return "no combination has this and the values before it"
    if isinstance(wanted, str):
        close = nearest_name(wanted, known)
    else:
        close = min(known, key=lambda value: abs(value - wanted))
    return f"the nearest value is {close} (of {', '.join(map(str, known))})"
