"""A study as a folder and back: every number the same to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from mlflow import MlflowClient

from analysis.tables import runs
from study.ledger import copy, reader
from study.plan import planner
from study.plan.planner import Study
from study.transfer import adopt
from tests.study.launching import ROOT, records_of, study_cli
from workloads.data import shards
from workloads.training.trainer import train


@pytest.fixture(scope="module")
def recorded(runs_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A recorded study of two points, and one that nobody trained."""
    folder = tmp_path_factory.mktemp("recorded")
    spec = folder / "study.yaml"
    spec.write_text("""\
study: carried
max_total_flops: 1.0e13
grid:
  preset: [pico]
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.3125}, {kind: lowrank, fraction: 0.625}]
budget: {steps: 20}
eval_tokens: 8192
runtime: {log_interval: 5, eval_interval: 10, checkpoint_interval: 10}
resources: {num_workers: 0}
""")
    study = planner.load(spec, folder / "runs")
    torch.set_num_threads(1)
    dataset = shards.prepare(study.spec.value.data, runs_dir / "data")
    for point in study.points[:2]:
        train(point.config, dataset, folder / "trained" / point.id)
    adopt.adopt(study, str(folder / "trained"))
    return study


def test_round_trip_gives_every_number_back(recorded: Study, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "exported", tmp_path / "elsewhere"
    study_cli("export", recorded.spec.path, folder, "--runs", recorded.runs_dir)
    study_cli("import", folder, "--runs", elsewhere)
    before, after = (records_of(path, "carried") for path in (recorded.runs_dir, elsewhere))
    assert before.keys() == after.keys() and len(after) == 2
    for point_id, record in after.items():
        assert record.metrics == before[point_id].metrics
        assert record.tags.items() >= _own(before[point_id].tags).items()
    originals, copies = (
        {run.point_id: run for run in copy.read(_client(path), "carried")}
        for path in (recorded.runs_dir, elsewhere)
    )
    assert originals == copies
    # The ledger that was written answers as the first one did.
    arguments = (recorded.spec.path, "--json", "--runs", elsewhere)
    planned = json.loads(study_cli("plan", *arguments).stdout)["points"]
    assert [point["state"] for point in planned] == ["finished", "finished", "queued"]
    assert "0 runs added" in study_cli("import", folder, "--runs", elsewhere).stderr


def test_analysis_reads_the_folder_without_mlflow(recorded: Study, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    study_cli("export", recorded.spec.path, folder, "--runs", recorded.runs_dir)
    exported = runs.load_csv(folder / "runs.csv")
    direct = runs.load_mlflow(reader.tracking_uri(recorded.runs_dir), "carried")
    finished = exported.query("status == 'finished'").reset_index(drop=True)
    pd.testing.assert_frame_equal(finished, direct, check_exact=True)
    assert list(exported["status"]).count("queued") == 1
    provenance = json.loads((folder / "provenance.json").read_text())
    assert len(provenance["commit"]) == 40 and (folder / "uncommitted.diff").exists()
    assert (folder / "spec.yaml").read_text() == recorded.spec.text
    configs = json.loads((folder / "configs.json").read_text())
    assert configs.keys() == {point.id for point in recorded.points[:2]}
    for point in recorded.points[:2]:
        assert configs[point.id] == json.loads(json.dumps(point.identity))


def test_a_folder_that_is_not_an_export_is_one_line(recorded: Study, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("point_id,metric\na,b\n")
    done = study_cli("import", tmp_path, "--runs", tmp_path / "runs", check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "not a folder that `study export` wrote" in done.stderr
    filled = study_cli("export", recorded.spec.path, ROOT, "--runs", recorded.runs_dir, check=False)
    assert filled.returncode == 2 and "is not empty" in filled.stderr


def _client(runs_dir: Path) -> MlflowClient:
    return MlflowClient(reader.tracking_uri(runs_dir))


def _own(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith("mlflow.")}
