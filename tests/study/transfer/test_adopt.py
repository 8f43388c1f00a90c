"""Runs taken in from elsewhere and taken out again: real training, a real ledger, no Ray."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from study.ledger import reader
from study.plan import planner
from study.plan.planner import Study
from study.transfer import adopt
from tests.study.launching import SPEC, records_of, study_cli
from workloads.data import shards
from workloads.errors import InputError
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import CHECKPOINT_FOLDER, METRICS_FILE, saved_steps
from workloads.run_dir.result import Result
from workloads.training.trainer import train


@pytest.fixture(scope="module")
def adopted(
    runs_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Study, Path, list[Result]]:
    """A study whose points were adopted from directories; those, and the runs' results."""
    folder = tmp_path_factory.mktemp("adopted")
    spec = folder / "adopting.yaml"
    spec.write_text(SPEC.format(name="adopting", preset="pico", steps=20, num_workers=0))
    study = planner.load(spec, folder / "runs")
    torch.set_num_threads(1)
    dataset = shards.prepare(study.spec.value.data, runs_dir / "data")
    results = [train(p.config, dataset, folder / "trained" / p.fingerprint) for p in study.points]
    study_cli("adopt", spec, "--from", folder / "trained", "--runs", study.runs_dir)
    return study, folder / "trained", results


def test_directories_of_the_same_fingerprint_are_recorded_as_finished(
    adopted: tuple[Study, Path, list[Result]],
) -> None:
    study, folder, results = adopted
    records = records_of(study.runs_dir, study.name)
    assert len(records) == 2
    client = MlflowClient(reader.tracking_uri(study.runs_dir))
    for point, result in zip(study.points, results, strict=True):
        record = records[point.id]
        assert record.status == "finished"
        assert record.metrics["val_loss"] == result.val_loss
        assert record.tags["adopted_from"] == str(folder / point.fingerprint)
        assert record.tags["adopted_at"] and "@" in record.tags["adopted_by"]
        rows, _ = read_rows(folder / point.fingerprint / METRICS_FILE)
        history = client.get_metric_history(record.run_id, "train_loss")
        assert [(m.step, m.value) for m in history] == [(r["step"], r["train_loss"]) for r in rows]
        # From which a larger budget goes on.
        saved = saved_steps(folder / point.fingerprint / CHECKPOINT_FOLDER)
        assert saved and saved_steps(study.run_dir(point) / CHECKPOINT_FOLDER) == saved
    with pytest.raises(InputError, match="no ended run of a point"):
        adopt.adopt(study, str(folder))


def test_another_experiment_is_adopted_under_this_studys_names(
    adopted: tuple[Study, Path, list[Result]], write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    first, _, _ = adopted
    second = planner.load(write_spec("second"), tmp_path / "other")
    source = f"{reader.tracking_uri(first.runs_dir)}/{first.name}"
    assert adopt.adopt(second, source) == [point.id for point in second.points]
    records, originals = (
        records_of(second.runs_dir, "second"),
        records_of(first.runs_dir, "adopting"),
    )
    for point_id, record in records.items():
        assert record.metrics == originals[point_id].metrics
        assert record.tags["study"] == "second" and record.tags["adopted_from"] == source
    with pytest.raises(InputError, match=r"has no experiment elsewhere; it has: .*adopting"):
        adopt.adopt(second, f"{reader.tracking_uri(first.runs_dir)}/elsewhere")
    with pytest.raises(InputError, match="no such file"):
        adopt.adopt(second, f"sqlite:///{tmp_path}/absent.db/adopting")


def test_dropped_run_is_queued_again_and_nothing_of_it_is_lost(
    adopted: tuple[Study, Path, list[Result]],
) -> None:
    study, _, _ = adopted
    dropped, kept = study.points
    run_id = records_of(study.runs_dir, study.name)[dropped.id].run_id
    metrics = (study.run_dir(dropped) / METRICS_FILE).read_text()
    arguments = ("--runs", study.runs_dir)
    study_cli("drop", study.spec.path, dropped.id, "--reason", "a test", *arguments)
    planned = json.loads(study_cli("plan", study.spec.path, "--json", *arguments).stdout)
    states = {point["id"]: point["state"] for point in planned["points"]}
    assert states == {dropped.id: "queued", kept.id: "finished"}
    assert not study.run_dir(dropped).exists()
    [aside] = (study.directory / "dropped").iterdir()
    assert (aside / METRICS_FILE).read_text() == metrics
    run = MlflowClient(reader.tracking_uri(study.runs_dir)).get_run(run_id)
    assert run.info.lifecycle_stage == "deleted"
    assert run.data.tags["dropped_because"] == "a test" and run.data.tags["dropped_at"]
    with pytest.raises(InputError, match=f"the nearest is {kept.id}"):
        adopt.drop(study, dropped.id, "")
