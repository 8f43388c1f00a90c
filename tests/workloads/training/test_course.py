"""Runs that a clock ends: when, at which rate, and what they leave; real runs of seconds.

The long ones, with a machine that slows down and processes that are killed, are in `test_clocks`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from safetensors import safe_open

from tests.workloads.small_runs import final_state, kill_after, newest_checkpoint, pico
from workloads.config.run import RunConfig
from workloads.cost.flops import train_flops
from workloads.data.dataset import TokenDataset
from workloads.errors import Refused
from workloads.run_dir.configuration import read_config
from workloads.run_dir.executed_flops import spent
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.run_dir.progress import place_in_words, share_done
from workloads.run_dir.result import Result
from workloads.run_dir.seen import Seen
from workloads.run_dir.spent_seconds import SPENT_FILE, record_spent, spent_seconds
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")
SECONDS = 2.0
PEAK, FLOOR = 1e-2, 1e-3
# What a step may take on a machine that others use, too.
SLOWEST_STEP = 1.0


def timed(seconds: float = SECONDS, clock: str = "training", **changes: Any) -> RunConfig:
    budget = {"wall_seconds": seconds, "clock": clock}
    return pico(budget=budget, learning_rate=PEAK, **changes)


class Ended(NamedTuple):
    config: RunConfig
    run_dir: Path
    result: Result
    rows: list[Row]


def ended(config: RunConfig, dataset: TokenDataset, run_dir: Path) -> Ended:
    result = train(config, dataset, run_dir)
    return Ended(config, run_dir, result, read_rows(run_dir / "metrics.jsonl")[0])


@pytest.fixture(scope="module")
def two_seconds(stdlib: TokenDataset, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A run of two seconds that nothing disturbed; its evaluations are not counted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workloads.training.trainer.training_device", lambda: torch.device("cpu"))
        return ended(timed(), stdlib, tmp_path_factory.mktemp("two"))


def test_it_ends_at_the_second_at_its_final_rate_evaluated_and_saved(two_seconds: Ended) -> None:
    _, run_dir, result, rows = two_seconds
    assert result.status == "finished" and result.step == rows[-1]["step"] > 20
    assert result.clock_seconds == pytest.approx(SECONDS, abs=SLOWEST_STEP)
    assert rows[-1]["learning_rate"] == pytest.approx(FLOOR, rel=1e-9)
    assert rows[-1]["val_loss"] == result.val_loss
    assert newest_checkpoint(run_dir).name == f"step-{result.step:08d}.safetensors"
    assert "no: a clock" in result.environment["repeatable"]
    assert (result.tokens, result.train_flops) == (rows[-1]["tokens"], rows[-1]["train_flops"])
    assert result.tokens == result.step * two_seconds.config.tokens_per_step


def test_the_rate_follows_the_share_of_the_time(two_seconds: Ended) -> None:
    """Against the cosine of the seconds that were spent: a step knows only what it expects."""
    found = {row["clock_seconds"]: row["learning_rate"] for row in two_seconds.rows}
    assert list(found) == sorted(found)
    for seconds, rate in list(found.items())[5:]:
        share = min(1.0, seconds / SECONDS)
        decay = FLOOR + (PEAK - FLOOR) * (1 + math.cos(math.pi * (share - 0.1) / 0.9)) / 2
        wanted = PEAK * share / 0.1 if share < 0.1 else decay
        assert rate == pytest.approx(wanted, abs=0.15 * PEAK)
    rates = list(found.values())
    peak = rates.index(max(rates))
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[:peak] == sorted(rates[:peak])


def test_what_it_read_is_known_afterwards(two_seconds: Ended) -> None:
    config, run_dir, result, _ = two_seconds
    assert read_config(run_dir) == config.lasting(result.step)
    seen = Seen(run_dir)
    assert (seen.step, seen.steps) == (result.step, result.step)
    assert sum(source.tokens for source in seen.sources()) == result.tokens


def test_its_steps_read_what_those_of_any_run_read(
    two_seconds: Ended, stdlib: TokenDataset, tmp_path: Path
) -> None:
    """At the same rates it has the same losses: a clock changes the rates and the end alone."""
    short = timed(seconds=1e9).lasting(3)
    train(short.model_copy(update={"clock": None}), stdlib, tmp_path)
    first = read_rows(tmp_path / "metrics.jsonl")[0][0]
    assert first["train_loss"] == two_seconds.rows[0]["train_loss"]


def test_a_run_that_has_ended_returns_at_once(two_seconds: Ended, stdlib: TokenDataset) -> None:
    config, run_dir, result, _ = two_seconds
    # Another machine plans another number of steps.
    again = train(config.lasting(7), stdlib, run_dir, lambda row: pytest.fail("trained"))
    assert again == result


def test_a_run_killed_between_its_last_checkpoint_and_its_result_takes_no_step(
    two_seconds: Ended, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, original, result, _ = two_seconds
    for path in original.rglob("*"):
        if path.is_file() and path.name not in ("result.json", SPENT_FILE):
            target = tmp_path / path.relative_to(original)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_bytes(path.read_bytes())
    again = train(config, stdlib, tmp_path)
    assert (again.step, again.val_loss) == (result.step, result.val_loss)
    assert again.resumed_step == result.step and again.clock_seconds == result.clock_seconds


def test_a_killed_run_has_the_time_that_it_had_left(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = timed(runtime={"checkpoint_interval": 10})
    kill_after(config, stdlib, tmp_path, step=17)
    before, killed = spent_seconds(tmp_path), read_rows(tmp_path / "metrics.jsonl")[0]
    # The steps since the checkpoint are lost, and their time is spent.
    assert killed[-1]["clock_seconds"] - 1e-6 <= before < SECONDS
    _, _, result, rows = ended(config, stdlib, tmp_path)
    assert result.resumed_step % 10 == 0 and 10 <= result.resumed_step < result.step
    assert result.clock_seconds == pytest.approx(SECONDS, abs=SLOWEST_STEP)
    assert rows[-1]["learning_rate"] == pytest.approx(FLOOR, rel=1e-9)
    assert [row["step"] for row in rows] == list(range(1, result.step + 1))
    after = next(row for row in rows if row["step"] > killed[-1]["step"])
    assert after["clock_seconds"] > before


def test_no_time_left_is_one_step_at_the_final_rate(stdlib: TokenDataset, tmp_path: Path) -> None:
    record_spent(tmp_path, 10.0)
    _, _, result, rows = ended(timed(), stdlib, tmp_path)
    assert result.step == 1 and rows[-1]["learning_rate"] == pytest.approx(FLOOR, rel=1e-9)
    assert result.clock_seconds is not None and result.clock_seconds > 10.0


def test_a_clock_of_everything_counts_evaluations_and_checkpoints(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = timed(
        clock="everything", eval_tokens=30_000, runtime={"eval_interval": 8, "log_interval": 8}
    )
    _, _, result, rows = ended(config, stdlib, tmp_path)
    assert result.train_seconds == pytest.approx(SECONDS, abs=SLOWEST_STEP)
    assert result.clock_seconds == pytest.approx(result.train_seconds, abs=0.1)
    assert rows[-1]["learning_rate"] == pytest.approx(FLOOR, rel=1e-9)
    assert rows[-1]["val_loss"] == result.val_loss
    # The steps alone take less: most of the time goes into evaluations.
    steps = sum(8 * config.tokens_per_step / row["tokens_per_second"] for row in rows[:-1])
    assert steps < 0.8 * SECONDS


def test_a_run_that_outlasts_what_is_expected_asks_for_more(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, reserved = timed().lasting(8), list[int]()

    def admit() -> None:
        reserved.append(spent(tmp_path).committed)
        if len(reserved) == 3:
            raise Refused("over budget")

    with pytest.raises(Refused, match="over budget"):
        train(config, stdlib, tmp_path, admit=admit)
    one = train_flops(config.lasting(1))
    # 8 steps are expected; then a quarter more than the step in question: 9 + 2, 12 + 3.
    assert reserved == [8 * one, 11 * one, 15 * one]
    assert newest_checkpoint(tmp_path).name == "step-00000011.safetensors"
    assert spent(tmp_path).reserved == 0
    result = train(config, stdlib, tmp_path)
    assert (result.status, result.resumed_step) == ("finished", 11)


def test_a_diverging_run_ends_before_its_time(stdlib: TokenDataset, tmp_path: Path) -> None:
    config = timed(optimizer={"warmup_fraction": 0.0})
    rate = {"optimizer": config.optimizer.model_copy(update={"learning_rate": 1e30})}
    result = train(config.model_copy(update=rate), stdlib, tmp_path)
    assert result.status == "diverged" and result.step < 5
    assert result.clock_seconds is not None and result.clock_seconds < SECONDS


def test_how_far_it_is_is_said_in_seconds(two_seconds: Ended) -> None:
    row = two_seconds.rows[-1] | {"clock_seconds": 1.0, "step": 9}
    assert place_in_words(two_seconds.config, row) == "step 9, 1.0 of 2 s"
    assert share_done(two_seconds.config, row) == 0.5
    assert place_in_words(pico(), {"step": 10}) == "step 10/40"
    assert share_done(pico(), {}) == 0


def test_a_file_of_spent_seconds_that_was_never_written_to_counts_nothing(tmp_path: Path) -> None:
    (tmp_path / SPENT_FILE).touch()
    assert spent_seconds(tmp_path) == 0
    record_spent(tmp_path, 123456.25)
    record_spent(tmp_path, 7.5)
    assert spent_seconds(tmp_path) == 7.5


def test_checkpoints_of_other_runs_are_as_they_were(stdlib: TokenDataset, tmp_path: Path) -> None:
    train(pico(budget={"steps": 2}), stdlib, tmp_path)
    with safe_open(newest_checkpoint(tmp_path), framework="pt") as file:
        names = set(file.metadata())
    assert names == {"step", "train_seconds", "train_loss_max", "fingerprint", "sha256"}
    assert final_state(tmp_path)
