"""Runs taken in from elsewhere and taken out again: real runs and a real ledger."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.tables.tracking import LedgerError
from study.ledger import reader
from study.plan import planner
from study.plan.planner import Study
from study.transfer import adopt
from tests.study.launching import in_process, records_of
from workloads.errors import InputError
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import CHECKPOINT_FOLDER, METRICS_FILE, saved_steps


def test_directories_of_the_same_fingerprint_are_recorded_as_finished(
    finished: Study, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    study = planner.load(write_spec("adopting"), tmp_path / "runs")
    in_process("adopt", study.spec.path, "--from", finished.points_dir, "--runs", study.runs_dir)
    records, originals = (records_of(s.runs_dir, s.name) for s in (study, finished))
    assert len(records) == 2
    client = MlflowClient(reader.tracking_uri(study.runs_dir))
    for point, original in zip(study.points, finished.points, strict=True):
        record, source = records[point.id], finished.run_dir(original)
        assert record.status == "finished"
        assert record.metrics["val_loss"] == originals[original.id].metrics["val_loss"]
        assert record.tags["adopted_from"] == str(source)
        assert record.tags["adopted_at"] and "@" in record.tags["adopted_by"]
        rows, _ = read_rows(source / METRICS_FILE)
        history = client.get_metric_history(record.run_id, "train_loss")
        assert [(m.step, m.value) for m in history] == [(r["step"], r["train_loss"]) for r in rows]
        # A point with a larger budget goes on from these.
        saved = saved_steps(source / CHECKPOINT_FOLDER)
        assert saved and saved_steps(study.run_dir(point) / CHECKPOINT_FOLDER) == saved
    with pytest.raises(InputError, match="no ended run of a point"):
        adopt.adopt(study, str(finished.points_dir))


def test_another_experiment_is_adopted_under_this_studys_names(
    finished: Study, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    second = planner.load(write_spec("second"), tmp_path / "other")
    uri = reader.tracking_uri(finished.runs_dir)
    source = f"{uri}/{finished.name}"
    assert set(adopt.adopt(second, source)) == {point.id for point in second.points}
    records, originals = (records_of(s.runs_dir, s.name) for s in (second, finished))
    for point_id, record in records.items():
        assert record.metrics == originals[point_id].metrics
        assert record.tags["study"] == "second" and record.tags["adopted_from"] == source
    with pytest.raises(
        InputError, match=rf"has no experiment elsewhere; it has: .*{finished.name}"
    ):
        adopt.adopt(second, f"{uri}/elsewhere")
    with pytest.raises(LedgerError, match="no such file"):
        adopt.adopt(second, f"sqlite:///{tmp_path}/absent.db/{finished.name}")


def test_dropped_run_is_queued_again_and_nothing_of_it_is_lost(finished: Study) -> None:
    dropped, kept = finished.points
    run_id = records_of(finished.runs_dir, finished.name)[dropped.id].run_id
    metrics = (finished.run_dir(dropped) / METRICS_FILE).read_text()
    arguments = ("--runs", finished.runs_dir)
    in_process("drop", finished.spec.path, dropped.id, "--reason", "a test", *arguments)
    planned = json.loads(in_process("plan", finished.spec.path, "--json", *arguments).stdout)
    states = {point["id"]: point["state"] for point in planned["points"]}
    assert states == {dropped.id: "queued", kept.id: "finished"}
    assert not finished.run_dir(dropped).exists()
    [aside] = (finished.directory / "dropped").iterdir()
    assert (aside / METRICS_FILE).read_text() == metrics
    run = MlflowClient(reader.tracking_uri(finished.runs_dir)).get_run(run_id)
    assert run.info.lifecycle_stage == "deleted"
    assert run.data.tags["dropped_because"] == "a test" and run.data.tags["dropped_at"]
    with pytest.raises(InputError, match=f"the nearest is {kept.id}"):
        adopt.drop(finished, dropped.id, "")
