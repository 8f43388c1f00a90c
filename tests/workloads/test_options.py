"""Every option of the architecture against a model written out by its definition in float64."""

import math
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from tests.workloads.training import STEPS, pico, rows_of
from workloads import parallel
from workloads.config import ModelConfig, RunConfig
from workloads.data.loader import Batch, BatchLoader
from workloads.data.shards import TokenDataset
from workloads.flops import count_params
from workloads.model import Block, Transformer, next_token_loss, rope_rotation
from workloads.record import Row
from workloads.self_guided import add_guides, set_guides
from workloads.train import train

pytestmark = pytest.mark.usefixtures("on_cpu")

SHAPE: dict[str, Any] = {
    "vocab_size": 29,
    "block_size": 9,
    "num_layers": 3,
    "hidden_dim": 18,
    "ffn_dim": 45,
    "num_heads": 3,
    "rope_base": 500.0,
}
OPTIONS: dict[str, dict[str, Any]] = {
    "papers": {},
    "grouped queries": {"num_heads": 6, "attn_dim": 24, "num_kv_heads": 2},
    "one key head": {"num_heads": 5, "attn_dim": 30, "num_kv_heads": 1},
    "narrow attention": {"attn_dim": 12},
    "interpolated": {"rope_interpolation": 2.5},
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


def config(**options: Any) -> ModelConfig:
    return ModelConfig.model_validate(SHAPE | options)


def build(shape: ModelConfig) -> Transformer:
    """In float64, with no parameter at a special value such as a bias of 0."""
    model = Transformer(shape).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def tokens_of(shape: ModelConfig, batch: int = 2) -> Tensor:
    return torch.randint(shape.vocab_size, (batch, shape.block_size))


# The model, once more: query by query, pair by pair.


def reference(shape: ModelConfig, model: Transformer, tokens: Tensor) -> Tensor:
    state = dict(model.named_parameters())
    x = torch.stack([torch.stack([state["wte.weight"][i] for i in row]) for row in tokens])
    if shape.position == "absolute":
        x = x + state["wpe.weight"][: tokens.shape[1]]
    for layer in range(shape.num_layers):
        prefix = f"layers.{layer}."
        part = {n.removeprefix(prefix): p for n, p in state.items() if n.startswith(prefix)}
        normed = reference_norm(shape, part, "ln1", x)
        x = x + torch.stack([reference_attention(shape, part, row, layer) for row in normed])
        inner = reference_linear(model, part, layer, "fc1", reference_norm(shape, part, "ln2", x))
        if shape.activation == "swiglu":
            gate, value = inner[..., : shape.ffn_dim], inner[..., shape.ffn_dim :]
            active = gate / (1 + torch.exp(-gate)) * value
        elif shape.activation == "gelu_tanh":
            bend = math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)
            active = inner * (1 + torch.tanh(bend)) / 2
        else:
            active = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        x = x + reference_linear(model, part, layer, "fc2", active)
    head = state["wte.weight"] if shape.tie_embeddings else state["lm_head.weight"]
    return reference_norm(shape, state, "ln_f", x) @ head.T


def reference_linear(
    model: Transformer, part: dict[str, nn.Parameter], layer: int, side: str, x: Tensor
) -> Tensor:
    """The matrices of structured projections are tested by themselves."""
    y = x @ model.get_submodule(f"layers.{layer}.mlp.{side}").dense_weight().T  # type: ignore[operator]  # a Projection
    return y + part.get(f"mlp.{side}.bias", torch.zeros(()))


def reference_norm(
    shape: ModelConfig, part: dict[str, nn.Parameter], name: str, x: Tensor
) -> Tensor:
    if shape.norm == "rmsnorm":
        assert f"{name}.bias" not in part
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * part[f"{name}.weight"]
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    assert (f"{name}.bias" in part) == shape.bias
    return scaled * part[f"{name}.weight"] + part.get(f"{name}.bias", torch.zeros(()))


