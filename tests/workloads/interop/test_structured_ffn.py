"""Import of the public implementation's weights: the same numbers, and clear refusals."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.workloads import published
from tests.workloads.published import Shape, State, Training
from tests.workloads.reference_models import (
    FIRST,
    PEAK,
    SHAPES,
    STEPS,
    batches_of,
    config_of,
    difference,
    state_of,
)
from workloads.config.run import RunConfig
from workloads.data.config import DataConfig
from workloads.errors import InputError
from workloads.interop.structured_ffn import load_structured_ffn
from workloads.nn.self_guided import set_guides
from workloads.nn.transformer import Transformer
from workloads.optim.adamw import AdamWConfig
from workloads.optim.build import build_optimizer
from workloads.optim.schedules import learning_rate

over_shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def run_of(shape: Shape) -> RunConfig:
    return RunConfig(
        model=config_of(shape),
        data=DataConfig(),
        optimizer=AdamWConfig(learning_rate=PEAK),
        batch_size=4,
        steps=STEPS,
        seed=0,
        eval_tokens=100,
    )


def published_names(model: Transformer, of: str = "data") -> dict[str, Tensor]:
    """The parameters, or their gradients, by the names that the definition gives them."""
    named = {}
    for name, parameter in model.named_parameters():
        owner, leaf = name.rsplit(".", 1)
        if leaf in ("u", "v"):
            weight = model.get_parameter(f"{owner}.v")
            blocks = weight.ndim == 3
            both = blocks and model.get_parameter(f"{owner}.u").ndim == 3
            pair = ("blkdiag1", "blkdiag2") if both else ("blkdiag", "lr")
            leaf = (pair if blocks else ("lr1", "lr2"))[leaf == "u"]
        owner = owner.replace(".attention", "")
        owner = owner if owner == "lm_head" else f"model.{owner}"
        leaf = "guide_linear" if leaf == "guide" else leaf
        named[f"{owner}.{leaf}"] = getattr(parameter, of)
    return named


# The same numbers


@over_shapes
def test_logits_loss_and_gradients_are_those_of_the_published_model(shape: Shape) -> None:
    state = state_of(shape)
    model = load_structured_ffn(state, config_of(shape))
    ((tokens, labels),) = batches_of(shape, 1)
    with torch.no_grad():
        expected = published.logits(shape, state, tokens)
    logits = model(tokens)
    assert expected.std() > 0.1
    assert difference(logits, expected) < 1e-5
    loss = model(tokens, labels)
    loss.backward()
    value, grads = published.gradients(shape, state, tokens, labels)
    assert loss.item() == pytest.approx(value, rel=1e-5)
    for name, found in published_names(model, "grad").items():
        assert difference(found, grads.pop(name)) < 1e-5, name
    assert not grads


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        *(pytest.param(shape, torch.float64, id=name) for name, shape in SHAPES.items()),
        pytest.param(SHAPES["guided lowrank"], torch.float32, id="guided lowrank in fp32"),
    ],
)
def test_six_steps_of_adamw_are_those_of_the_published_trainer(
    shape: Shape, dtype: torch.dtype
) -> None:
    state = published.converted(state_of(shape), dtype)
    model = load_structured_ffn(state, config_of(shape)).to(dtype)
    run, batches = run_of(shape), batches_of(shape, 6)
    found = train(model, batches, run)
    plan = Training(STEPS, PEAK, run.phases[0].steps)
    expected = published.train(shape, state, batches, plan, FIRST)
    assert found == pytest.approx(expected, rel=1e-5)
    set_guides(model, FIRST + 6, run)
    tokens, _ = batches[0]
    with torch.no_grad():
        assert difference(model(tokens), published.logits(shape, state, tokens)) < 1e-5
    if dtype == torch.float64:
        # In fp32, Adam makes whole steps of gradients that are rounding alone.
        for name, weight in published_names(model).items():
            assert difference(weight, state[name]) < 1e-5, name


def train(model: Transformer, batches: list[tuple[Tensor, Tensor]], run: RunConfig) -> list[float]:
    """The platform's own steps from step `FIRST` on; the losses."""
    optimizer = build_optimizer(model, run.optimizer)
    losses = []
    for index, (tokens, labels) in enumerate(batches, start=FIRST):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(index, run.total_steps, run.optimizer)
        set_guides(model, index, run)
        logits = model(tokens).flatten(0, 1)
        loss = nn.functional.cross_entropy(logits, labels.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), run.optimizer.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_the_share_goes_on_where_it_was() -> None:
    shape = SHAPES["guided lowrank"]
    state = state_of(shape)
    model = load_structured_ffn(state, config_of(shape))
    guides = {n: p for n, p in model.named_parameters() if n.endswith(".guide")}
    assert len(guides) == 4
    for name, guide in guides.items():
        their = f"model.{name.removesuffix('.guide')}"
        assert torch.equal(guide, state[f"{their}.guide_linear"])
        projection = model.get_submodule(name.removesuffix(".guide"))
        assert projection.guide_weight == state[f"{their}.ratio"] < 1
    before = float(projection.guide_weight)  # type: ignore[possibly-unbound]  # there are four
    count = int(state["model.layers.1.mlp.fc1.count"])
    assert set_guides(model, count, run_of(shape)) == pytest.approx(before, rel=1e-6)


