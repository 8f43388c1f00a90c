"""Every option of the architecture against a model written out by its definition in float64."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.workloads.definition import build, config, reference, scaled, tokens_of
from workloads.config.model import RopeScaling
from workloads.cost.flops import count_params
from workloads.nn.transformer import Transformer, rope_rotation

# Of the nine pairs of one head of 18, at a base of 500, four stay, two are mixed, three are slowed.
SCALING = {"factor": 3.0, "low_freq_factor": 1.5, "high_freq_factor": 5.0}
SCALING |= {"original_block_size": 400}
OPTIONS: dict[str, dict[str, Any]] = {
    "papers": {},
    "grouped queries": {"num_heads": 6, "attn_dim": 24, "num_kv_heads": 2},
    "one key head": {"num_heads": 5, "attn_dim": 30, "num_kv_heads": 1},
    "narrow attention": {"attn_dim": 12},
    "interpolated": {"rope_interpolation": 2.5},
    "scaled": {"num_heads": 1, "rope_scaling": SCALING},
    "absolute": {"position": "absolute"},
    "absolute with an odd head dimension": {"position": "absolute", "attn_dim": 15},
    "rmsnorm": {"norm": "rmsnorm"},
    "no bias": {"bias": False},
    "rmsnorm without bias": {"norm": "rmsnorm", "bias": False},
    "approximate gelu": {"activation": "gelu_tanh"},
    "swiglu": {"activation": "swiglu"},
    "untied": {"tie_embeddings": False},
    "inverse layer scale": {"inverse_layer_scale": True},
    "lowrank swiglu": {"activation": "swiglu", "ffn": {"kind": "lowrank", "rank": 5}},
    "all at once": {
        "num_heads": 4,
        "num_kv_heads": 2,
        "attn_dim": 16,
        "position": "absolute",
        "norm": "rmsnorm",
        "activation": "swiglu",
        "tie_embeddings": False,
        "bias": False,
        "inverse_layer_scale": True,
        "ffn": {"kind": "blockshuffle", "nblocks": 3},
    },
}
over_options = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)


@over_options
def test_logits_and_gradients_are_those_of_the_definition(options: dict[str, Any]) -> None:
    shape = config(**options)
    model = build(shape)
    tokens = tokens_of(shape)
    expected = reference(shape, model, tokens)
    direction = torch.randn_like(expected)
    wanted = torch.autograd.grad(expected, list(model.parameters()), direction)
    logits = model(tokens)
    found = torch.autograd.grad(logits, list(model.parameters()), direction)
    assert expected.std() > 0.1
    # The rotation's sines and cosines are kept in float32.
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-5)
    for (name, _), gradient, value in zip(model.named_parameters(), found, wanted, strict=True):
        size = float(value.norm())
        assert float((gradient - value).norm()) <= 1e-5 * size + 1e-9, name
        # A shift of all scores of a query is none of their shares, so the keys' bias has none.
        assert size > 0, name


@over_options
def test_every_option_changes_the_model_and_is_counted(options: dict[str, Any]) -> None:
    shape = config(**options)
    model = Transformer(shape)
    count = count_params(shape)
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert count.total == sum(sizes.values())
    ffn = {n: size for n, size in sizes.items() if ".mlp." in n and not n.endswith("bias")}
    assert count.ffn == sum(ffn.values())
    assert count.embedding == sum(size for n, size in sizes.items() if n.startswith("w"))
    if not shape.bias:
        assert not [name for name in sizes if name.endswith("bias")]
    if options:
        torch.manual_seed(1)
        model, tokens = build(shape), tokens_of(shape)
        plain = Transformer(config()).double()
        state, own = model.state_dict(), plain.state_dict()
        if all(name in state and state[name].shape == own[name].shape for name in own):
            plain.load_state_dict({name: state[name] for name in own})
            assert not torch.allclose(plain(tokens), model(tokens))


# Attention


def test_grouped_queries_are_full_attention_with_repeated_keys_and_values() -> None:
    grouped = config(num_heads=6, attn_dim=24, num_kv_heads=2)
    full = config(num_heads=6, attn_dim=24)
    model, other = build(grouped), build(full)
    state = model.state_dict()
    for name in list(state):
        if "qkv_linear" in name:
            query, key, value = state[name].split([24, 8, 8])
            repeated = (part.unflatten(0, (2, 4)).repeat_interleave(3, 0) for part in (key, value))
            state[name] = torch.cat([query, *(part.flatten(0, 1) for part in repeated)])
    other.load_state_dict(state)
    tokens = tokens_of(grouped)
    torch.testing.assert_close(model(tokens), other(tokens))
    assert count_params(full).total - count_params(grouped).total == 3 * (18 + 1) * 2 * (24 - 8)


@pytest.mark.parametrize("factor", [2.0, 3.0, 0.5])
def test_interpolation_divides_positions(factor: float) -> None:
    positions = torch.arange(0, 8, 2 if factor == 0.5 else 1)
    scaled = rope_rotation(40, 10, 500.0, factor)[:, (positions * max(factor, 1)).long()]
    plain = rope_rotation(40, 10, 500.0)[:, (positions / min(factor, 1)).long()]
    if factor == 0.5:
        scaled = rope_rotation(40, 10, 500.0, factor)[:, positions]
    torch.testing.assert_close(scaled, plain)


def test_scaling_slows_slow_features_alone_and_mixes_between() -> None:
    """Against the definition in float64, far beyond the positions of the models here."""
    block, size, scaling = 1500, 18, RopeScaling.model_validate(SCALING)
    cosine, sine = rope_rotation(block, size, 500.0, scaling=scaling)[..., : size // 2].double()
    plain = [500.0 ** (-2 * pair / size) for pair in range(size // 2)]
    slowed = [scaled(frequency, **scaling.model_dump()) for frequency in plain]
    ratios = [after / before for before, after in zip(plain, slowed, strict=True)]
    assert [ratio == 1 for ratio in ratios] == [True] * 4 + [False] * 5
    assert all(1 / 3 < ratio < 1 for ratio in ratios[4:6])
    np.testing.assert_allclose(ratios[6:], 1 / 3)
    angle = torch.arange(block).double()[:, None] * torch.tensor(slowed, dtype=torch.float64)
    torch.testing.assert_close(cosine, angle.cos(), rtol=0, atol=1e-7)
    torch.testing.assert_close(sine, angle.sin(), rtol=0, atol=1e-7)


def test_a_factor_of_one_scales_nothing() -> None:
    none = rope_rotation(40, 10, 500.0, scaling=RopeScaling(factor=1, original_block_size=17))
    torch.testing.assert_close(none, rope_rotation(40, 10, 500.0))


def test_positions_are_known_through_the_embedding_alone_when_absolute() -> None:
    shape = config(position="absolute", num_layers=1)
    model, tokens = build(shape), tokens_of(shape, batch=1)
    swapped = tokens[:, [3, 1, 2, 0, *range(4, 9)]]
    assert swapped[0, 0] != tokens[0, 0]
    assert (model(tokens) - model(swapped))[:, -1].abs().max() > 1e-3
    nn.init.zeros_(model.get_parameter("wpe.weight"))
    torch.testing.assert_close(model(tokens)[:, -1], model(swapped)[:, -1])


def test_later_layers_attend_more_evenly_under_the_inverse_scale() -> None:
    """Scores of layer l, from 1, are divided by l: as if its queries were."""
    scaled, plain = build(config(inverse_layer_scale=True)), build(config())
    state = scaled.state_dict()
    for layer in range(3):
        for name in ("weight", "bias"):
            state[f"layers.{layer}.attention.qkv_linear.{name}"][:18] /= layer + 1
    plain.load_state_dict(state)
    state = {n: t.clone() for n, t in state.items()}
    for layer in range(3):
        for name in ("weight", "bias"):
            state[f"layers.{layer}.attention.qkv_linear.{name}"][:18] *= layer + 1
    scaled.load_state_dict(state)
    tokens = tokens_of(config())
    torch.testing.assert_close(scaled(tokens), plain(tokens))


def test_left_out_widths_follow_the_others() -> None:
    assert (config().attn_dim, config().num_kv_heads) == (18, 3)
    assert config(hidden_dim=24, num_heads=4).attn_dim == 24
    assert config(num_heads=9).num_kv_heads == 9
    assert np.isclose(config().rope_interpolation, 1.0)
