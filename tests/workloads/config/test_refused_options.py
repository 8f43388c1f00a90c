"""Options that do not fit are refused with the nearest that would."""

from typing import Any

import pytest
from pydantic import ValidationError

from tests.workloads.definition import config
from tests.workloads.small_runs import STEPS, pico


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"num_heads": 6, "attn_dim": 24, "num_kv_heads": 4},
            "num_kv_heads 4 does not divide num_heads 6; the nearest that does is 3",
        ),
        (
            {"num_kv_heads": 7},
            "num_kv_heads 7 does not divide num_heads 3; the nearest that does is 3",
        ),
        ({"attn_dim": 20}, "attn_dim 20 over num_heads 3 must give an even head dimension"),
        ({"attn_dim": 15}, "attn_dim 15 over num_heads 3 must give an even head dimension"),
        (
            {"attn_dim": 20, "position": "absolute"},
            "attn_dim 20 over num_heads 3 must give a whole head dimension",
        ),
        (
            {"guide": {"ratio": 0.5}},
            "guide needs layers with a structured FFN; remove it",
        ),
        (
            {"guide": {"ratio": 0.5}, "num_layers": 1, "ffn": {"kind": "lowrank", "rank": 4}},
            "guide needs layers with a structured FFN; remove it",
        ),
        ({"guide": {"ratio": 0.0}, "ffn": {"kind": "lowrank", "rank": 4}}, "greater than 0"),
        ({"guide": {"ratio": 1.1}, "ffn": {"kind": "lowrank", "rank": 4}}, "less than or equal"),
        ({"dropout": 1.0}, "less than 1"),
        ({"dropout": -0.1}, "greater than or equal to 0"),
        ({"rope_interpolation": 0.0}, "greater than 0"),
        ({"rope_scaling": {"factor": 0.5}}, "greater than or equal to 1"),
        ({"rope_scaling": {}}, "rope_scaling.factor"),
        (
            {"rope_scaling": {"factor": 2, "low_freq_factor": 4}},
            "high_freq_factor 4 must exceed low_freq_factor 4; Llama 3 has 4 and 1",
        ),
        (
            {"rope_scaling": {"factor": 2}, "rope_interpolation": 2},
            "rope_interpolation 2 and rope_scaling both stretch the positions; remove one",
        ),
        ({"position": "alibi"}, "'rope' or 'absolute'"),
        ({"norm": "batchnorm"}, "'layernorm' or 'rmsnorm'"),
        ({"activation": "relu"}, "should be 'gelu', .*'swiglu'"),
        (
            {"activation": "swiglu", "ffn": {"kind": "blockshuffle", "nblocks": 6}},
            "6 does not divide ffn_dim 45; the nearest that divides hidden_dim, ffn_dim is 3",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_with_the_nearest(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**options)


def test_the_head_dimension_that_does_not_fit_is_refused_with_the_nearest_width() -> None:
    with pytest.raises(ValidationError, match=r"attn_dim 20 .* nearest .* 18"):
        config(attn_dim=20)
    assert config(attn_dim=18).head_dim == 6


def test_a_guide_of_less_than_a_step_is_refused_with_the_least_ratio() -> None:
    with pytest.raises(ValidationError, match=rf"guide.ratio 0.01 of {STEPS} .* use 0.025 or more"):
        pico(guide={"ratio": 0.01})
    assert pico(guide={"ratio": 0.025}).phases[0].steps == 1
