"""The two ways of reading a ledger: SQLite directly, and any server through MLflow's client."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.tables import tracking
from study.ledger import reader
from study.plan import planner
from tests.study.recording import record


def test_both_readers_see_the_same(
    write_spec: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = planner.load(write_spec("read-twice"), tmp_path)
    record(study, study.points)
    uri = reader.tracking_uri(study.runs_dir)
    client, run_id = MlflowClient(uri), reader.read(uri, study.name)[study.points[0].id].run_id
    for name, value in (("not_a_number", math.nan), ("infinite", math.inf)):
        client.log_metric(run_id, name, value)
    fast = reader.read(uri, study.name, with_params=True)
    monkeypatch.setattr(tracking, "PAGE", 1)
    through_client = {
        record.tags["point_id"]: record
        for record in reader.read_through_client(uri, study.name, reader.OF_POINTS)
    }
    assert fast.keys() == through_client.keys() == {point.id for point in study.points}
    for point_id, found in fast.items():
        other = through_client[point_id]
        assert (found.run_id, found.tags, found.params) == (other.run_id, other.tags, other.params)
        assert found.metrics == pytest.approx(other.metrics, rel=0, nan_ok=True)
    assert math.isnan(fast[study.points[0].id].metrics["not_a_number"])
    assert all(not found.params for found in reader.read(uri, study.name).values())
