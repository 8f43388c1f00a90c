"""Two workers, with copies or shards of the model, train as one: real processes over gloo."""

import math
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from tests.workloads.small_runs import (
    assert_same_run,
    final_state,
    kill_after,
    newest_checkpoint,
    pico,
    rows_of,
    start,
)
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.run_dir.result import Result
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")

Parallel = Literal["ddp", "fsdp"]


def guided(**runtime: Any) -> RunConfig:
    """Ten steps and four more; the first four are guided and draw. Every step clips.

    The rank is odd, so that shards are uneven, and so is the number of validation windows.
    """
    return pico(
        ffn={"kind": "lowrank", "rank": 5},
        guide={"ratio": 0.4},
        budget={"steps": 10},
        optimizer={"max_grad_norm": 0.3},
        learning_rate=1e-3,
        runtime={"eval_interval": 1, **runtime},
    )


def train_on_two(
    config: RunConfig, dataset: TokenDataset, run_dir: Path, timeout: float = 120
) -> None:
    workers = [start(config, dataset, run_dir, rank, 2) for rank in range(2)]
    printed = [worker.communicate(timeout=timeout)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0]
    assert printed[0] == printed[1], "the workers do not agree"
    run_dir.with_suffix(".rendezvous").unlink(missing_ok=True)


def take_back(run_dir: Path) -> int:
    """Leave the run as if it had been killed after its last checkpoint but one; that one's step."""
    (run_dir / "result.json").unlink()
    newest_checkpoint(run_dir).unlink()
    log = run_dir / "metrics.jsonl"
    step = int(newest_checkpoint(run_dir).stem.removeprefix("step-"))
    log.write_text("".join(log.read_text().splitlines(keepends=True)[:step]))
    return step


def assert_close(found: Path, expected: Path, growth: float = 1.0) -> None:
    """The same losses and norms to rounding, which the steps amplify."""
    rows, wanted = rows_of(found), rows_of(expected)
    assert len(rows) == len(wanted)
    for row, want in zip(rows, wanted, strict=True):
        assert row.keys() == want.keys()
        slack = 1 + growth * (want["step"] - 1)
        for key, value in want.items():
            tolerance = 1e-6 if "norm" not in key else 1e-5
            assert row[key] == pytest.approx(value, rel=tolerance * slack), (row["step"], key)


