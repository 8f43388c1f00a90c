"""Runs that are killed, anywhere, end with the bits of one that was not."""

import pydoc
import random
from pathlib import Path

import pytest
import torch

from tests.workloads.small_runs import (
    STEPS,
    Whole,
    assert_same_run,
    kill_after,
    newest_checkpoint,
    pico,
    rows_of,
)
from workloads.config.run import RunConfig
from workloads.data.dataset import TokenDataset
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.run_dir.result import Result
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


@pytest.mark.parametrize("kind", ["lowrank", "blockshuffle"])
def test_a_run_killed_anywhere_ends_with_the_same_bits(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path, kind: str
) -> None:
    config, undisturbed, result, _ = whole
    if kind == "blockshuffle":
        config, undisturbed = pico(ffn={"kind": kind, "nblocks": 4}), tmp_path / "undisturbed"
        result = train(config, stdlib, undisturbed)
    run_dir = tmp_path / "killed"
    steps = sorted(random.sample(range(2, STEPS // 2), 2))
    print(f"killed after steps {steps}")
    for step in steps:
        kill_after(config, stdlib, run_dir, step)
    ended = train(config, stdlib, run_dir)
    assert ended.val_loss == result.val_loss
    assert ended.resumed_step % 5 == 0 and ended.resumed_step >= steps[-1] - 5
    assert [row["step"] for row in rows_of(run_dir)] == list(range(1, STEPS + 1))
    assert_same_run(run_dir, undisturbed)


def test_a_run_killed_before_its_first_checkpoint_begins_again(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    _, undisturbed, result, _ = whole
    config = pico(runtime={"checkpoint_interval": STEPS})
    kill_after(config, stdlib, tmp_path, step=3)
    recorded = (tmp_path / "metrics.jsonl").read_bytes()
    assert not (tmp_path / "checkpoints").exists()
    ended = train(config, stdlib, tmp_path)
    assert (ended.val_loss, ended.resumed_step) == (result.val_loss, 0)
    # What stood is as it was, timestamps too, but for a line torn by the kill.
    complete = recorded[: recorded.rfind(b"\n") + 1]
    assert (tmp_path / "metrics.jsonl").read_bytes().startswith(complete)
    assert_same_run(tmp_path, undisturbed)


def test_a_run_killed_after_its_last_checkpoint_evaluates_and_ends(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, _, result, _ = whole
    train(config, stdlib, tmp_path)
    before = rows_of(tmp_path)
    saved = newest_checkpoint(tmp_path).read_bytes()
    (tmp_path / "result.json").unlink()
    reached = read_rows(tmp_path / "metrics.jsonl")[0][-1]["train_seconds"]
    reported: list[Row] = []
    ended = train(config, stdlib, tmp_path, reported.append)
    assert (ended.status, ended.step) == ("finished", STEPS)
    assert (ended.val_loss, ended.bits_per_byte) == (result.val_loss, result.bits_per_byte)
    assert ended.resumed_step == STEPS
    assert ended.train_seconds > reached
    assert not reported and rows_of(tmp_path) == before
    assert newest_checkpoint(tmp_path).read_bytes() == saved


def test_a_damaged_checkpoint_costs_an_interval_and_no_number(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, undisturbed, result, _ = whole
    train(config, stdlib, tmp_path)
    (tmp_path / "result.json").unlink()
    path = newest_checkpoint(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    ended = train(config, stdlib, tmp_path)
    assert f"{path} is damaged" in caplog.text
    assert ended.val_loss == result.val_loss
    assert_same_run(tmp_path, undisturbed)


def test_an_ended_run_returns_at_once(whole: Whole, stdlib: TokenDataset) -> None:
    config, run_dir, result, _ = whole

    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in run_dir.rglob("*")}

    before = times()
    assert train(config, stdlib, run_dir, lambda row: pytest.fail("trained")) == result
    assert times() == before


# With guidance and dropout


@pytest.fixture(scope="module")
def guided(
    stdlib: TokenDataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[RunConfig, Path, Result]:
    """A run of 20 steps, 10 of them guided, and the 10 more of `fixed_flops`; undisturbed.

    It draws guides and dropout, and neither logs nor saves at each step.
    """
    config = pico(
        model={"num_layers": 3, "dropout": 0.1},
        guide={"ratio": 0.5},
        budget={"steps": 20},
        runtime={"log_interval": 2, "checkpoint_interval": 7},
    )
    assert [phase.steps for phase in config.phases] == [10, 20]
    run_dir = tmp_path_factory.mktemp("guided")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workloads.training.trainer.training_device", lambda: torch.device("cpu"))
        return config, run_dir, train(config, stdlib, run_dir)


def test_a_guided_run_killed_before_at_and_after_the_end_of_guidance_ends_with_the_same_bits(
    guided: tuple[RunConfig, Path, Result], stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, undisturbed, result = guided
    for step in (8, 10, 16):
        kill_after(config, stdlib, tmp_path, step)
    ended = train(config, stdlib, tmp_path)
    assert ended.resumed_step in (14, 21, 28)
    assert ended.val_loss == result.val_loss
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.parametrize("place", ["before saving", "after saving", "while building anew"])
def test_a_run_that_stops_at_the_end_of_guidance_ends_with_the_same_bits(
    guided: tuple[RunConfig, Path, Result],
    stdlib: TokenDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    """To the line: the last of guidance may be in the newest checkpoint or not."""
    config, undisturbed, _ = guided
    target = {
        "before saving": "workloads.training.phases.enter",
        "after saving": "workloads.training.parallel.wait_for_all",
    }.get(place, "workloads.training.trainer.build_optimizer")
    skipped = 1 if place == "while building anew" else 0  # The first is the run's beginning.
    calls: list[None] = []
    original = pydoc.locate(target)
    assert callable(original)

    def stop(*arguments: object) -> object:
        calls.append(None)
        if len(calls) > skipped:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(target, stop)
        with pytest.raises(KeyboardInterrupt):
            train(config, stdlib, tmp_path)
    assert rows_of(tmp_path)[-1]["step"] == 10
    ended = train(config, stdlib, tmp_path)
    assert ended.resumed_step == (7 if place == "before saving" else 10)
    assert_same_run(tmp_path, undisturbed)
