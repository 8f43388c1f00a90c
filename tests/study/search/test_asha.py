"""ASHA against Ray Tune's own rule; and a sweep in which it really stops runs."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from ray.tune.schedulers.async_hyperband import _Bracket as TuneBracket

from study.plan import planner
from study.plan.planner import Study
from study.search.asha import Bracket, LearningRateAsha
from study.spec.search import Asha
from tests.study.launching import records_of, study_cli
from workloads.errors import InputError
from workloads.run_dir.metrics_log import MetricsLog, read_rows
from workloads.run_dir.paths import METRICS_FILE
from workloads.run_dir.result import read_result

CPUS = os.cpu_count() or 1
SPEC = """\
study: sweep
max_total_flops: 1.0e13
grid:
  preset: [pico]
  ffn: [{kind: dense}]
  learning_rate: [3.0e-3, 1.0e-9]
  seed: [0, 1]
budget: {steps: 60}
eval_tokens: 8192
runtime: {log_interval: 5, eval_interval: 10, checkpoint_interval: 60}
scheduler: {asha: {grace_flops: 1.0e+10, reduction_factor: 2}}
resources: {num_workers: 0}
"""


@pytest.mark.parametrize("factor", [2, 3.5])
def test_the_rule_is_tunes(factor: float) -> None:
    draw = random.Random(0)
    ours = Bracket(Asha(grace_flops=10, reduction_factor=factor), train_flops=1000)
    tunes = TuneBracket(10, 999, factor, 0, stop_last_trials=False)
    progress = {f"run{i}": 0 for i in range(30)}
    decisions = []
    for _ in range(2000):
        run = draw.choice(list(progress))
        progress[run] += draw.randint(0, 60)
        loss = draw.uniform(1, 5)
        trial: Any = SimpleNamespace(trial_id=run)
        stops = ours.stops(run, progress[run], loss)
        assert stops == (tunes.on_result(trial, progress[run], -loss) == "STOP")
        decisions.append(stops)
    assert 10 < sum(decisions) < 90


def test_a_run_is_compared_once_at_each_rung_and_never_at_its_end() -> None:
    bracket = Bracket(Asha(grace_flops=10, reduction_factor=2), train_flops=40)
    assert not bracket.stops("good", 10, 1.0)  # none to compare with
    assert not bracket.stops("bad", 9, 9.0)  # before the first rung
    assert bracket.stops("bad", 10, 9.0)
    assert not bracket.stops("bad", 11, 9.0)  # compared already
    assert not bracket.stops("good", 40, 1.0)
    assert not bracket.stops("late", 40, 0.5)  # the last rung is at 20
    assert bracket.stops("later", 40, 2.0)


def load(tmp_path: Path, text: str = SPEC) -> Study:
    path = tmp_path / "sweep.yaml"
    path.write_text(text)
    return planner.load(path, tmp_path / "runs")


def report(scheduler: LearningRateAsha, study: Study, index: int, share: float, loss: float) -> str:
    point = study.points[index]
    trial: Any = SimpleNamespace(config={"task": f'{{"point_id": "{point.id}"}}'})
    controller: Any = None
    return scheduler.on_trial_result(controller, trial, row_at(study, index, share, loss))


def row_at(study: Study, index: int, share: float, loss: float) -> dict[str, float]:
    point = study.points[index]
    return {
        "step": share * point.config.steps,
        "tokens": share * point.config.tokens,
        "train_flops": share * point.train_flops,
        "executed_flops": share * point.train_flops,
        "hardware_flops": share * point.train_flops,
        "train_seconds": 1.0,
        "val_loss": loss,
        "bits_per_byte": loss,
    }


def test_only_runs_that_differ_by_nothing_but_the_rate_are_compared(tmp_path: Path) -> None:
    study = load(tmp_path)
    asha = Asha(grace_flops=study.points[0].train_flops / 4, reduction_factor=2)
    for point in study.points:
        study.run_dir(point).mkdir(parents=True)
    scheduler = LearningRateAsha(study, asha)
    rates = [(p.config.optimizer.learning_rate, p.config.seed) for p in study.points]
    assert rates == [(3e-3, 0), (3e-3, 1), (1e-9, 0), (1e-9, 1)]
    assert report(scheduler, study, 0, 0.5, 1.0) == "CONTINUE"
    assert report(scheduler, study, 1, 0.5, 2.0) == "CONTINUE"  # another seed: another sweep
    assert report(scheduler, study, 2, 0.5, 3.0) == "STOP"
    stopped = read_result(study.run_dir(study.points[2]), study.points[2].fingerprint)
    assert stopped is not None and (stopped.status, stopped.val_loss) == ("stopped", 3.0)
    # A run at its end has nothing left to save.
    assert report(scheduler, study, 3, 1.0, 9.0) == "CONTINUE"


def test_a_run_whose_text_has_unknown_bytes_is_stopped_too(tmp_path: Path) -> None:
    study = load(tmp_path)
    for point in study.points:
        study.run_dir(point).mkdir(parents=True)
    MetricsLog(study.run_dir(study.points[0])).append(row_at(study, 0, 0.5, 1.0))
    scheduler = LearningRateAsha(study, Asha(grace_flops=study.points[0].train_flops / 4))
    trial = SimpleNamespace(config={"task": json.dumps({"point_id": study.points[2].id})})
    row = {k: v for k, v in row_at(study, 2, 0.5, 3.0).items() if k != "bits_per_byte"}
    controller: Any = None
    assert scheduler.on_trial_result(controller, cast(Any, trial), row) == "STOP"
    stopped = read_result(study.run_dir(study.points[2]), study.points[2].fingerprint)
    assert stopped is not None and (stopped.val_loss, stopped.bits_per_byte) == (3.0, None)


def test_what_earlier_launches_recorded_counts(tmp_path: Path) -> None:
    study = load(tmp_path)
    for point in study.points:
        study.run_dir(point).mkdir(parents=True)
    MetricsLog(study.run_dir(study.points[0])).append(row_at(study, 0, 0.5, 1.0))
    scheduler = LearningRateAsha(study, Asha(grace_flops=study.points[0].train_flops / 4))
    assert report(scheduler, study, 2, 0.5, 3.0) == "STOP"
    assert report(scheduler, study, 1, 0.5, 3.0) == "CONTINUE"


def test_an_unknown_scheduler_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=re.escape("no such scheduler; use fifo, or {asha")):
        load(tmp_path, re.sub("scheduler: .*", "scheduler: hyperband", SPEC))
    assert load(tmp_path, re.sub("scheduler: .*", "scheduler: fifo", SPEC)).points


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1], ids=["in the trial", "one Train worker"])
def test_a_stopped_run_is_recorded_frees_its_place_and_has_ended(
    num_workers: int, runs_dir: Path, tmp_path: Path
) -> None:
    """One place at a time: the point after a stopped one starts only if its place is free."""
    name = f"sweep-{num_workers}"
    text = SPEC.replace("study: sweep", f"study: {name}")
    text = text.replace("[3.0e-3, 1.0e-9]", "[3.0e-3, 1.0e-8, 1.0e-9]").replace("[0, 1]", "[0]")
    text = text.replace("num_workers: 0", f"num_workers: {num_workers}, cpus_per_worker: {CPUS}")
    spec = tmp_path / "sweep.yaml"
    spec.write_text(text)
    done = study_cli("run", spec, "--runs", runs_dir)
    study, records = planner.load(spec, runs_dir), records_of(runs_dir, name)
    statuses = [records[point.id].status for point in study.points]
    assert statuses == ["finished", "stopped", "stopped"]
    assert done.stderr.count("by ASHA at") == 2
    for point in study.points[1:]:
        rows, _ = read_rows(study.run_dir(point) / METRICS_FILE)
        at_rung = next(row for row in rows if "val_loss" in row and row["train_flops"] >= 1e10)
        result = read_result(study.run_dir(point), point.fingerprint)
        assert result is not None
        assert (result.train_flops, result.val_loss) == (
            at_rung["train_flops"],
            at_rung["val_loss"],
        )
    assert "2 stopped" in study_cli("status", spec, "--runs", runs_dir).stdout
    assert "stopped early" in (study.directory / "report.md").read_text()
    assert "nothing to run" in study_cli("run", spec, "--runs", runs_dir).stderr
    assert records_of(runs_dir, name) == records
