"""Switches of `runtime` that save memory: each run is the run without them.

To the last digit where the arithmetic is the same: recomputing, copies in CPU memory, shards of one
worker, fp32 masters of fp32 weights. To rounding where sums are taken in another order (an FFN in
tiles), or weights have fewer digits (bf16).
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.workloads.small_runs import (
    assert_same_run,
    final_state,
    newest_checkpoint,
    pico,
    rows_of,
)
from tests.workloads.training.test_parallel import take_back, train_on_two
from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.data.dataset import TokenDataset
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer
from workloads.optim.build import build_optimizer
from workloads.optim.update import updated
from workloads.training import parallel
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")

INPUTS = {"activation_checkpointing": 1, "layer_inputs": "cpu"}
ALL = {"offload": "all", "parallel": "fsdp"}
TILES = {"ffn_tile_tokens": 100}
EXACT: dict[str, dict[str, Any]] = {
    "layers recomputed": {"activation_checkpointing": 1},
    "FFNs recomputed": {"activation_checkpointing": 1, "recompute": "ffn"},
    "every second layer's input on the CPU": INPUTS | {"activation_checkpointing": 2},
    "states on the CPU": {"offload": "optimizer"},
    "all on the CPU": ALL | INPUTS,
}
GUIDED: dict[str, Any] = {"guide": {"ratio": 0.5}, "model": {"dropout": 0.1}}
GROWN: dict[str, Any] = {"grow": {"at": {"fraction": 0.5}, "operator": "stack", "layers": 4}}
LEARN: dict[str, Any] = {"at": {"fraction": 0.25}, "operator": "learn", "factor": 2, "width": 64}
LEARNED: dict[str, Any] = {"grow": LEARN | {"learn_steps": 2}}
SOPHIA: dict[str, Any] = {"optimizer": {"kind": "sophia_g", "hessian_interval": 2}}
MUON: dict[str, Any] = {"optimizer": {"kind": "muon"}}
BF16 = {"parameters": "bf16"}


def short(runtime: dict[str, Any] | None = None, **changes: Any) -> RunConfig:
    """Four steps in two micro-batches each, with every step recorded and saved."""
    often = {"checkpoint_interval": 1, "eval_interval": 2, "micro_batch_size": 4}
    return pico(budget={"steps": 4}, runtime=often | (runtime or {}), **changes)


@pytest.fixture(scope="module")
def plain(stdlib: TokenDataset, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The runs without a switch."""
    root = tmp_path_factory.mktemp("plain")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workloads.training.trainer.training_device", lambda: torch.device("cpu"))
        for name, changes in {"guided": GUIDED, "grown": GROWN}.items():
            train(short(**changes), stdlib, root / name)
    return {"guided": root / "guided", "grown": root / "grown"}


@pytest.mark.parametrize("kind", ["guided", "grown"])
@pytest.mark.parametrize("switch", EXACT)
def test_where_the_arithmetic_is_the_same_so_is_the_run(
    switch: str, kind: str, plain: dict[str, Path], stdlib: TokenDataset, tmp_path: Path
) -> None:
    changes = GUIDED if kind == "guided" else GROWN
    train(short(EXACT[switch], **changes), stdlib, tmp_path)
    assert_same_run(tmp_path, plain[kind])


@pytest.mark.parametrize("kind", ["guided", "grown"])
def test_tiles_change_a_run_by_rounding(
    kind: str, plain: dict[str, Path], stdlib: TokenDataset, tmp_path: Path
) -> None:
    changes = GUIDED if kind == "guided" else GROWN
    train(short(TILES | INPUTS, **changes), stdlib, tmp_path)
    for row, wanted in zip(rows_of(tmp_path), rows_of(plain[kind]), strict=True):
        assert row == pytest.approx(wanted, rel=1e-4)
    assert rows_of(tmp_path) != rows_of(plain[kind])  # Tiles were taken.


