"""Every column of the run table on its way: plan, MLflow, CSV, another ledger, another study."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from analysis.tables import runs
from study.ledger import reader
from study.ledger.writer import CONFIG_PREFIX, point_params
from study.plan import planner
from study.plan.planner import Study
from study.transfer import adopt, report
from study.transfer.export import export_study, import_study
from tests.study.recording import record, tracker_of
from workloads.config.ffn_kinds import FFN_KINDS
from workloads.config.fingerprint import flatten

# Every kind of FFN, plain and with both modes of a guide where there can be one, and grown.
SPEC = """\
study: {name}
max_total_flops: 1.0e15
points:
  - {{preset: pico, ffn: {{kind: dense}}}}
  - {{preset: nano, ffn: {{kind: dense}}, width: 0.5, learning_rate: 2.0e-3, seed: 3}}
  - {{preset: pico, ffn: {{kind: lowrank, fraction: 0.3125}}}}
  - {{preset: pico, ffn: {{kind: lowrank, fraction: 0.3125}}, guide: {{ratio: 0.4}}}}
  - preset: pico
    ffn: {{kind: lowrank, fraction: 0.5}}
    guide: {{ratio: 0.3, mode: fixed_steps}}
  - {{preset: pico, ffn: {{kind: blockdense, nblocks: 2, fraction: 0.3125}}}}
  - {{preset: pico, ffn: {{kind: blockdense, nblocks: 2, fraction: 0.5}}, guide: {{ratio: 0.7}}}}
  - {{preset: pico, ffn: {{kind: blockshuffle, nblocks: 4}}}}
  - {{preset: pico, ffn: {{kind: blockshuffle, nblocks: 2}}, guide: {{ratio: 0.4}}}}
  - {{preset: pico, grow: {{operator: stack, factor: 2, at: {{fraction: 0.3}}}}}}
  - preset: pico
    ffn: {{kind: lowrank, rank: 8}}
    grow: {{operator: learn, base: {{width: 16}}, learn_steps: 5, at: {{fraction: 0.5}}}}
