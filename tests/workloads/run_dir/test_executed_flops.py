"""What a run executed over all attempts, counted by the files that real kills leave."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.workloads.small_runs import (
    ROOT,
    STEPS,
    Whole,
    assert_same_run,
    kill_after,
    pico,
    rows_of,
)
from workloads.cost.flops import train_flops_at
from workloads.data.dataset import TokenDataset
from workloads.errors import Preempted, Refused
from workloads.run_dir import executed_flops
from workloads.run_dir.executed_flops import AttemptFlops, Spent, spent
from workloads.run_dir.metrics_log import read_rows
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


def test_attempts_add_up_and_only_the_last_reserves(tmp_path: Path) -> None:
    assert spent(tmp_path) == Spent(0, 0)
    killed = AttemptFlops(tmp_path, 0, 10**24)
    killed.reach(3 * 10**23)  # and no end: the process died
    assert spent(tmp_path) == Spent(3 * 10**23, 7 * 10**23)
    with AttemptFlops(tmp_path, 2 * 10**23, 10**24) as second:
        second.reach(5 * 10**23)
        assert second.executed == 6 * 10**23
        assert spent(tmp_path) == Spent(6 * 10**23, 5 * 10**23)
    assert spent(tmp_path) == Spent(6 * 10**23, 0)


def test_the_file_of_a_recorded_run_is_read_for_ever(tmp_path: Path) -> None:
    lines = [(0, 300, 300), (200, 450, 900)]
    text = "".join(" ".join(f"{value:>30}" for value in line) + "\n" for line in lines)
    (tmp_path / "lives").write_text(text)
    assert spent(tmp_path) == Spent(550, 450)


def test_a_torn_line_is_written_over(tmp_path: Path) -> None:
    with AttemptFlops(tmp_path, 0, 9) as attempt:
        attempt.reach(9)
    path = tmp_path / executed_flops.ATTEMPTS_FILE
    path.write_bytes(path.read_bytes() + b"      12")
    assert spent(tmp_path) == Spent(9, 0)
    with AttemptFlops(tmp_path, 5, 20) as attempt:
        attempt.reach(7)
    assert spent(tmp_path) == Spent(11, 0)


def test_what_a_killed_attempt_reserves_can_be_released(tmp_path: Path) -> None:
    AttemptFlops(tmp_path, 0, 100).reach(40)
    executed_flops.release(tmp_path)
    assert spent(tmp_path) == Spent(40, 0)


def test_what_was_executed_elsewhere_counts(tmp_path: Path) -> None:
    executed_flops.add_elsewhere(tmp_path / "run", 30)
    with AttemptFlops(tmp_path / "run", 0, 100) as attempt:
        attempt.reach(10)
        assert attempt.executed == 40


def test_an_undisturbed_run_executes_what_it_plans(whole: Whole) -> None:
    config, run_dir, result, _ = whole
    planned = train_flops_at(config, STEPS)
    assert result.executed_flops == result.train_flops == planned
    assert spent(run_dir) == Spent(planned, 0)
    for row in read_rows(run_dir / "metrics.jsonl")[0]:
        assert row["executed_flops"] == row["train_flops"]


def test_repeated_steps_of_a_killed_run_are_counted(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, undisturbed, _, _ = whole
    kill_after(config, stdlib, tmp_path / "run", step=8)
    recorded = rows_of(tmp_path / "run")[-1]["step"]
    after_kill = spent(tmp_path / "run").executed
    # The step in hand counts: an upper bound, by one step at most.
    assert train_flops_at(config, int(recorded)) <= after_kill
    assert after_kill <= train_flops_at(config, int(recorded) + 1)
    result = train(config, stdlib, tmp_path / "run")
    repeated = after_kill - train_flops_at(config, result.resumed_step)
    assert repeated > 0
    assert result.executed_flops == result.train_flops + repeated
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_refused_run_leaves_nothing_executed_or_reserved(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = pico()
    seen: list[Spent] = []

    def refuse() -> None:
        seen.append(spent(tmp_path))
        raise Refused("over budget")

    with pytest.raises(Refused, match="over budget"):
        train(config, stdlib, tmp_path, admit=refuse)
    assert seen == [Spent(0, train_flops_at(config, STEPS))]
    assert spent(tmp_path) == Spent(0, 0)


def test_a_stopped_run_saves_its_step_and_repeats_none(
    whole: Whole, stdlib: TokenDataset, tmp_path: Path
) -> None:
    config, undisturbed, result, _ = whole
    asked = iter([False] * 12 + [True])
    with pytest.raises(Preempted, match="step 13"):
        train(config, stdlib, tmp_path / "run", should_stop=lambda: next(asked))
    ended = train(config, stdlib, tmp_path / "run")
    assert ended.resumed_step == 13
    assert ended.executed_flops == result.executed_flops
    assert_same_run(tmp_path / "run", undisturbed)


def test_sigterm_stops_the_command_after_its_step(tmp_path: Path) -> None:
    recipe = tmp_path / "run.yaml"
    recipe.write_text(
        "preset: pico\nbudget: {steps: 80}\neval_tokens: 1500\n"
        "runtime: {log_interval: 1, eval_interval: 80}\n"
    )
    command = [sys.executable, "-m", "workloads", "train", str(recipe), "--out"]
    data = ["--data-root", str(tmp_path / "data")]
    process = subprocess.Popen(
        [*command, str(tmp_path / "run"), *data],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not read_rows(tmp_path / "run" / "metrics.jsonl")[0]:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 1, errors
    assert "is saved; the same command goes on" in errors and "Traceback" not in errors
    step = int(errors.split("after step ")[1].split(",")[0])
    done = subprocess.run(
        [*command, str(tmp_path / "run"), *data],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    result = json.loads(done.stdout)
    assert result["resumed_step"] == step
    assert result["executed_flops"] == result["train_flops"]
