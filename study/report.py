"""The study's runs as MLflow holds them, and planned points without one, given to `analysis`."""

from __future__ import annotations

import pandas as pd

from analysis import report, runs
from study import ledger
from study.ledger import Record
from study.plan import Study
from workloads.errors import InputError


def write(study: Study, records: dict[str, Record]) -> report.Report:
    """Write runs.csv, fits.json, the figure and the report into the study's directory.

    Raises InputError when the recorded runs do not make a table.
    """
    try:
        return report.write_report(
            _table(study, records), study.directory, title=f"Study {study.name}"
        )
    except runs.RunTableError as error:
        raise InputError(str(error)) from error


def _table(study: Study, records: dict[str, Record]) -> pd.DataFrame:
    recorded = runs.load_mlflow(ledger.tracking_uri(study.runs_dir), study.name)
    # MLflow cannot know of a driver that was killed: its points would stand as running.
    states = ledger.states(study, records)
    recorded["status"] = [
        states.get(point_id, status)
        for point_id, status in zip(recorded["point_id"], recorded["status"], strict=True)
    ]
    missing = pd.DataFrame(
        {
            "study": study.name,
            "point_id": point.id,
            "fingerprint": point.fingerprint,
            "status": "missing",
            **point.summary(),
        }
        for point in study.points
        if point.id not in records
    )
    return pd.concat([recorded, missing]) if len(missing) else recorded
