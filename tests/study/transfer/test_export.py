"""A study as a folder and back: every number the same to the last digit."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from analysis.tables import runs
from study.ledger import copy, reader
from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import ROOT, in_process, records_of

NAME = "end-to-end"


@pytest.fixture
def recorded(finished: Study) -> Study:
    """A recorded study of two points, and one that nobody trained."""
    text = finished.spec.text.replace("budget:", "    - {kind: lowrank, fraction: 0.625}\nbudget:")
    finished.spec.path.write_text(text)
    return planner.load(finished.spec.path, finished.runs_dir)


def test_round_trip_gives_every_number_back(recorded: Study, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "exported", tmp_path / "elsewhere"
    in_process("export", recorded.spec.path, folder, "--runs", recorded.runs_dir)
    in_process("import", folder, "--runs", elsewhere)
    before, after = (records_of(path, NAME) for path in (recorded.runs_dir, elsewhere))
    assert before.keys() == after.keys() and len(after) == 2
    for point_id, record in after.items():
        assert record.metrics == before[point_id].metrics
        assert record.tags.items() >= _own(before[point_id].tags).items()
    originals, copies = (
        {run.point_id: run for run in copy.read(_client(path), NAME)}
        for path in (recorded.runs_dir, elsewhere)
    )
    assert originals == copies
    assert all(run.inputs[0]["digest"] for run in copies.values())
    # The ledger that was written answers as the first one did.
    arguments = (recorded.spec.path, "--json", "--runs", elsewhere)
    planned = json.loads(in_process("plan", *arguments).stdout)["points"]
    assert [point["state"] for point in planned] == ["finished", "finished", "queued"]
    assert "0 runs added" in in_process("import", folder, "--runs", elsewhere).stderr


def test_analysis_reads_the_folder_without_mlflow(recorded: Study, tmp_path: Path) -> None:
    folder = tmp_path / "exported"
    in_process("export", recorded.spec.path, folder, "--runs", recorded.runs_dir)
    exported = runs.load_csv(folder / "runs.csv")
    direct = runs.load_mlflow(reader.tracking_uri(recorded.runs_dir), NAME)
    finished = exported.query("status == 'finished'").reset_index(drop=True)
    pd.testing.assert_frame_equal(finished, direct, check_exact=True)
    assert list(exported["status"]).count("queued") == 1
    provenance = json.loads((folder / "provenance.json").read_text())
    assert len(provenance["commit"]) == 40 and (folder / "uncommitted.diff").exists()
    # The study file of the launch, not the one that has grown since.
    assert "0.625" not in (folder / "spec.yaml").read_text()
    configs = json.loads((folder / "configs.json").read_text())
    assert configs.keys() == {point.id for point in recorded.points[:2]}
    for point in recorded.points[:2]:
        assert configs[point.id] == json.loads(json.dumps(point.identity))


def test_a_folder_that_is_not_an_export_is_one_line(finished: Study, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("point_id,metric\na,b\n")
    done = in_process("import", tmp_path, "--runs", tmp_path / "runs", check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "not a folder that `study export` wrote" in done.stderr
    arguments = (finished.spec.path, ROOT, "--runs", finished.runs_dir)
    filled = in_process("export", *arguments, check=False)
    assert filled.returncode == 2 and "is not empty" in filled.stderr


def _client(runs_dir: Path) -> MlflowClient:
    return MlflowClient(reader.tracking_uri(runs_dir))


def _own(tags: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in tags.items() if not name.startswith("mlflow.")}
