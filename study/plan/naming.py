"""Names of points: the parts of an id, and words for a combination that is not a point.

An id rounds its numbers, to be read. `exact` parts write them in full: with the steps they tell any
two points of a study apart.
"""

from __future__ import annotations

import json
from typing import Any

from workloads.config.model import GuideConfig
from workloads.recipes.variant import ModelChanges, Variant
from workloads.schema.base import Config

# How ids abbreviate the sizes of a changed model.
SIZE_LETTERS = {
    "vocab_size": "v",
    "block_size": "t",
    "num_layers": "l",
    "hidden_dim": "d",
    "ffn_dim": "f",
    "attn_dim": "a",
    "num_heads": "q",
    "num_kv_heads": "kv",
}


# Fields of an identity that points with the same short id may differ in; exact ids tell them apart.
ROUNDED_FIELDS = {"steps", "optimizer.learning_rate", "model.guide.ratio"}


# Names of folders hold 255 characters and MLflow's names of runs 250. The digits of an exact id, or
# the time of a dropped run, come on top.
LONGEST_NAME = 200


def shape_parts(variant: Variant, exact: bool = False) -> list[str]:
    """Return preset, changes of the model and width: `micro-kv1-w0.5`."""
    width = [f"w{_digits(variant.width, exact)}"] if variant.width != 1 else []
    return [variant.preset.removeprefix("transformer-"), *_model_parts(variant.model), *width]


def guide_parts(guide: GuideConfig | None, exact: bool = False) -> list[str]:
    """Return the guide's ratio and what differs from the defaults: `guided0.4`, `linear`."""
    if guide is None:
        return []
    changed = guide.model_dump(exclude_defaults=True, exclude={"ratio", "reduce_flops"})
    whole = [] if guide.reduce_flops else ["everystep"]
    return [f"guided{_digits(guide.ratio, exact)}", *changed.values(), *whole]


def growth_parts(variant: Variant) -> list[str]:
    """Return each growth of the model: `stackx4at0.3`."""
    return [growth.label().replace(" ", "").replace(",", ".") for growth in variant.grow]


def length_parts(variant: Variant, train_flops: int, steps: int | None = None) -> list[str]:
    """Return the FLOPs that the run spends, `c1.01e19`, or its target under `isoflop`, `iso1e19`,
    and with `steps` their number, `steps2001`."""
    target = variant.budget and variant.budget.exact_flops
    text = f"iso{target:g}" if target else f"c{train_flops:.2e}"
    return [text.replace("e+", "e"), *([f"steps{steps}"] if steps else [])]


def recipe_parts(variant: Variant, exact: bool = False) -> list[str]:
    """Return what is given in place of the preset's recipe: `lr0.001`, `bs64`."""
    rate = variant.learning_rate
    rate = [f"lr{_digits(rate, exact)}"] if rate else []
    # `b` followed by a number is the number of an FFN's blocks.
    return rate + ([f"bs{variant.batch_size}"] if variant.batch_size else [])


def optimizer_parts(variant: Variant) -> list[str]:
    """Return the variant's own optimizer, and what is written of it: `sophia_g`, `rho=0.04`."""
    return variant.optimizer.written_words() if variant.optimizer else []


def rule_parts(variant: Variant) -> list[str]:
    """Return the transfer rule: `mup`, `mup64`; nothing for `fixed`."""
    return [label] if (label := variant.recipe.label()) else []


def mixture_parts(variant: Variant, exact: bool = False) -> list[str]:
    """Return the weights of the variant's own mixture: `web0.8`, `code0.2`."""
    mixture = variant.mixture or {}
    return [f"{name}{_digits(weight, exact)}" for name, weight in mixture.items()]


def require_name(name: str) -> None:
    """Raise ValueError where a name is too long to be that of a folder and of a run in MLflow."""
    if len(name) > LONGEST_NAME:
        raise ValueError(
            f"its id {name} has {len(name)} characters, and {LONGEST_NAME} are the most; change "
            "less of the model, or write shorter numbers"
        )


def describe(variant: Variant) -> str:
    """Return a combination in words, as the study file gives it; it need not be a run."""
    exact = variant.budget and variant.budget.exact_flops
    parts = [
        *shape_parts(variant),
        variant.arm_name(),
        f"at {exact:g} FLOPs" if exact else "",
        *recipe_parts(variant),
        f"seed{variant.seed}",
    ]
    return " ".join(part for part in parts if part)


def variant_tag(variant: Variant) -> str:
    """Return the tag of the variant's run in the ledger: what differs from the defaults, as
    JSON."""
    return json.dumps(variant.tree())


def _digits(value: float, exact: bool) -> str:
    return repr(value) if exact else f"{value:g}"


def _model_parts(changes: ModelChanges) -> list[str]:
    """Return the changes of a model: `f4864`, `kv4`, `rmsnorm`, `bias=False`."""
    return [_change(name, getattr(changes, name)) for name in changes.written()]


def _change(name: str, value: Any) -> str:
    """Return one change; that of an option with fields has the values of all of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, Config):
        value = "x".join(map(str, value.model_dump().values()))
    return f"{SIZE_LETTERS[name]}{value}" if name in SIZE_LETTERS else f"{name}={value}"