@pytest.mark.parametrize("guided", [True, False], ids=["config guided", "config unguided"])
def test_guides_of_share_0_are_dropped(guided: bool) -> None:
    shape = SHAPES["guided blockshuffle"]
    state = state_of(shape, guided_for=STEPS // 2)
    assert not state["model.layers.0.mlp.fc1.ratio"]
    config = config_of(replace(shape, guided=guided))
    model = load_structured_ffn(state, config)
    assert not any("guide" in name for name, _ in model.named_parameters())
    ((tokens, _),) = batches_of(shape, 1)
    with torch.no_grad():
        assert difference(model(tokens), published.logits(shape, state, tokens)) < 1e-5


def test_an_unguided_state_starts_guidance_later() -> None:
    shape = SHAPES["lowrank"]
    model = load_structured_ffn(state_of(shape), config_of(replace(shape, guided=True)))
    assert not any("guide" in name for name, _ in model.named_parameters())


def test_gelu_is_the_public_codes_under_gelu_tanh_and_exact_under_gelu() -> None:
    shape = SHAPES["lowrank"]
    state = state_of(shape)
    ((tokens, _),) = batches_of(shape, 1)
    config = config_of(shape)
    with torch.no_grad():
        theirs = published.logits(replace(shape, gelu="tanh"), state, tokens)
        tanh = load_structured_ffn(state, config.model_copy(update={"activation": "gelu_tanh"}))
        assert difference(tanh(tokens), theirs) < 1e-5
        assert 1e-6 < difference(load_structured_ffn(state, config)(tokens), theirs) < 1e-3


# What it takes


@pytest.mark.parametrize("form", ["bare", "model", "module", "model and module"])
def test_forms_of_a_checkpoint(form: str) -> None:
    shape = SHAPES["lowrank"]
    state: dict[str, Any] = dict(state_of(shape))
    expected = load_structured_ffn(state, config_of(shape)).state_dict()
    if "module" in form:
        state = {f"module.{name}": value for name, value in state.items()}
    if "model" in form:
        state = {"model": state, "step": 5999, "optimizer": {"state": {}}, "nparam": 3}
    found = load_structured_ffn(state, config_of(shape)).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)