@pytest.fixture(scope="module")
def alone(stdlib: TokenDataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """The run of `guided` by one worker, in one micro-batch."""
    run_dir = tmp_path_factory.mktemp("alone") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workloads.training.trainer.training_device", lambda: torch.device("cpu"))
        result = train(guided(micro_batch_size=8), stdlib, run_dir)
    rows = rows_of(run_dir)
    assert min(row["grad_norm"] for row in rows) > 0.3, "not every step clipped"
    return run_dir, result


@pytest.fixture(scope="module")
def sharded(stdlib: TokenDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same by two workers with a shard each, in micro-batches, activations recomputed."""
    run_dir = tmp_path_factory.mktemp("sharded") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        config = guided(micro_batch_size=2, parallel="fsdp", activation_checkpointing=2)
        train_on_two(config, stdlib, run_dir)
    return run_dir


def test_workers_with_a_copy_each_train_a_guided_model_as_one(
    alone: tuple[Path, Result], stdlib: TokenDataset, tmp_path: Path
) -> None:
    """The losses, the validation shared over them, and the norms that clip."""
    config = guided(micro_batch_size=2, activation_checkpointing=1)
    train_on_two(config, stdlib, tmp_path / "run")
    assert_close(tmp_path / "run", alone[0])


def test_workers_with_a_shard_each_train_a_guided_model_as_one(
    alone: tuple[Path, Result], sharded: Path
) -> None:
    assert_close(sharded, alone[0])


def test_shards_are_saved_whole(alone: tuple[Path, Result], sharded: Path) -> None:
    found, expected = final_state(sharded), final_state(alone[0])
    assert {n: t.shape for n, t in found.items()} == {n: t.shape for n, t in expected.items()}
    for name, tensor in expected.items():
        scale = float(tensor.abs().max())
        # Adam's steps do not shrink with the gradient, so that noise where it is zero remains.
        close = (found[name] - tensor).abs() <= 1e-3 * scale + 1e-8
        assert close.float().mean() > 0.99, name


def test_one_worker_goes_on_where_shards_stopped(
    alone: tuple[Path, Result], sharded: Path, stdlib: TokenDataset, tmp_path: Path
) -> None:
    shutil.copytree(sharded, tmp_path / "run")
    step = take_back(tmp_path / "run")
    result = train(guided(micro_batch_size=8), stdlib, tmp_path / "run")
    assert (result.resumed_step, result.status) == (step, "finished")
    assert_close(tmp_path / "run", alone[0])


@pytest.mark.slow
def test_copies_go_on_where_shards_stopped(
    alone: tuple[Path, Result], sharded: Path, stdlib: TokenDataset, tmp_path: Path
) -> None:
    shutil.copytree(sharded, tmp_path / "run")
    take_back(tmp_path / "run")
    train_on_two(guided(micro_batch_size=4, parallel="ddp"), stdlib, tmp_path / "run")
    assert_close(tmp_path / "run", alone[0])


@pytest.mark.slow
def test_shards_go_on_where_one_worker_stopped_amid_guidance(
    alone: tuple[Path, Result], stdlib: TokenDataset, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    kill_after(guided(checkpoint_interval=1), stdlib, run_dir, step=2)
    train_on_two(guided(micro_batch_size=4, parallel="fsdp"), stdlib, run_dir)
    assert_close(run_dir, alone[0])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile on a CPU needs g++")
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_compiled_workers_train_a_guided_model_as_one(
    alone: tuple[Path, Result], stdlib: TokenDataset, tmp_path: Path, parallel: Parallel
) -> None:
    config = guided(micro_batch_size=4, parallel=parallel, compile=True)
    train_on_two(config, stdlib, tmp_path / "run", timeout=900)
    assert_close(tmp_path / "run", alone[0])


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["alone", "ddp", "fsdp"])
def test_two_hundred_steps_killed_and_resumed(
    stdlib: TokenDataset, tmp_path: Path, parallel: Literal["alone", "ddp", "fsdp"]
) -> None:
    """Bit for bit by one worker; to rounding by two."""

    def config(**runtime: Any) -> RunConfig:
        return pico(
            model={"dropout": 0.1 if parallel == "alone" else 0.0},
            guide={"ratio": 0.4},
            budget={"steps": 200},
            learning_rate=1e-3,
            runtime={"checkpoint_interval": 20, "eval_interval": 20, **runtime},
        )

    undisturbed = train(config(), stdlib, tmp_path / "undisturbed")
    assert undisturbed.step == 280
    run_dir = tmp_path / "killed"
    for step in (50, 130, 220):
        kill_after(config(), stdlib, run_dir, step)
    if parallel == "alone":
        resumed = train(config(), stdlib, run_dir)
        assert resumed.resumed_step >= 200 and resumed.val_loss == undisturbed.val_loss
        assert_same_run(run_dir, tmp_path / "undisturbed")
        return
    before = rows_of(run_dir)
    train_on_two(config(micro_batch_size=2, parallel=parallel), stdlib, run_dir)
    rows, wanted = rows_of(run_dir), rows_of(tmp_path / "undisturbed")
    assert rows[: len(before)] == before == wanted[: len(before)]
    assert len(rows) == 280
    for row, want in zip(rows, wanted, strict=True):
        assert row["train_loss"] == pytest.approx(want["train_loss"], rel=1e-4)
        assert row.get("val_loss", 0) == pytest.approx(want.get("val_loss", 0), rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_killed_workers_resume_as_one_that_was_not(
    stdlib: TokenDataset, tmp_path: Path, parallel: Parallel
) -> None:
    config = pico(
        model={"dropout": 0.1},
        guide={"ratio": 0.25},
        learning_rate=1e-3,
        runtime={"micro_batch_size": 2, "parallel": parallel},
    )
    train_on_two(config, stdlib, tmp_path / "undisturbed")
    run_dir = tmp_path / "killed"
    workers = [start(config, stdlib, run_dir, rank, 2) for rank in range(2)]
    while not any(row["step"] >= 23 for row in rows_of(run_dir)):
        assert [worker.poll() for worker in workers] == [None, None]
    for worker in workers:
        worker.kill()
        worker.communicate()
    run_dir.with_suffix(".rendezvous").unlink(missing_ok=True)
    train_on_two(config, stdlib, run_dir)
    # With dropout: each worker draws again what it drew.
    assert rows_of(run_dir) == rows_of(tmp_path / "undisturbed")
    assert math.isfinite(rows_of(run_dir)[-1]["val_loss"])
