"""The table of operators of growth, and what can be asked of one (no torch).

The operators are those that Du et al. 2024 (arXiv 2405.15319, section 3) sort model growth into.
An operator is one row here and the class that the row names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from workloads.errors import Misfit
from workloads.schema.base import MOST_FEATURES, MOST_LAYERS, Config
from workloads.schema.known_names import OneOf


@dataclass(frozen=True)
class OperatorRow:
    """One operator of growth.

    `operator` names its class, `module:Class`. `order` is the layer map where none is given: base
    layers over and over (`cyclic`), each beside itself (`interleaved`), or new layers on top of all
    (`on_top`); an operator without one does not grow depth. `width` says whether it grows width,
    and `whole` whether only by whole multiples. Under `keeps_base` a layer map names every base
    layer, each before its copies and in their order. Under `silent` the features that it adds to
    the residual stream hold nothing at first where they can, so that norms need a smaller eps.
    `options` are the fields of `GrowthOptions` that it takes. Under `learns` it multiplies the base
    by matrices that are trained first, in a phase of their own.
    """

    operator: str
    order: Literal["cyclic", "interleaved", "on_top"] | None = None
    width: bool = False
    whole: bool = False
    keeps_base: bool = False
    silent: bool = False
    options: frozenset[str] = frozenset()
    learns: bool = False


OPERATORS: dict[str, OperatorRow] = {
    "stack": OperatorRow(
        operator="workloads.nn.growth.stack:Stack",
        order="cyclic",
        options=frozenset({"layers", "layer_map", "interleaved"}),
    ),
    "split": OperatorRow(
        operator="workloads.nn.growth.split:Split",
        width=True,
        whole=True,
        options=frozenset({"width", "alpha"}),
    ),
    "zero": OperatorRow(
        operator="workloads.nn.growth.zero:Zero",
        order="interleaved",
        width=True,
        keeps_base=True,
        silent=True,
        options=frozenset({"layers", "width", "layer_map", "interleaved"}),
    ),
    "learn": OperatorRow(
        operator="workloads.nn.growth.learn:Learn",
        order="cyclic",
        width=True,
        options=frozenset({"layers", "width", "layer_map", "interleaved", "learn_steps"}),
        learns=True,
    ),
    "random": OperatorRow(
        operator="workloads.nn.growth.random:Random",
        order="on_top",
        width=True,
        options=frozenset({"layers", "width", "mask_steps"}),
    ),
}


class GrowthOptions(Config):
    """One growth: the operator, and the size of the grown model.

    Depth grows where `layers` or `layer_map` is given, width where `width` is.
    """

    operator: Annotated[str, OneOf(OPERATORS, "operator")]
    """How the new parameters come about: `stack` copies layers; `split` copies features, with
    weights that sum to 1; `zero` adds what is not read yet; `learn` multiplies by trained matrices;
    `random` draws anew and fades it in (arXiv 2405.15319, section 3)."""
    layers: Annotated[int, Field(le=MOST_LAYERS)] | None = None
    """Layers of the grown model."""
    width: Annotated[int, Field(le=MOST_FEATURES)] | None = None
    """The `hidden_dim` of the grown model. `ffn_dim` and the number of heads grow in proportion;
    heads keep their size."""
    layer_map: tuple[int, ...] | None = None
    """The base layer, counted from 0, that each layer of the grown model comes from."""
    interleaved: bool = False
    """Copies of a layer stand beside it, as in 0,0,1,1; left out, `stack` and `learn` repeat all
    layers in their order, as in 0,1,0,1."""
    alpha: Annotated[float, Field(gt=0, lt=1)] | None = None
    """The weight of the first of the copies that `split` makes; the others share the rest. Left
    out, all are equal, and then get equal gradients."""
    mask_steps: PositiveInt = 5000
    """Optimizer steps in which `random` fades new layers in, and likewise new features: those of
    the FFN, then those of the residual stream, then those of the heads."""

    learn_steps: PositiveInt | None = None
    """Optimizer steps in which a run trains the matrices of `learn`, while the base is frozen, at
    the peak of the learning rate. A run needs it: no number of steps is published for language
    models of any size."""

    @property
    def row(self) -> OperatorRow:
        """The operator's row of the table."""
        return OPERATORS[self.operator]

    def written(self) -> set[str]:
        """Return the options that differ from their defaults."""
        return {
            name
            for name, field in type(self).model_fields.items()
            if name != "operator" and getattr(self, name) != field.default
        }


class GrowthPolicy(Config):
    """How a run goes on after its model has grown; the defaults are those of the stacking paper's
    public code (arXiv 2405.15319)."""

    optimizer_state: Literal["reset", "carry", "asymmetric"] = "reset"
    """`reset` starts the optimizer anew; `carry` gives copies the state of what they copy;
    `asymmetric` carries the state of the base's own parameters alone, and starts that of copies
    anew."""
    schedule: Literal["restart", "continue"] = "restart"
    """`restart` starts the schedule of the learning rate anew for the rest of the run, with its
    warm-up; `continue` goes on with the run's one schedule."""
    rewarmup_steps: NonNegativeInt = 0
    """Steps in which the learning rate rises to that of the schedule, after a growth that
    continues it."""
    base_learning_rate: PositiveFloat | None = None
    """The peak before the growth; left out, the run's."""
    data: Literal["continue", "restart"] = "continue"
    """`continue` reads on in the text; `restart` reads it from its start, in the order in which the
    base has read it."""

    @model_validator(mode="after")
    def _rises_once(self) -> Self:
        if self.schedule == "restart" and self.rewarmup_steps:
            raise Misfit(
                f"rewarmup_steps {self.rewarmup_steps} is for schedule continue; remove it, since "
                "a schedule that restarts has its own warm-up",
                "rewarmup_steps",
            )
        return self