def test_entries_without_weights_and_a_tied_head_may_be_there_or_not() -> None:
    shape = SHAPES["lowrank"]
    state: dict[str, Any] = dict(state_of(shape))
    expected = load_structured_ffn(state, config_of(shape)).state_dict()
    del state["lm_head.weight"]
    state["model.layers.0.ln1._extra_state"] = None
    found = load_structured_ffn(state, config_of(shape)).state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_the_model_is_a_copy_in_fp32_and_draws_nothing() -> None:
    shape = SHAPES["untied"]
    state = {name: value.bfloat16() for name, value in state_of(shape).items()}
    before = torch.get_rng_state()
    model = load_structured_ffn(state, config_of(shape))
    assert torch.equal(torch.get_rng_state(), before)
    kept = {name: value.clone() for name, value in state.items()}
    for parameter in model.parameters():
        assert parameter.dtype == torch.float32 and parameter.requires_grad
        nn.init.zeros_(parameter)
    assert all(torch.equal(state[name], kept[name]) for name in state)


def test_layernorms_without_biases_are_taken_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    shape = SHAPES["no biases"]
    load_structured_ffn(state_of(shape), config_of(shape))
    assert not caplog.messages
    config = config_of(replace(shape, norm="layernorm"))
    model = load_structured_ffn(state_of(shape), config)
    assert model.state_dict().keys() == Transformer(config).state_dict().keys()
    (message,) = caplog.messages
    assert "model.norm: rmsnorm" in message


# What it refuses


@pytest.mark.parametrize(
    ("saved", "configured", "expected"),
    [
        ({"rank": 9}, {}, r"fc2.lr1 is \(9, 45\) .* and \(5, 45\) .*; set ffn.rank: 9"),
        ({"vocab_size": 41}, {}, r"wte.weight is \(41, 18\) .*; set model.vocab_size: 41"),
        ({"hidden_dim": 24}, {}, r"wte.weight is \(37, 24\) .*; set model.hidden_dim: 24"),
        ({"ffn_dim": 63}, {}, r"mlp.fc2.weight is .*; set model.ffn_dim: 63"),
        ({"attn_dim": 24}, {}, r"o_linear.weight is \(18, 24\) .*; set model.attn_dim: 24"),
        ({"num_kv_heads": 1}, {}, r"qkv_linear.\w+ is \(30.* set model.num_kv_heads: 1"),
        ({"num_layers": 4}, {}, r"unexpected model.layers.3.* set model.num_layers: 4"),
        ({"num_layers": 2}, {}, r"missing model.layers.2.*\(and \d+ more\); set .*_layers: 2"),
        ({"first_layer": False}, {}, r"set ffn.keep_first_dense: false"),
        ({}, {"first_layer": False}, r"set ffn.keep_first_dense: true"),
        ({"kind": "linear"}, {}, r"missing .*lr1.* unexpected .*weight; set ffn.kind: dense"),
        ({"kind": "blockshuffle"}, {}, r"set ffn.kind: blockshuffle"),
        ({"kind": "blockdense", "rank": 6}, {"kind": "linear"}, r"set ffn.kind: blockdense"),
        ({"act": "swiglu"}, {}, r"mlp.fc1.\w+ is .*; set model.activation: swiglu"),
        ({}, {"act": "swiglu"}, r"mlp.fc1.\w+ is .*; set model.activation: gelu"),
        ({"norm": "rmsnorm"}, {}, r"missing .*ln1.bias.*; set model.norm: rmsnorm"),
        ({}, {"norm": "rmsnorm"}, r"unexpected .*ln1.bias.*; set model.norm: layernorm"),
        ({"bias": False}, {}, r"missing .*; set model.bias: false$"),
        ({"bias": False, "norm": "rmsnorm"}, {}, r"set model.bias: false and model.norm: rmsnorm"),
        ({}, {"bias": False}, r"unexpected .*; set model.bias: true"),
        ({"position": "absolute"}, {}, r"unexpected model.wpe.weight; set .*position: absolute"),
        ({}, {"position": "absolute"}, r"missing model.wpe.weight; set .*position: rope"),
        ({"tied": False}, {}, r"lm_head.weight differs from .*; set .*tie_embeddings: false"),
        ({}, {"tied": False}, r"lm_head.weight equals .*; set model.tie_embeddings: true"),
        ({"guided": True}, {}, r"mlp.fc1.guide_linear: .* guided with ratio 0.79.* add guide: "),
    ],
)
def test_another_model_is_one_line_with_the_remedy(
    saved: dict[str, Any], configured: dict[str, Any], expected: str
) -> None:
    shape = Shape("lowrank")
    state = state_of(replace(shape, **saved))
    with pytest.raises(InputError, match=expected) as caught:
        load_structured_ffn(state, config_of(replace(shape, **configured)))
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("kind", "saved", "expected"),
    [
        ("blockdense", {"nblocks": 9}, r"fc2.blkdiag is .*; set ffn.nblocks: 9"),
        ("blockdense", {"rank": 18}, r"fc2.blkdiag is \(3, 6, 15\) .*; set ffn.rank: 18"),
        ("blockdense", {"ffn_dim": 63}, r"set model.ffn_dim: 63"),
        ("blockshuffle", {"nblocks": 9}, r"fc2.blkdiag1 is .*; set ffn.nblocks: 9"),
        ("blockshuffle", {"ffn_dim": 63}, r"set model.ffn_dim: 63"),
        ("blockshuffle", {"ffn_dim": 9}, r"set model.ffn_dim: 9"),
        ("blockshuffle", {"act": "swiglu"}, r"set model.activation: swiglu"),
    ],
)
def test_other_blocks_are_one_line_with_the_remedy(
    kind: Any, saved: dict[str, Any], expected: str
) -> None:
    shape = Shape(kind, rank=9, first_layer=False)
    state = state_of(replace(shape, **saved))
    with pytest.raises(InputError, match=expected):
        load_structured_ffn(state, config_of(shape))


