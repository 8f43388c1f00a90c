"""A study end to end: real Ray, real MLflow, real text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.ledger import reader
from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import launch, records_of, study_cli, wait_for
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE

NAME = "end-to-end"


@pytest.fixture(scope="module")
def spec_text() -> str:
    return """\
study: end-to-end
max_total_flops: 1.0e12
grid:
  preset: [pico]
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.3125}]
budget: {steps: 20}
eval_tokens: 8192
runtime: {log_interval: 5, eval_interval: 10, checkpoint_interval: 10}
resources: {num_workers: 0}
"""


@pytest.fixture(scope="module")
def finished(
    runs_dir: Path, spec_text: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, str, str]:
    """The study after its run, with what the run wrote to stdout and stderr."""
    spec = tmp_path_factory.mktemp("spec") / "study.yaml"
    spec.write_text(spec_text)
    done = study_cli("run", spec, "--runs", runs_dir)
    return planner.load(spec, runs_dir), done.stdout, done.stderr


def test_every_point_is_recorded_as_finished(finished: tuple[Study, str, str]) -> None:
    study, _, _ = finished
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
    finished: tuple[Study, str, str],
) -> None:
    study, _, _ = finished
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


def test_both_ledger_readers_see_the_same(finished: tuple[Study, str, str]) -> None:
    uri = reader.tracking_uri(finished[0].runs_dir)
    assert uri.startswith(reader.SQLITE)
    fast = reader.read(uri, NAME)
    through_client = {
        record.tags["point_id"]: record
        for record in reader.read_client(uri, NAME)
        if "point_id" in record.tags
    }
    assert fast == through_client


def test_run_prints_a_line_a_change_and_the_overhead(finished: tuple[Study, str, str]) -> None:
    study, stdout, stderr = finished
    for point in study.points:
        lines = [line for line in stderr.splitlines() if point.id in line]
        assert "started" in lines[0] and "finished" in lines[-1]
    assert "study 2 of 2 points" in stderr
    assert "overhead" in stderr
    assert "report.html" in stdout


def test_report_files_hold_the_runs(finished: tuple[Study, str, str]) -> None:
    study, _, _ = finished
    names = {"runs.csv", "fits.json", "scaling.png", "scaling.svg", "report.md", "report.html"}
    assert names <= {file.name for file in study.directory.iterdir()}
    table = pd.read_csv(study.directory / "runs.csv").set_index("point_id")
    for point in study.points:
        row = table.loc[point.id]
        assert row["train_flops"] == point.train_flops
        assert row["val_loss"] == pytest.approx(row["bits_per_byte"] * math.log(2), rel=1e-3)


def test_run_again_runs_nothing(finished: tuple[Study, str, str]) -> None:
    study, _, _ = finished
    before = records_of(study.runs_dir, NAME)
    again = study_cli("run", study.spec.path, "--runs", study.runs_dir)
    assert "nothing to run" in again.stderr
    assert records_of(study.runs_dir, NAME) == before


def test_added_seed_runs_alone(finished: tuple[Study, str, str], spec_text: str) -> None:
    study, _, _ = finished
    before = records_of(study.runs_dir, NAME)
    study.spec.path.write_text(spec_text.replace("dense}, {", "dense}]\n  seed: [0, 1]\n#", 1))
    try:
        done = study_cli("run", study.spec.path, "--runs", study.runs_dir)
    finally:
        study.spec.path.write_text(spec_text)
    started = [line for line in done.stderr.splitlines() if "started" in line]
    assert len(started) == 1 and "dense" in started[0] and "seed1" in started[0]
    after = records_of(study.runs_dir, NAME)
    assert before.items() <= after.items() and len(after) == 3


def test_changed_meaning_stops_with_the_fields_that_differ(
    finished: tuple[Study, str, str], spec_text: str
) -> None:
    study, _, _ = finished
    study.spec.path.write_text(spec_text.replace("8192", "4096"))
    try:
        done = study_cli("run", study.spec.path, "--runs", study.runs_dir, check=False)
    finally:
        study.spec.path.write_text(spec_text)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "eval_tokens 8192 -> 4096" in done.stderr


def test_status_and_plan_show_the_state(finished: tuple[Study, str, str]) -> None:
    study, _, _ = finished
    arguments = (study.spec.path, "--runs", study.runs_dir)
    assert "2 finished" in study_cli("status", *arguments).stdout
    planned = json.loads(study_cli("plan", *arguments, "--json").stdout)
    assert [point["state"] for point in planned["points"]] == ["finished", "finished"]
    assert "finished runs" in planned["estimate_basis"]


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
    assert "2 diverged" in study_cli("status", spec, "--runs", runs_dir).stdout
    assert "diverged" in (runs_dir / "diverging" / "report.md").read_text()
    assert "nothing to run" in study_cli("run", spec, "--runs", runs_dir, check=False).stderr


def test_failing_point_is_retried_then_recorded_with_its_cause(
    write_spec: Callable[..., Path], runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERNELS", "feed_forward:reference")
    spec = write_spec("failing")
    study = planner.load(spec, runs_dir)
    broken, sound = study.points
    # A file where the run's checkpoints belong makes each attempt fail for real.
    study.run_dir(broken).mkdir(parents=True)
    (study.run_dir(broken) / "checkpoints").write_text("in the way")
    done = study_cli("run", spec, "--runs", runs_dir, check=False)
    assert done.returncode == 1
    assert done.stderr.count("retrying") == 3
    records = records_of(runs_dir, "failing")
    assert records[sound.id].status == "finished"
    assert records[broken.id].status == "failed"
    assert "checkpoints" in records[broken.id].tags["failure"]
    assert "feed_forward=reference" in records[sound.id].tags["kernel_path"]
    (study.run_dir(broken) / "checkpoints").unlink()
    study_cli("run", spec, "--runs", runs_dir)
    assert records_of(runs_dir, "failing")[broken.id].status == "finished"


def test_second_driver_is_refused(write_spec: Callable[..., Path], runs_dir: Path) -> None:
    spec = write_spec("contended", preset="nano", steps=60)
    study = planner.load(spec, runs_dir)
    first = launch(spec, runs_dir)
    wait_for(study.run_dir(study.points[0]).exists)
    second = study_cli("run", spec, "--runs", runs_dir, check=False)
    output, _ = first.communicate(timeout=240)
    assert second.returncode == 2 and "in use by another live process" in second.stderr
    assert first.returncode == 0, output


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


def test_two_train_workers_train_as_one(
    finished: tuple[Study, str, str], write_spec: Callable[..., Path], runs_dir: Path
) -> None:
    spec = write_spec("two-workers", num_workers=2)
    study_cli("run", spec, "--runs", runs_dir)
    alone = records_of(runs_dir, NAME)
    for point_id, record in records_of(runs_dir, "two-workers").items():
        expected = alone[point_id].metrics["val_loss"]
        assert record.metrics["val_loss"] == pytest.approx(expected, rel=1e-4)


def test_ledger_row_that_cannot_be_read_is_one_line(
    write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec = write_spec("unreadable")
    client = MlflowClient(reader.tracking_uri(tmp_path))
    tags = {"point_id": "from-elsewhere", "status": "finished", "study": "unreadable"}
    run = client.create_run(client.create_experiment("unreadable"), tags=tags)
    client.log_param(run.info.run_id, "train_flops", "many")
    done = study_cli("report", spec, "--runs", tmp_path, check=False)
    assert done.returncode == 2
    assert "train_flops" in done.stderr and done.stderr.count("\n") == 1
