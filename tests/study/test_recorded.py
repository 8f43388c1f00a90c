"""A study that an earlier version recorded is read for ever: its file, its ledger and its export.

`recorded/` is what version 0.1.0 left of five small runs: four finished, one of them guided, and
one diverged. The text they trained on is another machine's, so its fingerprint is given.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from study.commands.app import app
from study.plan import planner
from workloads.config.fingerprint import fingerprint
from workloads.data import texts

RECORDED = Path(__file__).parent / "recorded"
DATA_FINGERPRINT = "e09c3d3cebdbb493"
# What a newer version may count otherwise: its own names for paths, and where a file came from.
UNSTABLE = {"source", "kernel_path"}


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runs folder as it was recorded, in a place of its own."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(texts, "fingerprint", lambda config: DATA_FINGERPRINT)
    runs = tmp_path / "runs"
    shutil.copytree(RECORDED / "points", runs / "recorded" / "points")
    shutil.copytree(RECORDED / "mlartifacts", runs / "mlartifacts")
    script = (RECORDED / "ledger.sql").read_text(encoding="utf-8")
    with closing(sqlite3.connect(runs / "mlflow.db")) as database:
        database.executescript(script.replace("/runs/", f"{runs}/"))
    return runs


def study(*arguments: str | Path, exit_code: int = 0) -> str:
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == exit_code, done.output
    return done.output


def old_runs() -> pd.DataFrame:
    return pd.read_csv(RECORDED / "export" / "runs.csv").set_index("point_id").sort_index()


def assert_same_runs(found: Path) -> None:
    """All that was recorded has the same value under the same name."""
    new, old = pd.read_csv(found).set_index("point_id").sort_index(), old_runs()
    assert set(old.columns) <= set(new.columns)
    assert new.loc["pico-lowrank-r8-guided0.4-c1.54e10-seed0", "steps"] == 28
    # `steps` was the fresh steps of a guided run, under the name of all its steps.
    columns = [name for name in old.columns if name not in UNSTABLE | {"steps"}]
    pd.testing.assert_frame_equal(
        new.filter(items=columns), old.filter(items=columns), check_dtype=False
    )


def test_the_recorded_identities_have_the_recorded_fingerprints() -> None:
    configs = json.loads((RECORDED / "export" / "configs.json").read_text(encoding="utf-8"))
    found = {point: fingerprint(tree) for point, tree in configs.items()}
    assert found == old_runs()["fingerprint"].to_dict()


def test_the_study_file_plans_the_recorded_points(runs_dir: Path) -> None:
    points = planner.load(RECORDED / "recorded.yaml", runs_dir).points
    assert {p.id: p.fingerprint for p in points} == old_runs()["fingerprint"].to_dict()


def test_the_ledger_has_nothing_left_to_run(runs_dir: Path) -> None:
    spec = RECORDED / "recorded.yaml"
    state = json.loads(study("status", spec, "--json", "--runs", runs_dir))
    assert {p["id"]: p["state"] for p in state["points"]} == old_runs()["status"].to_dict()
    # One of the runs diverged, which exit code 1 says.
    assert "nothing to run" in study("run", spec, "--runs", runs_dir, exit_code=1)
    assert_same_runs(runs_dir / "recorded" / "runs.csv")


def test_the_ledger_is_exported_as_it_was(runs_dir: Path, tmp_path: Path) -> None:
    study("export", RECORDED / "recorded.yaml", tmp_path / "export", "--runs", runs_dir)
    assert_same_runs(tmp_path / "export" / "runs.csv")
    assert (tmp_path / "export" / "metrics.csv").read_text(encoding="utf-8") == (
        RECORDED / "export" / "metrics.csv"
    ).read_text(encoding="utf-8")


def test_an_export_of_the_time_is_imported_and_reported(runs_dir: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    study("import", RECORDED / "export", "--runs", elsewhere)
    study("report", RECORDED / "recorded.yaml", "--runs", elsewhere)
    new = pd.read_csv(elsewhere / "recorded" / "runs.csv").set_index("point_id").sort_index()
    assert new["val_loss"].to_dict() == pytest.approx(old_runs()["val_loss"].to_dict(), nan_ok=True)
    assert new.loc["pico-lowrank-r8-guided0.4-c1.54e10-seed0", "steps"] == 28


def test_recorded_directories_are_adopted_even_one_without_a_row(
    runs_dir: Path, tmp_path: Path
) -> None:
    spec, new = RECORDED / "recorded.yaml", tmp_path / "new"
    study("adopt", spec, "--from", runs_dir / "recorded" / "points", "--runs", new)
    state = json.loads(study("status", spec, "--json", "--runs", new))
    assert {p["id"]: p["state"] for p in state["points"]} == old_runs()["status"].to_dict()