@pytest.mark.parametrize("switch", ["states on the CPU", "all on the CPU"])
def test_sophia_estimates_and_steps_with_masters_as_without(
    switch: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    train(short(**SOPHIA), stdlib, tmp_path / "plain")
    train(short(EXACT[switch], **SOPHIA), stdlib, tmp_path / "switched")
    assert_same_run(tmp_path / "switched", tmp_path / "plain")
    found = final_state(tmp_path / "switched")
    assert float(found["optimizer.wte.weight.hessian"].abs().max()) > 0


@pytest.mark.parametrize("name", ["sophia_g", "muon", "learned growth"])
def test_bf16_weights_stay_near_fp32_ones_whatever_trains_them(
    name: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    changes = {"sophia_g": SOPHIA, "muon": MUON, "learned growth": LEARNED}[name]
    train(short(**changes), stdlib, tmp_path / "fp32")
    train(short(BF16, **changes), stdlib, tmp_path / "bf16")
    rows, wanted = rows_of(tmp_path / "bf16"), rows_of(tmp_path / "fp32")
    assert rows != wanted
    for row, other in zip(rows, wanted, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], rel=5e-3)
    assert {each.dtype for each in final_state(tmp_path / "bf16").values()} == {torch.float32}


@pytest.mark.parametrize("switch", [name for name in EXACT if name != "all on the CPU"])
def test_a_growth_is_learned_under_switches_as_without(
    switch: str, stdlib: TokenDataset, tmp_path: Path
) -> None:
    train(short(**LEARNED), stdlib, tmp_path / "plain")
    train(short(EXACT[switch], **LEARNED), stdlib, tmp_path / "switched")
    assert_same_run(tmp_path / "switched", tmp_path / "plain")


def test_bf16_weights_lie_anywhere_and_stay_near_fp32_ones(
    plain: dict[str, Path], stdlib: TokenDataset, tmp_path: Path
) -> None:
    for name, runtime in {"device": {}, "states": {"offload": "optimizer"}, "all": ALL}.items():
        train(short(BF16 | runtime, **GUIDED), stdlib, tmp_path / name)
    assert_same_run(tmp_path / "states", tmp_path / "device")
    assert_same_run(tmp_path / "all", tmp_path / "device")
    for row, wanted in zip(rows_of(tmp_path / "device"), rows_of(plain["guided"]), strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=5e-3)
    saved = final_state(tmp_path / "device")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    weight = saved["model.wte.weight"]
    assert not torch.equal(weight, weight.bfloat16().float())  # Masters have more digits.


@pytest.mark.parametrize(
    ("runtime", "changes"),
    [
        (BF16 | {"offload": "optimizer"} | INPUTS, GUIDED),
        (BF16 | ALL | TILES, GUIDED),
        (BF16 | {"offload": "optimizer"}, LEARNED),
    ],
)
def test_a_run_with_switches_resumes_to_the_last_digit(
    runtime: dict[str, Any], changes: dict[str, Any], stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = short(runtime, **changes)
    train(config, stdlib, tmp_path / "undisturbed")
    train(config, stdlib, tmp_path / "resumed")
    assert take_back(tmp_path / "resumed") < config.total_steps
    train(config, stdlib, tmp_path / "resumed")
    assert_same_run(tmp_path / "resumed", tmp_path / "undisturbed")


def test_a_run_goes_on_from_a_checkpoint_of_other_settings(
    plain: dict[str, Path], stdlib: TokenDataset, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    train(short({"offload": "optimizer"}, **GUIDED), stdlib, run_dir)
    take_back(run_dir)
    assert newest_checkpoint(run_dir)
    train(short(ALL | INPUTS, **GUIDED), stdlib, run_dir)
    assert_same_run(run_dir, plain["guided"])


@pytest.mark.slow
def test_two_workers_with_all_switches_are_two_without(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    train_on_two(short({"parallel": "fsdp"}, **GUIDED), stdlib, tmp_path / "plain")
    train_on_two(short(ALL | INPUTS, **GUIDED), stdlib, tmp_path / "switches")
    assert_same_run(tmp_path / "switches", tmp_path / "plain")


@pytest.mark.slow
@pytest.mark.parametrize("runtime", [{"offload": "optimizer"}, BF16 | INPUTS, BF16 | ALL | TILES])
def test_two_workers_take_every_other_switch(
    runtime: dict[str, Any], stdlib: TokenDataset, tmp_path: Path
) -> None:
    train_on_two(short(runtime, **GUIDED), stdlib, tmp_path / "two")
    train(short(runtime | {"micro_batch_size": 8}, **GUIDED), stdlib, tmp_path / "one")
    for row, wanted in zip(rows_of(tmp_path / "two"), rows_of(tmp_path / "one"), strict=True):
        assert row["train_loss"] == pytest.approx(wanted["train_loss"], rel=5e-3)


def test_a_long_context_trains_with_everything_on_and_off(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    """4,096 tokens of context."""
    changes: dict[str, Any] = {"model": {"block_size": 4096}, "eval_tokens": 4096}
    often = {"micro_batch_size": 1, "log_interval": 1, "eval_interval": 2}
    off = pico(budget={"steps": 2}, batch_size=1, runtime=often, **changes)
    train(off, stdlib, tmp_path / "off")
    on = pico(budget={"steps": 2}, batch_size=1, runtime=often | ALL | INPUTS, **changes)
    train(on, stdlib, tmp_path / "on")
    assert_same_run(tmp_path / "on", tmp_path / "off")
    tiled = on.model_copy(
        update={"runtime": on.runtime.model_copy(update={"ffn_tile_tokens": 1000})}
    )
    train(tiled, stdlib, tmp_path / "tiled")
    for row, wanted in zip(rows_of(tmp_path / "tiled"), rows_of(tmp_path / "off"), strict=True):
        assert row == pytest.approx(wanted, rel=1e-5)


KINDS = {
    "dense": {"kind": "dense"},
    "lowrank": {"kind": "lowrank", "rank": 5},
    "blockdense": {"kind": "blockdense", "rank": 6, "nblocks": 3},
    "blockshuffle": {"kind": "blockshuffle", "nblocks": 3},
}
SWITCHES: dict[str, dict[str, Any]] = {
    "tiles": {"ffn_tile_tokens": 7},
    "tiles in recomputed layers": {"ffn_tile_tokens": 7} | INPUTS,
    "inputs": INPUTS,
}


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_in_float64_are_those_without_the_switch(
    kind: str, guided: bool, switch: str
) -> None:
    if guided and kind == "dense":
        pytest.skip("a dense FFN has no guide")
    found, expected = gradients(kind, guided, SWITCHES[switch]), gradients(kind, guided, {})
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-11, atol=1e-15)
        if switch == "inputs":
            assert torch.equal(found[name], gradient), name


def gradients(kind: str, guided: bool, runtime: dict[str, Any]) -> dict[str, Tensor]:
    """Of an odd shape: 3 sequences of 11 tokens, so that the last tile is a part of one."""
    shape = {"vocab_size": 13, "block_size": 11, "num_layers": 3, "num_heads": 3}
    shape |= {"hidden_dim": 18, "ffn_dim": 21, "ffn": KINDS[kind], "activation": "swiglu"}
    config = ModelConfig.model_validate(shape | ({"guide": {"ratio": 0.5}} if guided else {}))
    torch.manual_seed(0)
    model = Transformer(config)
    if config.guide:
        add_guides(model, config.guide)
    model.double()
    run = pico().model_copy(
        update={"model": config, "runtime": RuntimeConfig.model_validate(runtime)}
    )
    network = parallel.parallelize(model, run, torch.device("cpu"))
    tokens = torch.randint(13, (3, 11))
    network(tokens, tokens.roll(-1, 1)).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def test_inputs_on_the_cpu_are_copies_and_nothing_else_is() -> None:
    """Each layer's input is copied once, and kept only until its layer's backward pass."""
    copies: list[Tensor] = []

    run = pico(model={"num_layers": 3}, runtime=INPUTS)
    model = Transformer(run.model)
    network = parallel.parallelize(model, run, torch.device("cpu"))
    tokens = torch.randint(257, (2, 128))
    with pytest.MonkeyPatch.context() as patch:
        clone = Tensor.clone

        def counted(tensor: Tensor, **options: Any) -> Tensor:
            copies.append(copy := clone(tensor, **options))
            return copy

        patch.setattr(Tensor, "clone", counted)
        loss = network(tokens, tokens)
    assert [tuple(copy.shape) for copy in copies] == 3 * [(2, 128, 32)]
    loss.backward()
    model.eval()
    with torch.no_grad():
        network(tokens, tokens)
    assert len(copies) == 3


def test_masters_hold_what_parameters_round() -> None:
    run = pico(runtime=BF16)
    model = Transformer(run.model)
    parallel.parallelize(model, run, torch.device("cpu"))
    build_optimizer(model, run.optimizer)
    for parameter in model.parameters():
        assert parameter.dtype == torch.bfloat16
        assert updated(parameter).dtype == torch.float32
        assert torch.equal(updated(parameter).bfloat16(), parameter)
