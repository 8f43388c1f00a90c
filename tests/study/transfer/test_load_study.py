"""A study that was run is loaded alike from its report, its export and its ledger."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from analysis import StudyError, load_study
from study.ledger.store import tracking_uri
from study.plan.planner import Study
from tests.study.launching import in_process


def test_report_export_and_ledger_are_one_study(finished: Study, tmp_path: Path) -> None:
    runs, folder = finished.runs_dir, tmp_path / "exported"
    in_process("export", finished.spec.path, folder, "--runs", runs)
    in_process("report", finished.spec.path, "--runs", runs)
    reported = load_study(finished.spec.path, runs=runs)
    assert reported.source == str(finished.directory / "runs.csv")
    curves = _ordered(reported.curves)
    assert len(curves) > len(reported.runs) == 2
    uri = tracking_uri(runs)
    # The ledger holds other studies, too.
    ledgers = (load_study(place, finished.name) for place in (uri, runs / "mlflow.db"))
    for found in (load_study(folder), *ledgers):
        assert found.name == finished.name
        pd.testing.assert_frame_equal(found.runs, reported.runs, check_exact=True)
        pd.testing.assert_frame_equal(_ordered(found.curves), curves, check_exact=True)
    (finished.directory / "runs.csv").unlink()
    from_ledger = load_study(finished.name, runs=runs)
    assert from_ledger.source == f"{runs / 'mlflow.db'} ({finished.name})"
    pd.testing.assert_frame_equal(from_ledger.runs, reported.runs, check_exact=True)
    with pytest.raises(StudyError, match=f"nearest: '{finished.name}'"):
        load_study(finished.name[:-1], runs=runs)


def _ordered(curves: pd.DataFrame | None) -> pd.DataFrame:
    assert curves is not None
    ordered = curves.sort_values(["point_id", "step"], ignore_index=True)
    return ordered.astype({name: float for name in ordered.columns[2:]})
