"""Ten thousand recorded points: what a person waits for grows linearly, and stays seconds."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow.store.tracking.dbmodels.models import (
    SqlLatestMetric,
    SqlMetric,
    SqlParam,
    SqlRun,
    SqlTag,
)
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import insert, select

from study.ledger import reader
from study.plan import planner
from study.plan.planner import Point, Study
from tests.study.launching import ROOT, study_command
from tests.study.recording import record

PLAN_SECONDS, STATUS_SECONDS, RUN_SECONDS = 10.0, 10.0, 20.0
SPEC = """\
study: scale
max_total_flops: 1.0e18
grid:
  preset: [pico]
  ffn: [{{kind: dense}}, {{kind: lowrank, fraction: 0.3125}}]
  seed: {seeds}
budget: {{steps: 20}}
resources: {{num_workers: 0}}
"""
PER_RUN_TABLES = (SqlTag, SqlParam, SqlMetric, SqlLatestMetric)


def planned(points: int, directory: Path) -> Study:
    spec = directory / "scale.yaml"
    spec.write_text(SPEC.format(seeds=list(range(points // 2))))
    return planner.load(spec, directory / "runs")


def copy_run(store: SqlAlchemyStore, run_id: str, points: list[Point]) -> None:
    """Fill MLflow's own tables with a run for each point, as that of the first was recorded."""
    ids = {point.id: f"{index:032x}" for index, point in enumerate(points)}
    with store.engine.begin() as connection:
        (run,) = connection.execute(select(SqlRun.__table__).where(SqlRun.run_uuid == run_id))
        runs = [{**run._mapping, "run_uuid": ids[p.id], "name": p.id} for p in points]
        connection.execute(insert(SqlRun), runs)
        for table in PER_RUN_TABLES:
            one = connection.execute(select(table.__table__).where(table.run_uuid == run_id))
            template = [dict(row._mapping) for row in one]
            for point in points:
                own = _own(point)
                rows: list[dict[str, Any]] = [
                    row | {"run_uuid": ids[point.id]} | _value(table, row, own) for row in template
                ]
                connection.execute(insert(table), rows)


def _own(point: Point) -> dict[str, str]:
    return {
        "point_id": point.id,
        "fingerprint": point.fingerprint,
        "identity": json.dumps(point.identity),
        "arm": point.variant.arm_name(),
    }


def _value(table: type, row: dict[str, Any], own: dict[str, str]) -> dict[str, str]:
    text = table in (SqlTag, SqlParam) and row["key"] in own
    return {"value": own[row["key"]]} if text else {}


@pytest.mark.slow
def test_ten_thousand_points_are_planned_and_looked_up_in_seconds(tmp_path: Path) -> None:
    seconds: dict[int, list[float]] = {}
    print(f"\n{'points':>7} {'plan':>7} {'status':>7} {'run':>7}  seconds")
    for count in (2_500, 5_000, 10_000):
        directory = tmp_path / str(count)
        directory.mkdir()
        study = planned(count, directory)
        first, *rest = study.points
        record(study, [first])
        run_id = reader.read(reader.tracking_uri(study.runs_dir), study.name)[first.id].run_id
        store = SqlAlchemyStore(reader.tracking_uri(study.runs_dir), str(directory / "artifacts"))
        copy_run(store, run_id, rest)
        seconds[count] = [_timed(command, study) for command in ("plan", "status", "run")]
        print(f"{count:>7} {'  '.join(f'{value:6.1f}' for value in seconds[count])}")
    for found, limit in zip(
        seconds[10_000], (PLAN_SECONDS, STATUS_SECONDS, RUN_SECONDS), strict=True
    ):
        assert found < limit
    for quarter, whole in zip(seconds[2_500], seconds[10_000], strict=True):
        assert whole < 4 * 1.5 * quarter, "the time grows faster than the number of points"


def _timed(command: str, study: Study) -> float:
    """Seconds until the command has said what it knows; the report that `run` writes is extra."""
    said = {"plan": "0 to run", "status": f"{len(study.points)} finished", "run": "nothing to run"}
    start = time.perf_counter()
    with subprocess.Popen(
        study_command(command, study.spec.path, "--runs", study.runs_dir),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert any(said[command] in line for line in process.stdout)
        elapsed = time.perf_counter() - start
        process.kill()
    return elapsed