budget: {{steps: 100}}
resources: {{num_workers: 0}}
"""
MEASURED = {
    *("val_loss", "bits_per_byte", "hardware_flops", "train_seconds", "tokens_per_second"),
    *("commit", "hardware", "kernel_path"),
}
# Of a run itself rather than of its point; `source` is only of losses that were read elsewhere.
OWN = {"run_id", "study", "point_id", "fingerprint", "status", "source"}


def planned(folder: Path, name: str) -> Study:
    folder.mkdir(exist_ok=True)
    spec = folder / f"{name}.yaml"
    spec.write_text(SPEC.format(name=name))
    return planner.load(spec, folder / "runs")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Study:
    study = planned(tmp_path_factory.mktemp("table"), "table")
    record(study, study.points)
    return study


def from_mlflow(runs_dir: Path, study: str) -> pd.DataFrame:
    return runs.load_mlflow(reader.tracking_uri(runs_dir), study)


def assert_same(table: pd.DataFrame, expected: pd.DataFrame, without: Iterable[str] = ()) -> None:
    left, right = (
        frame.drop(columns=list(without)).sort_values("point_id").reset_index(drop=True)
        for frame in (table, expected)
    )
    pd.testing.assert_frame_equal(left, right, check_exact=True)


def test_points_are_of_every_kind_and_guided_in_both_modes(recorded: Study) -> None:
    models = [point.config.model for point in recorded.points]
    assert {model.ffn.kind for model in models} == FFN_KINDS.keys()
    assert {model.guide and model.guide.mode for model in models} == {
        *(None, "fixed_flops", "fixed_steps")
    }
    growths = [point.summary()["growth"] for point in recorded.points]
    assert growths == [None] * 9 + ["stack x2 at 0.3", "learn from 16 wide learning 5 at 0.5"]


def test_every_column_of_a_recorded_point_is_what_was_planned_and_measured(
    recorded: Study,
) -> None:
    table = from_mlflow(recorded.runs_dir, "table").set_index("point_id")
    assert set(table.columns) | {"point_id"} == OWN | MEASURED | recorded.points[0].summary().keys()
    for index, point in enumerate(recorded.points):
        row, loss = table.loc[point.id], 2.5 + index / 7
        expected = point.summary() | {
            "study": "table",
            "fingerprint": point.fingerprint,
            "status": "finished",
            "val_loss": loss,
            "bits_per_byte": loss * 1.3,
            "hardware_flops": int(point.train_flops * 0.9),
            "train_seconds": loss * 4,
            "tokens_per_second": loss + 0.25,
            "hardware": "none",
            "kernel_path": "reference",
            "source": "",
        }
        assert expected.keys() | {"run_id", "commit"} == set(table.columns)
        for name, value in expected.items():
            assert _same(row[name], value), f"{point.id}: {name} is {row[name]}, not {value}"


def _same(found: Any, expected: Any) -> bool:
    if expected is None:
        return found == "" or math.isnan(found)
    return found == expected


def test_a_point_is_queued_with_the_values_it_is_recorded_with(
    recorded: Study, tmp_path: Path
) -> None:
    queued = runs.run_table(report.table(_half_recorded(tmp_path), {}), "plan")
    assert list(queued["status"]) == ["queued"] * len(recorded.points)
    others = set(queued.columns) - {"point_id", *recorded.points[0].summary()}
    assert_same(queued, from_mlflow(recorded.runs_dir, "table"), others)


def _half_recorded(tmp_path: Path) -> Study:
    """A study that has a ledger and no run."""
    study = planned(tmp_path, "table")
    tracker_of(study).close(complete=False)
    return study


def test_the_table_survives_a_csv_file_an_export_and_an_import(
    recorded: Study, tmp_path: Path
) -> None:
    table = from_mlflow(recorded.runs_dir, "table")
    table.to_csv(tmp_path / "runs.csv", index=False)
    assert_same(runs.load_csv(tmp_path / "runs.csv"), table)
    export_study(recorded, tmp_path / "exported")
    assert_same(runs.load_csv(tmp_path / "exported" / "runs.csv"), table)
    import_study(tmp_path / "exported", tmp_path / "elsewhere")
    assert_same(from_mlflow(tmp_path / "elsewhere", "table"), table, {"run_id"})


def test_adopted_points_have_the_same_rows(recorded: Study, tmp_path: Path) -> None:
    table = from_mlflow(recorded.runs_dir, "table")
    uri = reader.tracking_uri(recorded.runs_dir)
    for name, source in (("ledger", f"{uri}/table"), ("folder", str(recorded.points_dir))):
        study = planned(tmp_path / name, name)
        assert len(adopt.adopt(study, source)) == len(study.points)
        assert_same(from_mlflow(study.runs_dir, name), table, {"run_id", "study", "commit"})


def test_summary_and_identity_share_no_name(recorded: Study) -> None:
    for point in recorded.points:
        config = {n: v for n, v in point_params(point).items() if n.startswith(CONFIG_PREFIX)}
        identity = flatten(json.loads(json.dumps(point.identity)))
        assert config == {
            f"{CONFIG_PREFIX}{name}": str(value)
            for name, value in identity.items()
            if value is not None
        }
        assert point_params(point)["steps"] == str(point.config.total_steps)


def test_a_ledger_written_before_there_was_config_steps_gives_the_same_table(
    recorded: Study, tmp_path: Path
) -> None:
    """Then `steps` was the configuration's, except in runs adopted from another ledger."""
    study = planned(tmp_path, "table")
    client, tracker = MlflowClient(reader.tracking_uri(study.runs_dir)), tracker_of(study)
    originals = {run.data.tags["point_id"]: run for run in _runs(recorded)}
    for index, point in enumerate(study.points):
        original = originals[point.id].data
        before = point.summary() | flatten(point.identity)
        assert before["steps"] == point.config.steps
        if index == 3:
            before |= point.summary()
        experiment = client.get_run(tracker.parent_id).info.experiment_id
        run_id = client.create_run(experiment, tags=original.tags).info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, 0, 100) for name, value in original.metrics.items()],
            params=[Param(name, str(v)) for name, v in before.items() if v is not None],
        )
    tracker.close(complete=True)
    expected = from_mlflow(recorded.runs_dir, "table")
    assert_same(from_mlflow(study.runs_dir, "table"), expected, {"run_id"})
    # An earlier launch's parameters cannot be changed: it goes on with those.
    records = reader.read(reader.tracking_uri(study.runs_dir), "table")
    tracker.start_point(study.points[4], records[study.points[4].id])
    running = from_mlflow(study.runs_dir, "table").set_index("point_id").loc[study.points[4].id]
    assert running["status"] == "running"
    assert running["steps"] == study.points[4].config.total_steps


def _runs(study: Study) -> list[Any]:
    client = MlflowClient(reader.tracking_uri(study.runs_dir))
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id], "tags.point_id LIKE '%'"))
