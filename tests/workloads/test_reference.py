"""Import of the public implementation's weights: the same numbers, and clear refusals."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn

from tests.workloads import published
from tests.workloads.published import Shape, State, Training
from workloads.__main__ import main
from workloads.config import (
    DataConfig,
    FFNConfig,
    GuideConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
)
from workloads.errors import InputError
from workloads.model import Transformer, next_token_loss
from workloads.optim import build_optimizer, learning_rate
from workloads.reference import import_reference, load_model, load_structured_ffn, save_model
from workloads.self_guided import drop_guides, set_guides

ROOT = Path(__file__).parents[2]
STEPS, FIRST, PEAK = 20, 3, 6e-4
GUIDE = GuideConfig(ratio=0.5, mode="fixed_steps", reduce_flops=False)
GQA = Shape("lowrank", attn_dim=40, num_q_heads=4, num_kv_heads=2)
SHAPES = {
    "dense": Shape(),
    "lowrank": Shape("lowrank"),
    "blockdense": Shape("blockdense", rank=6),
    "blockshuffle": Shape("blockshuffle"),
    "first layer too": Shape("blockshuffle", nblocks=9, first_layer=False),
    "narrow ffn": Shape("blockshuffle", ffn_dim=9),
    "grouped queries": GQA,
    "untied": Shape("blockdense", rank=6, tied=False),
    "swiglu": Shape("lowrank", act="swiglu"),
    "swiglu in blocks": Shape("blockshuffle", act="swiglu"),
    "rmsnorm": Shape("lowrank", norm="rmsnorm"),
    "no biases": Shape("lowrank", norm="rmsnorm", bias=False),
    "biases of norms": Shape("blockdense", rank=6, bias=False),
    "absolute": Shape("lowrank", position="absolute"),
    "rope": Shape("lowrank", rotary_base=500.0, interpolation=3.0),
    "scaled scores": Shape("lowrank", inverse_layer_scale=True),
    "all": replace(
        GQA,
        kind="blockshuffle",
        tied=False,
        act="swiglu",
        norm="rmsnorm",
        bias=False,
        position="absolute",
        inverse_layer_scale=True,
    ),
    "guided lowrank": Shape("lowrank", guided=True),
    "guided blockdense": Shape("blockdense", rank=6, guided=True, bias=False, norm="rmsnorm"),
    "guided blockshuffle": Shape("blockshuffle", guided=True, act="swiglu", first_layer=False),
}
over_shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def config_of(shape: Shape) -> ModelConfig:
    """The same model by the platform's configuration."""
    ffn = FFNConfig(
        kind="dense" if shape.kind == "linear" else shape.kind,
        rank=shape.rank if shape.kind in ("lowrank", "blockdense") else None,
        nblocks=shape.nblocks if shape.kind in ("blockdense", "blockshuffle") else None,
        keep_first_dense=shape.first_layer,
    )
    return ModelConfig(
        vocab_size=shape.vocab_size,
        block_size=shape.max_positions,
        num_layers=shape.num_layers,
        hidden_dim=shape.hidden_dim,
        ffn_dim=shape.ffn_dim,
        attn_dim=shape.attn_dim,
        num_heads=shape.num_q_heads,
        num_kv_heads=shape.num_kv_heads,
        ffn=ffn,
        guide=GUIDE if shape.guided else None,
        position=shape.position,
        rope_base=shape.rotary_base,
        rope_interpolation=shape.interpolation or 1.0,
        norm=shape.norm,
        activation=shape.act,
        tie_embeddings=shape.tied,
        bias=shape.bias,
        inverse_layer_scale=shape.inverse_layer_scale,
    )


def run_of(shape: Shape) -> RunConfig:
    return RunConfig(
        model=config_of(shape),
        data=DataConfig(),
        optimizer=OptimizerConfig(learning_rate=PEAK),
        batch_size=4,
        steps=STEPS,
        seed=0,
        eval_tokens=100,
    )


