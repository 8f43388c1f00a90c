"""The study's run table and report, written by `analysis` from the ledger and the plan."""

from __future__ import annotations

import pandas as pd

from analysis.report import report
from analysis.tables import runs
from analysis.tables.curves import CURVE_COLUMNS
from analysis.tables.errors import RunTableError
from analysis.tables.tracking import shown
from kernels.files import naming
from study.ledger import reader
from study.ledger.reader import Record
from study.ledger.status import Status
from study.ledger.store import tracking_uri
from study.plan.planner import Study
from workloads.errors import InputError
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE


def write(study: Study, records: dict[str, Record]) -> report.Report:
    """Write runs.csv, fits.json, the figure and the report into the study's directory.

    The records are read with their parameters. Raises InputError when they make no table.
    """
    try:
        with naming(study.directory):
            return report.write_report(
                table(study, records), study.directory, f"Study {study.name}", _curves(study)
            )
    except RunTableError as error:
        raise InputError(str(error)) from error


def _curves(study: Study) -> pd.DataFrame | None:
    """Return every recorded step of the points whose directories are at hand."""
    rows = [
        {"point_id": point.id, "arm": point.variant.arm_name(), **row}
        for point in study.points
        for row in read_rows(study.run_dir(point) / METRICS_FILE)[0]
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS)) if rows else None


def table(study: Study, records: dict[str, Record]) -> pd.DataFrame:
    """Return the run table: recorded runs, and a row for each planned point without one.

    The records are read with their parameters. Raises InputError when they make no table.
    """
    # MLflow cannot know of a driver that was killed: its points would stand as running.
    states = reader.states(study, records)
    recorded = [
        runs.mlflow_row(record.run_id, record.tags, record.params, record.metrics)
        | {"status": states.get(point_id, record.status)}
        for point_id, record in records.items()
    ]
    planned = [
        {
            "study": study.name,
            "point_id": point.id,
            "fingerprint": point.fingerprint,
            "status": Status.QUEUED,
            **point.summary(),
        }
        for point in study.points
        if point.id not in records
    ]
    source = f"{shown(tracking_uri(study.runs_dir))} ({study.name})"
    rows = [*recorded, *planned]
    names = runs.columns_among(name for row in rows for name in row)
    try:
        return runs.run_table(pd.DataFrame(rows, columns=list(names)), source)
    except RunTableError as error:
        raise InputError(str(error)) from error
