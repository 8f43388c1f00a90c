"""A study end to end: real Ray, real MLflow, real text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.ledger import reader
from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import Launched, in_process, launch, records_of, study_cli, wait_for
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE

NAME = "end-to-end"


def test_every_point_is_recorded_as_finished(launched: Launched) -> None:
    study = launched.study
    records = records_of(study.runs_dir, NAME)
    for point in study.points:
        record = records[point.id]
        assert record.status == "finished"
        assert record.tags["fingerprint"] == point.fingerprint
        assert record.tags["num_threads"] == "1"
        assert len(record.tags["commit"]) == 40
        assert record.metrics["train_flops"] == point.train_flops
        assert record.metrics["tokens"] == point.config.tokens


def test_mlflow_has_a_parent_and_nested_runs_with_each_metric_once(
    launched: Launched,
) -> None:
    study = launched.study
    client = MlflowClient(reader.tracking_uri(study.runs_dir))
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    parents = client.search_runs([experiment.experiment_id], "tags.role = 'study'")
    assert len(parents) == 1 and parents[0].info.status == "FINISHED"
    artifacts = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert artifacts == {"spec.yaml", "provenance.json", "uncommitted.diff"}
    for point in study.points:
        (run,) = client.search_runs(
            [experiment.experiment_id], f"tags.point_id = '{point.id}' and tags.study = '{NAME}'"
        )
        assert run.info.status == "FINISHED"
        assert run.data.tags["mlflow.parentRunId"] == parents[0].info.run_id
        assert run.data.params["train_flops"] == str(point.train_flops)
        rows, _ = read_rows(study.run_dir(point) / METRICS_FILE)
        for name in ("train_loss", "tokens", "train_flops", "learning_rate"):
            history = client.get_metric_history(run.info.run_id, name)
            assert [(m.step, m.value) for m in history] == [(r["step"], r[name]) for r in rows]


def test_run_prints_a_line_a_change_and_the_overhead(launched: Launched) -> None:
    for point in launched.study.points:
        lines = [line for line in launched.stderr.splitlines() if point.id in line]
        assert "started" in lines[0] and "finished" in lines[-1]
    assert "study 2 of 2 points" in launched.stderr
    assert "overhead" in launched.stderr
    assert "report.html" in launched.stdout


def test_report_files_hold_the_runs(launched: Launched) -> None:
    study = launched.study
    names = {"runs.csv", "fits.json", "scaling.png", "scaling.svg", "report.md", "report.html"}
    assert names <= {file.name for file in study.directory.iterdir()}
    table = pd.read_csv(study.directory / "runs.csv").set_index("point_id")
    for point in study.points:
        row = table.loc[point.id]
        assert row["train_flops"] == point.train_flops
        assert row["val_loss"] == pytest.approx(row["bits_per_byte"] * math.log(2), rel=1e-3)


def test_run_again_runs_nothing(finished: Study) -> None:
    before = records_of(finished.runs_dir, NAME)
    again = study_cli("run", finished.spec.path, "--runs", finished.runs_dir)
    assert "nothing to run" in again.stderr
    assert records_of(finished.runs_dir, NAME) == before


@pytest.mark.slow
def test_added_seed_runs_alone(finished: Study) -> None:
    before = records_of(finished.runs_dir, NAME)
    grid = "  ffn: [{kind: dense}]\n  seed: [0, 1]\nbudget:"
    finished.spec.path.write_text(re.sub(r"(?s)  ffn:.*budget:", grid, finished.spec.text))
    done = study_cli("run", finished.spec.path, "--runs", finished.runs_dir)
    started = [line for line in done.stderr.splitlines() if "started" in line]
    assert len(started) == 1 and "dense" in started[0] and "seed1" in started[0]
    after = records_of(finished.runs_dir, NAME)
    assert before.items() <= after.items() and len(after) == 3


def test_changed_meaning_stops_with_the_fields_that_differ(finished: Study) -> None:
    finished.spec.path.write_text(finished.spec.text.replace("8192", "4096"))
    done = in_process("run", finished.spec.path, "--runs", finished.runs_dir, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "eval_tokens 8192 -> 4096" in done.stderr


def test_status_and_plan_show_the_state(launched: Launched) -> None:
    arguments = (launched.study.spec.path, "--runs", launched.study.runs_dir)
    assert "2 finished" in in_process("status", *arguments).stdout
    planned = json.loads(in_process("plan", *arguments, "--json").stdout)
    assert [point["state"] for point in planned["points"]] == ["finished", "finished"]
    assert "finished runs" in planned["estimate_basis"]


@pytest.mark.slow
def test_diverged_point_is_visible_and_the_others_finish(
    write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("diverging")
    text = spec.read_text().replace("budget:", "  learning_rate: [1.0e-3, 1.0e18]\nbudget:")
    spec.write_text(text)
    done = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert done.returncode == 1
    statuses = sorted(record.status for record in records_of(runs_dir, "diverging").values())
    assert statuses == ["diverged", "diverged", "finished", "finished"]
    assert "2 diverged" in in_process("status", spec, "--runs", runs_dir).stdout
    assert "diverged" in (runs_dir / "diverging" / "report.md").read_text()
    assert "nothing to run" in in_process("run", spec, "--runs", runs_dir, check=False).stderr


@pytest.mark.slow
def test_second_driver_is_refused(write_spec: Callable[..., Path], runs_dir: Path) -> None:
    spec = write_spec("contended", preset="nano", steps=60)
    study = planner.load(spec, runs_dir)
    first = launch(spec, runs_dir)
    wait_for(study.run_dir(study.points[0]).exists)
    second = in_process("run", spec, "--runs", runs_dir, check=False)
    output, _ = first.communicate(timeout=240)
    assert second.returncode == 2 and "in use by another live process" in second.stderr
    assert first.returncode == 0, output


@pytest.mark.slow
def test_point_that_cannot_be_placed_is_refused(
    write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("too-large")
    spec.write_text(
        spec.read_text().replace("num_workers: 0", "num_workers: 0, cpus_per_worker: 999")
    )
    done = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert done.returncode == 2
    assert "needs 1 x (999 CPU, 0 GPU)" in done.stderr and "Traceback" not in done.stderr
    assert f"{spec}:11: resources" in done.stderr


@pytest.mark.slow
def test_two_train_workers_train_as_one(
    launched: Launched, write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("two-workers", num_workers=2)
    study_cli("run", spec, "--runs", runs_dir)
    alone = records_of(runs_dir, launched.study.name)
    for point_id, record in records_of(runs_dir, "two-workers").items():
        expected = alone[point_id].metrics["val_loss"]
        assert record.metrics["val_loss"] == pytest.approx(expected, rel=1e-4)


def test_ledger_row_that_cannot_be_read_is_one_line(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec = write_spec("unreadable")
    client = MlflowClient(reader.tracking_uri(tmp_path))
    tags = {"point_id": "from-elsewhere", "status": "finished", "study": "unreadable"}
    tags["fingerprint"] = "of a point that is not planned"
    run = client.create_run(client.create_experiment("unreadable"), tags=tags)
    client.log_param(run.info.run_id, "train_flops", "many")
    done = in_process("report", spec, "--runs", tmp_path, check=False)
    assert done.returncode == 2
    assert "train_flops" in done.stderr and done.stderr.count("\n") == 1


def test_a_launch_announces_its_time_and_says_at_its_end_what_it_took(launched: Launched) -> None:
    said = [line for line in launched.stderr.splitlines() if "expected" in line]
    assert (
        said[0].startswith("expected here: about ") and "on an idle machine); by a cal" in said[0]
    )
    assert said[-1].startswith("taken: ") and "; expected: " in said[-1]
    assert launched.stderr.index(said[0]) < launched.stderr.index("started")
