"""Growth of a model from a smaller one: the shape that comes of what is asked for (no torch)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from workloads.config.growth_options import OPERATORS, GrowthOptions, GrowthPolicy
from workloads.config.model import GrowthConfig, ModelConfig
from workloads.errors import Misfit

# The base layer that each layer of a grown model comes from; None where it is new.
LayerMap = tuple[int | None, ...]
# What grows with the width, beside sizes of the FFN kind.
PROPORTIONAL = ("hidden_dim", "ffn_dim", "attn_dim", "num_heads", "num_kv_heads")


@dataclass(frozen=True)
class GrowthPlan:
    """The shapes of one growth: of the `base`, of the base in the new width (`wide`), and of the
    grown `model`, whose layers come from those of the base as `layer_map` says."""

    options: GrowthOptions
    base: ModelConfig
    wide: ModelConfig
    model: ModelConfig
    layer_map: LayerMap

    @property
    def widens(self) -> bool:
        """True where the growth is in width."""
        return self.wide is not self.base

    @property
    def deepens(self) -> bool:
        """True where the growth is in depth."""
        return self.model is not self.wide


def plan_growth(base: ModelConfig, options: GrowthOptions) -> GrowthPlan:
    """Return the shapes of a growth of `base`.

    Raises Misfit, with the nearest value that works, where the options do not fit the base.
    """
    if base.scaling:
        raise Misfit(
            "a transfer rule has set this model's multipliers for its size, and growth would leave "
            "them behind; grow a model of recipe: fixed",
            *("recipe", "grow"),
        )
    _check_options(base, options)
    wide = base if options.width is None else _widened(base, options, options.width)
    if options.layers is None and options.layer_map is None:
        return GrowthPlan(options, base, wide, wide, tuple(range(base.num_layers)))
    layer_map = _layer_map(base, options)
    return GrowthPlan(options, base, wide, _deepened(wide, layer_map), layer_map)


def grown_model(
    base: ModelConfig, options: GrowthOptions, policy: GrowthPolicy, **at: Any
) -> ModelConfig:
    """Return the model of a run that trains `base` first; `at` is `at_step` or `at_fraction`.

    Raises Misfit as `plan_growth` does.
    """
    if options.row.learns:
        _check_learning(options, policy)
    model = plan_growth(base, options).model
    given = dict(options) | dict(policy) | at | {"base": base}
    return model.model_copy(update={"growth": GrowthConfig.model_validate(given)})


def _check_learning(options: GrowthOptions, policy: GrowthPolicy) -> None:
    if options.learn_steps is None:
        raise Misfit(
            f"operator {options.operator} trains its matrices in steps of the run; give "
            "learn_steps, such as 100",
            *("learn_steps", "operator"),
        )
    if policy.optimizer_state != "reset":
        raise Misfit(
            f"optimizer_state {policy.optimizer_state} has nothing to carry: under operator "
            f"{options.operator} every weight is a sum of many; use reset",
            "optimizer_state",
        )


def plan_of(growth: GrowthConfig) -> GrowthPlan:
    """Return the shapes of a growth in the course of a run."""
    options = {name: getattr(growth, name) for name in GrowthOptions.model_fields}
    return plan_growth(growth.base, GrowthOptions.model_validate(options))


def smaller_model(
    grown: ModelConfig, layers: int | None = None, width: int | None = None
) -> ModelConfig:
    """Return the model of fewer layers, or of a smaller width, that grows into `grown`.

    Raises Misfit, with the nearest value that works, where there is none of that size.
    """
    if layers is not None and layers >= grown.num_layers:
        works = f"the nearest that are is {grown.num_layers - 1}"
        raise Misfit(
            f"base.layers {layers} are not fewer than the grown model's {grown.num_layers}; "
            + (works if grown.num_layers > 1 else "give the model more num_layers"),
            *("base.layers", "base.factor"),
        )
    changes: dict[str, Any] = {} if layers is None else {"num_layers": layers}
    if width is not None:
        changes |= _narrowed(grown, width)
    return _changed(grown, changes)


def _narrowed(grown: ModelConfig, width: int) -> dict[str, Any]:
    """Return the sizes of a model of that `hidden_dim` in the proportions of the grown one."""
    hidden = grown.hidden_dim
    sizes = {name: getattr(grown, name) for name in PROPORTIONAL}
    ffn = {name: grown.ffn.sizes[name] for name in grown.ffn.row.grows}
    unit = hidden // math.gcd(*sizes.values(), *ffn.values())
    if width >= hidden or width % unit:
        works = max(1, min(hidden // unit - 1, math.floor(width / unit + 0.5))) * unit
        raise Misfit(
            f"base.width {width} makes no whole {', '.join((*sizes, *ffn))} below those of the "
            f"grown model's {hidden}; the nearest that does is {works}",
            *("base.width", "base.factor"),
        )
    shrunk = {name: size * width // hidden for name, size in sizes.items()}
    own = {name: size * width // hidden for name, size in ffn.items()}
    return shrunk | {"ffn": grown.ffn.model_copy(update=own)}


def _check_options(base: ModelConfig, options: GrowthOptions) -> None:
    row, written = options.row, options.written()
    for name in sorted(written - row.options):
        takers = [other for other, its in OPERATORS.items() if name in its.options]
        raise Misfit(
            f"{name} {getattr(options, name)} does not apply to operator {options.operator}; "
            f"remove it, or use {' or '.join(takers)}",
            name,
        )
    if base.guide is not None:
        raise Misfit("a model with a guide does not grow; drop the guide first", "guide")
    if not written & {"layers", "layer_map", "width"}:
        sizes = [name for name in ("layers", "width") if name in row.options]
        raise Misfit(f"nothing is asked to grow; give {' or '.join(sizes)}", *sizes)
    if options.interleaved and (options.layer_map is not None or options.layers is None):
        raise Misfit(
            "interleaved says how the base's layers repeat up to a number of layers; give layers, "
            "and no layer_map",
            "interleaved",
        )


# Depth


def _layer_map(base: ModelConfig, options: GrowthOptions) -> LayerMap:
    given, old = options.layer_map, base.num_layers
    shown = listed(given or ())
    for layer in given or ():
        if not 0 <= layer < old:
            raise Misfit(
                f"layer_map {shown} names layer {layer}, and the base has layers 0 to {old - 1}; "
                f"the nearest is {0 if layer < 0 else old - 1}",
                "layer_map",
            )
    layers = len(given or ()) if options.layers is None else options.layers
    if layers <= old:
        asked = (
            f"layers {layers} is" if given is None else f"layer_map {shown} has {layers} layers,"
        )
        raise Misfit(
            f"{asked} not more than the base's {old}; the nearest number that grows it is "
            f"{old + 1}",
            *("layers", "layer_map"),
        )
    if given is None:
        return _repeated(base, options, layers)
    if len(given) != layers:
        raise Misfit(
            f"layer_map {shown} has {len(given)} layers and layers is {layers}; give layers "
            f"{len(given)}, or leave it out",
            *("layers", "layer_map"),
        )
    if options.row.keeps_base and list(dict.fromkeys(given)) != list(range(old)):
        raise Misfit(
            f"layer_map {shown} does not keep the base's layers 0 to {old - 1} in their order, as "
            f"operator {options.operator} needs; one that does is "
            f"{listed(_repeated(base, options, layers))}",
            "layer_map",
        )
    return given


def _repeated(base: ModelConfig, options: GrowthOptions, layers: int) -> LayerMap:
    """Return the layer map of the operator's order.

    A first layer whose FFN alone is dense is not repeated: the first layer stays the dense one.
    """
    order, old = "interleaved" if options.interleaved else options.row.order, base.num_layers
    if order == "on_top":
        return (*range(old), *[None] * (layers - old))
    kept = 1 if not base.ffn.is_dense and base.ffn.dense_at(0) else 0
    if old == kept:
        raise Misfit(
            "the base has one layer, whose FFN is dense while that of further layers would not be; "
            f"give layer_map {','.join('0' * layers)} for dense ones, or a base of 2 layers",
            "layer_map",
        )
    places, pool = range(layers - kept), old - kept
    if order == "interleaved":
        repeated = [kept + place * pool // len(places) for place in places]
    else:
        repeated = [kept + place % pool for place in places]
    return (*range(kept), *repeated)


def _deepened(model: ModelConfig, layer_map: LayerMap) -> ModelConfig:
    ffn = model.ffn
    if not ffn.is_dense:
        dense = [at for at, layer in enumerate(layer_map) if layer is not None]
        dense = [at for at in dense if ffn.dense_at(layer_map[at] or 0)]
        places = {"keep_first_dense": 0 in dense, "dense_layers": tuple(at for at in dense if at)}
        ffn = ffn.model_copy(update=places)
    return _changed(model, {"num_layers": len(layer_map), "ffn": ffn})


# Width


def _widened(base: ModelConfig, options: GrowthOptions, width: int) -> ModelConfig:
    hidden, row = base.hidden_dim, options.row
    proportional = {name: getattr(base, name) for name in PROPORTIONAL}
    ffn = {name: base.ffn.sizes[name] for name in base.ffn.row.grows}
    whole = row.whole or base.ffn.row.grows_whole
    # The least step of the width at which all sizes are whole.
    unit = hidden if whole else hidden // math.gcd(*proportional.values(), *ffn.values())
    if width <= hidden or width % unit:
        raise Misfit(_width_problem(base, options, width, unit), "width")
    ratio = Fraction(width, hidden)
    scaled = {name: int(size * ratio) for name, size in proportional.items()}
    sizes = {name: int(size * ratio) for name, size in ffn.items()}
    eps = {"norm_eps": base.norm_eps * hidden / width} if silent_stream(base, options) else {}
    return _changed(base, scaled | eps | {"ffn": base.ffn.model_copy(update=sizes)})


def silent_stream(base: ModelConfig, options: GrowthOptions) -> bool:
    """Return whether the features that a growth adds to the residual stream hold nothing at first.

    To LayerNorm nothing is the mean of the others, which some FFN kinds cannot write.
    """
    return options.row.silent and not (base.norm == "layernorm" and base.ffn.row.grows_whole)


def _width_problem(base: ModelConfig, options: GrowthOptions, width: int, unit: int) -> str:
    hidden = base.hidden_dim
    nearest = max(hidden // unit + 1, math.floor(width / unit + 0.5)) * unit
    works = f"the nearest that works is {nearest}"
    if width <= hidden:
        return f"width {width} is not above the base's hidden_dim {hidden}; {works}"
    if unit == hidden:
        reason = f"operator {options.operator}" if options.row.whole else f"kind {base.ffn.kind}"
        return (
            f"width {width} is no multiple of the base's hidden_dim {hidden}, as {reason} needs; "
            f"{works}"
        )
    counted = {name: getattr(base, name) for name in ("num_heads", "num_kv_heads", "ffn_dim")}
    counted |= {name: base.ffn.sizes[name] for name in base.ffn.row.grows}
    wrong = [
        f"{name} {size * width / hidden:g}"
        for name, size in counted.items()
        if size * width % hidden
    ]
    return (
        f"width {width} makes {', '.join(wrong)}, which must be whole, since heads keep their "
        f"size; {works}"
    )


def _changed(model: ModelConfig, changes: dict[str, Any]) -> ModelConfig:
    return ModelConfig.model_validate(dict(model) | {"growth": None} | changes)


def listed(layer_map: Sequence[int | None]) -> str:
    """Return a layer map as people write it, with `-` for a new layer."""
    return ",".join("-" if layer is None else str(layer) for layer in layer_map)
