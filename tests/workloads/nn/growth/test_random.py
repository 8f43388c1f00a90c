"""Masks: the base's function at 0, the grown weights at 1, and in between as the formulas say."""

from typing import Any

import pytest
import torch

from tests.workloads.grown import FFNS, LLAMA, OPTIONS, base_of, built, grown_by, moved
from workloads.nn.growth.random import add_masks

G = 4
BOTH = {"operator": "random", "layers": 4, "width": 32, "mask_steps": G}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("ffn", FFNS)
def test_masks_begin_at_the_base_and_end_at_the_weights(
    ffn: dict[str, Any], options: dict[str, Any]
) -> None:
    model = built(base_of(ffn=ffn, **options))
    operator, plain = grown_by(model, **BOTH)
    _, grown = grown_by(model, **BOTH)
    masks = add_masks(grown, operator.plan)
    assert {*grown.state_dict()} == {*plain.state_dict()}
    for training in (False, True):
        grown.train(training)
        masks.set(0)
        assert moved(model, grown) < 1e-12
        for step in (1, G, 2 * G, 3 * G - 1):
            masks.set(step)
            assert moved(model, grown) > 1e-6 and moved(plain, grown) > 1e-6
        masks.set(3 * G)
        assert moved(plain, grown) < 1e-12


def test_the_parts_of_the_width_fade_in_one_after_the_other() -> None:
    operator, grown = grown_by(built(base_of()), **BOTH)
    masks = add_masks(grown, operator.plan)
    found = []
    for step in range(0, 3 * G + 2, 2):
        masks.set(step)
        assert all(mask[:16].eq(1).all() for mask in (masks.ffn, masks.stream, masks.heads))
        found.append([float(m[-1]) for m in (masks.block, masks.ffn, masks.stream, masks.heads)])
    assert found == [
        [0, 0, 0, 0],
        [0.5, 0.5, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 0.5, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 0.5],
        [1, 1, 1, 1],
    ]


def test_a_new_layer_gives_its_share_of_its_output() -> None:
    operator, grown = grown_by(built(base_of(**LLAMA)), operator="random", layers=3, mask_steps=G)
    masks = add_masks(grown, operator.plan)
    x = torch.randn(2, 5, 16, dtype=torch.float64)
    rotation = grown.rotation
    assert rotation is not None
    masks.set(G)
    whole = grown.layers[2](x, rotation[:, :5])
    masks.set(1)
    assert torch.allclose(grown.layers[2](x, rotation[:, :5]), 0.25 * whole + 0.75 * x)


def test_norms_count_a_feature_as_much_as_its_mask() -> None:
    operator, grown = grown_by(built(base_of(norm="rmsnorm")), **BOTH)
    masks = add_masks(grown, operator.plan)
    masks.set(G + 1)  # a quarter of 16 new features
    x = torch.randn(3, 32, dtype=torch.float64)
    rms = ((x**2).sum(-1, keepdim=True) / (16 + 4) + 1e-5).sqrt()
    assert torch.allclose(grown.ln_f(x), x / rms * grown.get_parameter("ln_f.weight"))