def state_of(shape: Shape, guided_for: int = FIRST) -> State:
    """Random weights; guides as they stand after so many steps."""
    state = published.random_state(shape)
    for name in [n for n in state if n.endswith(".count")]:
        share = (1 + torch.cos(torch.tensor(guided_for / (STEPS // 2) * torch.pi))) / 2
        state[name] = torch.tensor(guided_for)
        state[name.replace("count", "ratio")] = share
    return state


def batches_of(shape: Shape, count: int) -> list[tuple[Tensor, Tensor]]:
    rows = torch.randint(shape.vocab_size, (count, 4, shape.max_positions + 1))
    return [(row[:, :-1], row[:, 1:]) for row in rows]


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest entry."""
    assert found.shape == expected.shape
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


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
    loss = next_token_loss(logits, labels)
    loss.backward()
    value, grads = published.gradients(shape, state, tokens, labels)
    assert loss.item() == pytest.approx(value, rel=1e-5)
    for name, found in published_names(model, "grad").items():
        assert difference(found, grads.pop(name)) < 1e-5, name
    assert not grads


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
@over_shapes
def test_six_steps_of_adamw_are_those_of_the_published_trainer(
    shape: Shape, dtype: torch.dtype
) -> None:
    state = published.converted(state_of(shape), dtype)
    model = load_structured_ffn(state, config_of(shape)).to(dtype)
    run, batches = run_of(shape), batches_of(shape, 6)
    found = train(model, batches, run)
    plan = Training(STEPS, PEAK, run.guided_steps)
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
        assert projection.guide_share == state[f"{their}.ratio"] < 1
    before = float(projection.guide_share)  # type: ignore[possibly-unbound]  # there are four
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


# Files


@pytest.mark.parametrize("name", ["biases of norms", "guided lowrank", "all"])
def test_a_model_file_gives_the_same_model(name: str, tmp_path: Path) -> None:
    shape = SHAPES[name]
    model = load_structured_ffn(state_of(shape), config_of(shape))
    path = tmp_path / "new" / "model.safetensors"
    save_model(model, path)
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    again = load_model(path)
    assert again.config == model.config
    ((tokens, _),) = batches_of(shape, 1)
    assert torch.equal(again(tokens), model(tokens))
    assert again.state_dict().keys() == model.state_dict().keys()
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["config"])["hidden_dim"] == 18
    drop_guides(model)
    save_model(model, path)  # In place of the first.
    assert not any("guide" in key for key in load_model(path).state_dict())


def test_only_a_model_file_is_replaced(tmp_path: Path) -> None:
    shape = SHAPES["lowrank"]
    checkpoint, out = tmp_path / "0.pth", tmp_path / "out"
    torch.save(state_of(shape), checkpoint)
    before = checkpoint.read_bytes()
    for place in (checkpoint, tmp_path):
        with pytest.raises(InputError, match="is not an imported model; choose another name"):
            import_reference(checkpoint, config_of(shape), place)
    assert checkpoint.read_bytes() == before
    import_reference(checkpoint, config_of(shape), out)
    import_reference(checkpoint, config_of(shape), out)
    with pytest.raises(InputError, match=r"cannot be written: .*; choose another place"):
        import_reference(checkpoint, config_of(shape), out / "below")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.pth", "out"]


@pytest.mark.parametrize("content", [b"", b"text", None])
def test_another_file_is_not_a_model(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="is not a model of this platform"):
        load_model(path)


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def saved(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("zipped", r"holds pickled objects \(\w+.mkdir\) beside its tensors"),
        ("legacy", r"holds pickled objects \(\w+.mkdir\) beside its tensors"),
        ("plain pickle", "not a checkpoint that torch.save wrote"),
    ],
)
def test_pickled_objects_are_refused_and_not_run(form: str, expected: str, tmp_path: Path) -> None:
    path, made = tmp_path / "0.pth", tmp_path / "made"
    content = {"model": state_of(Shape()), "config": Malicious(made)}
    attack = pickle.dumps({"config": Malicious(made)})
    path.write_bytes(attack if form == "plain pickle" else saved(content, form == "zipped"))
    with pytest.raises(InputError, match=expected) as caught:
        import_reference(path, config_of(Shape()), tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.pth"]
    pickle.loads(attack)
    assert made.exists(), "the attack would not have worked"


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    whole = saved(state_of(Shape()))
    legacy = saved(state_of(Shape()), zipped=False)
    damaged = [b"", b"text\n", whole[:-50], whole[:1000], legacy[:-50], legacy[:500], bytes(999)]
    path = tmp_path / "0.pth"
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(InputError, match="is damaged or not a checkpoint") as caught:
            import_reference(path, config_of(Shape()), tmp_path / "out")
        assert len(str(caught.value).splitlines()) == 1
    for missing in (tmp_path / "nowhere.pth", tmp_path):
        with pytest.raises(InputError, match=r"cannot be read: .*; check the path"):
            import_reference(missing, config_of(Shape()), tmp_path / "out")


# The command

CONFIG = """\
preset: pico
model: {vocab_size: 37, block_size: 11, num_layers: 3, hidden_dim: 18, ffn_dim: 45, num_heads: 3}
ffn: {kind: lowrank, rank: 5}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """The command's arguments; its files fit."""
    checkpoint, config, out = (tmp_path / name for name in ("0.pth", "c.yaml", "m.safetensors"))
    config.write_text(CONFIG)
    torch.save({"model": state_of(SHAPES["lowrank"]), "step": 0}, checkpoint)
    return checkpoint, config, out


def command(files: tuple[Path, Path, Path]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "workloads", "import-reference", *map(str, files)],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


def test_the_command_writes_the_model(files: tuple[Path, Path, Path]) -> None:
    checkpoint, _, out = files
    done = command(files)
    assert (done.returncode, done.stderr) == (0, "")
    shape, state = SHAPES["lowrank"], torch.load(checkpoint)["model"]
    model = load_model(out)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert done.stdout == f"{out}: {numbers:,} parameters\n"
    ((tokens, _),) = batches_of(shape, 1)
    with torch.no_grad():
        assert difference(model(tokens), published.logits(shape, state, tokens)) < 1e-5


def test_the_command_refuses_pickled_objects_in_one_line(files: tuple[Path, Path, Path]) -> None:
    checkpoint, _, out = files
    made = out.with_name("made")
    checkpoint.write_bytes(saved({"model": {}, "config": Malicious(made)}))
    done = command(files)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{checkpoint}: holds pickled objects (")
    assert not made.exists() and not out.exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rank: 5", "rank: 7", r"/0.pth: model\.layers\.1\.mlp.*; set ffn.rank: 5$"),
        ("rank: 5", "rnak: 5", r"/c.yaml:3: ffn.rnak = 5: no such key; did you mean rank\?"),
        ("rank: 5", "rank: 19", r"/c.yaml:1: .*rank 19 exceeds the projection's smaller side"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    files: tuple[Path, Path, Path],
    old: str,
    new: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    checkpoint, config, out = files
    config.write_text(CONFIG.replace(old, new))
    arguments = ["import-reference", *map(str, (checkpoint, config, out))]
    monkeypatch.setattr(sys, "argv", ["workloads", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert re.search(expected, line) and not printed.out
    assert not out.exists()
