"""Models between the presets: whole sizes, heads that keep their size, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from workloads.config.model import ModelConfig
from workloads.cost.flops import count_params
from workloads.errors import Misfit
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Recipe
from workloads.recipes.variant import ModelChanges
from workloads.recipes.width import scale


def model(preset: str, **changes: Any) -> ModelConfig:
    return ModelChanges(**changes).apply(PRESETS[preset].model)


@pytest.mark.parametrize("preset", PRESETS)
def test_width_one_is_the_preset(preset: str) -> None:
    assert scale(model(preset), 1.0) == model(preset)


@pytest.mark.parametrize(
    ("preset", "width"),
    [*((preset, 1.5) for preset in PRESETS), ("transformer-s", 0.5), ("mini", 2.0)],
)
def test_every_width_is_multiplied_and_nothing_else(preset: str, width: float) -> None:
    before, after = model(preset), scale(model(preset), width)
    for name in ("hidden_dim", "ffn_dim", "attn_dim"):
        assert getattr(after, name) == width * getattr(before, name)
    for name in ("num_layers", "vocab_size", "block_size", "position", "activation"):
        assert getattr(after, name) == getattr(before, name)
    if before.num_heads * width == int(before.num_heads * width):
        assert after.head_dim == before.head_dim


def test_one_preset_at_another_width_is_the_other_preset() -> None:
    # transformer-xl is l at 4/3 of its width; s at 4/3 is m but for its depth.
    large = scale(model("transformer-l"), 4 / 3)
    assert large == PRESETS["transformer-xl"].model.model_copy(
        update={"attn_dim": 2048, "num_kv_heads": 16}
    )
    wide = scale(model("transformer-s", num_layers=24), 4 / 3)
    assert count_params(wide) == count_params(PRESETS["transformer-m"].model)


def test_shared_keys_stay_shared() -> None:
    grouped = scale(model("transformer-m", num_kv_heads=4), 0.5)
    assert (grouped.num_heads, grouped.num_kv_heads, grouped.head_dim) == (8, 2, 64)


def test_where_heads_do_not_divide_the_nearest_number_of_them_does() -> None:
    # Two heads and a half of 32 become two of 40.
    half = scale(model("mini"), 0.5)
    assert (half.attn_dim, half.num_heads, half.head_dim) == (80, 2, 40)


@pytest.mark.parametrize(
    ("preset", "width", "nearest", "problem"),
    [
        ("pico", 0.3, 0.5, "makes hidden_dim 9.6, ffn_dim 38.4, attn_dim 9.6, which must be whole"),
        ("nano", 0.001, 0.25, "which must be whole"),
        ("transformer-s", 0.7, 0.6667, "which must be whole"),
        ("nano", 0.03125, 0.25, "leaves no heads of about 16 in attn_dim 2"),
        ("transformer-s", 538 / 768, 0.6667, "leaves no heads of about 64 in attn_dim 538"),
    ],
)
def test_a_width_that_does_not_fit_names_the_nearest_that_keeps_heads(
    preset: str, width: float, nearest: float, problem: str
) -> None:
    with pytest.raises(Misfit, match=f"{problem}; the nearest that keeps heads is {nearest}$"):
        scale(model(preset), width)
    assert scale(model(preset), nearest).head_dim == model(preset).head_dim


def test_ranks_follow_the_width_where_a_fraction_chooses_them() -> None:
    recipe = {"preset": "micro", "ffn": {"kind": "lowrank", "fraction": 0.3125}}
    ranks = [
        Recipe.model_validate(recipe | {"width": width}).resolve().model.ffn.rank
        for width in (0.5, 1, 2)
    ]
    assert ranks == [12, 24, 48]