def reference_attention(
    shape: ModelConfig, part: dict[str, nn.Parameter], x: Tensor, layer: int
) -> Tensor:
    """One sequence (time, hidden_dim); each query head reads the keys of its group."""
    size = shape.attn_dim // shape.num_heads
    group = shape.num_heads // shape.num_kv_heads
    qkv = x @ part["attention.qkv_linear.weight"].T
    assert qkv.shape[1] == shape.attn_dim + 2 * shape.num_kv_heads * size
    qkv = qkv + part.get("attention.qkv_linear.bias", torch.zeros(()))
    heads = [qkv[:, at : at + size] for at in range(0, qkv.shape[1], size)]
    scale = math.sqrt(size) * (layer + 1 if shape.inverse_layer_scale else 1)
    mixed = []
    for head in range(shape.num_heads):
        query = turned(shape, heads[head])
        key = turned(shape, heads[shape.num_heads + head // group])
        value = heads[shape.num_heads + shape.num_kv_heads + head // group]
        rows = []
        for time in range(len(x)):
            scores = torch.stack([query[time] @ key[at] for at in range(time + 1)])
            shares = torch.exp(scores / scale) / torch.exp(scores / scale).sum()
            rows.append(shares @ value[: time + 1])
        mixed.append(torch.stack(rows))
    y = torch.cat(mixed, dim=1) @ part["attention.o_linear.weight"].T
    return y + part.get("attention.o_linear.bias", torch.zeros(()))


def turned(shape: ModelConfig, x: Tensor) -> Tensor:
    """RoPE: pair (i, i + head_dim/2) is a complex number that turns."""
    if shape.position == "absolute":
        return x
    half = x.shape[1] // 2
    position = torch.arange(len(x), dtype=torch.float64)[:, None] / shape.rope_interpolation
    angle = position * shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    pairs = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag], dim=1)


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


# Precision


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("norm", ["layernorm", "rmsnorm"])
def test_norms_work_in_fp32_under_bf16_autocast(norm: str, bias: bool) -> None:
    shape = config(norm=norm, bias=bias, ffn={"kind": "blockshuffle", "nblocks": 3})
    model = Transformer(shape)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    seen: list[tuple[str, Tensor, Tensor]] = []
    for name, module in model.named_modules():
        if name.split(".")[-1] in ("ln1", "ln2", "ln_f"):
            module.register_forward_hook(
                lambda _, inputs, output, name=name: seen.append((name, inputs[0], output))
            )
    tokens = tokens_of(shape)
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(tokens)
        loss = next_token_loss(logits, tokens)
    assert (logits.dtype, loss.dtype) == (torch.bfloat16, torch.float32)
    assert len(seen) == 7
    for name, x, y in seen:
        assert x.dtype == torch.float32 and y.dtype == torch.float32, name
        part = {n: nn.Parameter(p.detach().double()) for n, p in model.named_parameters()}
        exact = reference_norm(shape, part, name, x.detach().double())
        torch.testing.assert_close(y.detach().double(), exact.detach(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize(
    "sizes",
    [
        {"kind": "lowrank", "rank": 6},
        {"kind": "blockdense", "rank": 6, "nblocks": 3},
        {"kind": "blockshuffle", "nblocks": 3},
    ],
    ids=lambda sizes: sizes["kind"],
)
def test_projections_stay_in_bf16_under_autocast(sizes: dict[str, Any], guided: bool) -> None:
    """Inner activations are the largest tensors there are: in fp32 they would be twice as large."""
    options: dict[str, Any] = {"guide": {"ratio": 0.5}} if guided else {}
    shape = config(ffn=sizes | {"keep_first_dense": False}, num_layers=1, **options)
    model = Transformer(shape)
    if shape.guide is not None:
        add_guides(model, shape.guide)
    with torch.autocast("cpu", torch.bfloat16):
        inner = model.get_submodule("layers.0.mlp.fc1")(torch.randn(2, 9, 18))
    assert inner.dtype == torch.bfloat16


# Dropout


def test_dropout_is_off_in_evaluation() -> None:
    shape = config(dropout=0.5)
    model, tokens = build(shape).eval(), tokens_of(shape)
    torch.testing.assert_close(model(tokens), reference(config(), model, tokens), rtol=0, atol=1e-5)
    assert torch.equal(model(tokens), model(tokens))
    model.train()
    assert not torch.equal(model(tokens), model(tokens))


def test_without_dropout_training_draws_nothing() -> None:
    shape = config()
    model, tokens = build(shape), tokens_of(shape)
    before = torch.get_rng_state()
    assert torch.equal(model.train()(tokens), model.eval()(tokens))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rate", [0.1, 0.4])
@pytest.mark.parametrize("part", ["embedding", "attention", "ffn"])
def test_dropout_has_its_rate_and_scale_in_training(part: str, rate: float) -> None:
    """Each entry of what is added to the stream is 0 or 1/(1 - rate) of what it was."""
    shape = config(dropout=rate, hidden_dim=60, attn_dim=60, ffn_dim=90, block_size=100)
    model, tokens = build(shape), tokens_of(shape, batch=4)
    block = model.layers[0]
    assert isinstance(block, Block)
    added: dict[bool, Tensor] = {}
    stream = torch.randn(4, 100, 60, dtype=torch.float64)
    silenced = {"attention": "mlp.fc2", "ffn": "attention.o_linear"}
    if part in silenced:
        for parameter in block.get_submodule(silenced[part]).parameters():
            nn.init.zeros_(parameter)
    for training in (True, False):
        model.train(training)
        if part == "embedding":
            entered: list[Tensor] = []

            def enter(_: nn.Module, inputs: tuple[Tensor, ...], to: list[Tensor] = entered) -> None:
                to.append(inputs[0].detach())

            handle = block.register_forward_pre_hook(enter)
            model(tokens)
            handle.remove()
            added[training] = entered[0]
        else:
            assert model.rotation is not None
            added[training] = (block(stream, model.rotation) - stream).detach()
    kept = added[True] != 0
    assert (added[False] != 0).all()
    torch.testing.assert_close(added[True][kept], added[False][kept] / (1 - rate))
    entries = kept.numel()
    deviation = math.sqrt(rate * (1 - rate) / entries)
    assert abs(1 - float(kept.double().mean()) - rate) < 5 * deviation
    # Entry by entry, and not whole tokens or features.
    for axis in (0, 1):
        spread = kept.flatten(0, 1).double().mean(axis)
        assert 0 < spread.std() < 0.1


def test_a_run_draws_dropout_anew_at_each_step_and_on_each_worker(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same text and all but the same weights: only the draws tell the losses apart."""

    class Same(BatchLoader):
        def batch(self, step: int, rows: slice | range | None = None) -> Batch:
            return super().batch(0, range(8))

    monkeypatch.setattr("workloads.train.BatchLoader", Same)
    config = pico(
        model={"dropout": 0.3},
        learning_rate=1e-12,
        budget={"steps": 6},
        runtime={"eval_interval": 2, "log_interval": 1},
    )
    losses: dict[int, list[float]] = {}
    for worker in (0, 1):
        found = losses[worker] = []
        with monkeypatch.context() as patch:
            patch.setattr("workloads.parallel.rank", lambda worker=worker: worker)
            run_dir = tmp_path / str(worker)
            train(config, stdlib, run_dir, lambda row, to=found: to.append(row["train_loss"]))
    steps = [row["train_loss"] for row in rows_of(tmp_path / "0")]
    assert len({round(loss, 5) for loss in steps}) == 6
    assert steps[1::2] == losses[0]
    assert not set(losses[0]) & set(losses[1])
    # All of them with dropout, after evaluations too.
    plain = config.model_copy(update={"model": config.model.model_copy(update={"dropout": 0.0})})
    train(plain, stdlib, tmp_path / "plain")
    without = {row["train_loss"] for row in rows_of(tmp_path / "plain")}
    assert max(without) - min(without) < 1e-6
    assert min(abs(loss - max(without)) for loss in steps) > 1e-5


# How it executes


def loss_and_gradients(model: nn.Module, network: nn.Module, tokens: Tensor) -> list[Tensor]:
    torch.manual_seed(5)
    loss = next_token_loss(network(tokens), tokens.roll(-1, 1))
    return [loss, *torch.autograd.grad(loss, list(model.parameters()))]


def saved_bytes(model: nn.Module, network: nn.Module, tokens: Tensor) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters left out."""
    own = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        next_token_loss(network(tokens), tokens.roll(-1, 1))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_recomputed_activations_give_the_same_gradients_in_less_memory(
    dropout: float, guided: bool
) -> None:
    guide = {"guide": {"ratio": 0.5}} if guided else {}
    run = pico(model={"num_layers": 4, "dropout": dropout}, **guide)
    tokens = torch.randint(257, (2, 128))
    results, memory = [], []
    for every in (0, 2, 1):
        torch.manual_seed(0)
        model = Transformer(run.model).double()
        if run.model.guide is not None:
            add_guides(model, run.model.guide)
            set_guides(model, run.guided_steps // 2, run)
        runtime = run.runtime.model_copy(update={"activation_checkpointing": every})
        laid_out = run.model_copy(update={"runtime": runtime})
        network = parallel.lay_out(model, laid_out, torch.device("cpu"))
        if guided:  # Those that did not draw their guide have no gradient for it.
            for name, parameter in model.named_parameters():
                owner = model.get_submodule(name.rpartition(".")[0])
                if name.endswith("guide") and not owner.guide_runs:
                    parameter.requires_grad_(False)
        trained = nn.ParameterList([p for p in model.parameters() if p.requires_grad])
        results.append(loss_and_gradients(trained, network, tokens))
        memory.append(saved_bytes(model, network, tokens))
    for result in results[1:]:
        for found, expected in zip(result, results[0], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-15)
    assert memory[2] < memory[1] < memory[0]
    # Each layer that is recomputed keeps little more than its input.
    assert memory[0] - memory[1] == pytest.approx(memory[1] - memory[2], rel=0.15)
    assert memory[2] < 0.4 * memory[0]


def test_a_run_that_recomputes_is_the_same_run(stdlib: TokenDataset, tmp_path: Path) -> None:
    changes: dict[str, Any] = {
        "budget": {"steps": 6},
        "guide": {"ratio": 0.5},
        "model": {"dropout": 0.1},
    }
    for every in (0, 1):
        runtime = {"activation_checkpointing": every}
        train(pico(runtime=runtime, **changes), stdlib, tmp_path / str(every))
    assert_close_rows(rows_of(tmp_path / "1"), rows_of(tmp_path / "0"), rel=1e-6)


def assert_close_rows(found: list[Row], expected: list[Row], rel: float) -> None:
    assert len(found) == len(expected) > 0
    for row, wanted in zip(found, expected, strict=True):
        assert row.keys() == wanted.keys()
        for key, value in wanted.items():
            assert row[key] == pytest.approx(value, rel=rel), key


def compiled_and_eager(
    config: RunConfig, dataset: TokenDataset, directory: Path
) -> tuple[list[Row], list[Row]]:
    rows = []
    for compiled in (True, False):
        runtime = config.runtime.model_copy(update={"compile": compiled})
        torch._dynamo.reset()
        # Beyond its limit of variants torch would silently go on without compiling.
        strict = torch._dynamo.config.patch(fail_on_recompile_limit_hit=True)
        with strict if compiled else nullcontext():
            train(
                config.model_copy(update={"runtime": runtime}), dataset, directory / str(compiled)
            )
        rows.append(rows_of(directory / str(compiled)))
    torch._dynamo.reset()
    return rows[0], rows[1]


def test_a_guided_run_compiles_every_variant_it_meets(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Draws make four variants of a layer, and evaluation and the end of guidance make more."""
    calls: list[Block] = []

    def traced_alone(self: Block) -> None:
        calls.append(self)
        nn.Module.compile(self, backend="eager")

    monkeypatch.setattr(Block, "compile", traced_alone)
    config = pico(
        model={"num_layers": 3},
        budget={"steps": 20},
        guide={"ratio": 0.5},
        runtime={"eval_interval": 5},
    )
    compiled, eager = compiled_and_eager(config, stdlib, tmp_path)
    assert len(calls) == 6  # All layers, and once more without the guides.
    assert_close_rows(compiled, eager, rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(
    not (shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")),
    reason="torch.compile on a CPU needs a C++ compiler, and there is none",
)
@pytest.mark.parametrize("guided", [False, True])
def test_a_compiled_run_is_the_eager_one(
    stdlib: TokenDataset, tmp_path: Path, guided: bool
) -> None:
    guide = {"guide": {"ratio": 0.5}} if guided else {}
    config = pico(learning_rate=1e-3, budget={"steps": 6}, runtime={"eval_interval": 3}, **guide)
    compiled, eager = compiled_and_eager(config, stdlib, tmp_path)
    assert_close_rows(compiled, eager, rel=1e-4)
    assert compiled[0]["train_loss"] == pytest.approx(eager[0]["train_loss"], rel=1e-6)
    # Compiled code really ran: its rounding is another.
    assert compiled != eager


# Refused


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
        ({"position": "alibi"}, "'rope' or 'absolute'"),
        ({"norm": "batchnorm"}, "'layernorm' or 'rmsnorm'"),
        ({"activation": "relu"}, "should be 'gelu', .*'swiglu'"),
        (
            {"activation": "swiglu", "ffn": {"kind": "blockshuffle", "nblocks": 6}},
            "nblocks 6 does not divide ffn_dim 45; the nearest that does is 5",
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
    assert pico(guide={"ratio": 0.025}).guided_steps == 1


def test_left_out_widths_follow_the_others() -> None:
    assert (config().attn_dim, config().num_kv_heads) == (18, 3)
    assert config(hidden_dim=24, num_heads=4).attn_dim == 24
    assert config(num_heads=9).num_kv_heads == 9
    assert np.isclose(config().rope_interpolation, 1.0)