def test_more_positions_than_the_block_size() -> None:
    shape = SHAPES["absolute"]
    config = config_of(replace(shape, max_positions=7))
    with pytest.raises(InputError, match=r"wpe.weight is \(11, 18\) .*model.block_size: 11"):
        load_structured_ffn(state_of(shape), config)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state: state.pop("model.layers.1.ln1.weight"), "missing model.layers.1.ln1.weight"),
        (lambda state: state.update(extra=torch.ones(1)), "unexpected extra; give"),
        (
            lambda state: state.clear(),
            r"model.wte.weight is not among the entries \(there are none\)",
        ),
        (lambda state: state.update({"model.ln_f.bias": 3.0}), "model.ln_f.bias is a float"),
        (
            lambda state: state.update({"model.ln_f.bias": torch.zeros(18, dtype=torch.int64)}),
            "model.ln_f.bias is of torch.int64",
        ),
        (
            lambda state: state.update({"model.ln_f.bias": torch.zeros(18, 1)}),
            r"model.ln_f.bias is \(18, 1\) in the checkpoint and \(18,\) in the",
        ),
        (
            lambda state: state.pop("model.layers.2.mlp.fc1.ratio"),
            "missing model.layers.2.mlp.fc1.ratio; give",
        ),
        (
            lambda state: state.pop("model.layers.2.mlp.fc1.guide_linear"),
            "missing model.layers.2.mlp.fc1.guide_linear; give",
        ),
    ],
)
def test_a_damaged_state_is_one_line(change: Callable[[State], object], expected: str) -> None:
    shape = SHAPES["guided lowrank"]
    state = state_of(shape)
    change(state)
    with pytest.raises(InputError, match=expected):
        load_structured_ffn(state, config_of(shape))


@pytest.mark.parametrize("content", [torch.ones(3), [1, 2], None, {1: torch.ones(2)}])
def test_what_is_not_a_state_dict_is_one_line(content: Any) -> None:
    with pytest.raises(InputError, match="holds no state dict"):
        load_structured_ffn(content, config_of(Shape()))
