"""Training curves from the metrics that a run recorded, as an export or the ledger holds them.

A table of metrics has one row for each recorded value: `point_id`, `metric`, `step`, `value`.
"""

from pathlib import Path

import pandas as pd

from analysis.tables import tracking
from analysis.tables.cells import number_column, read_text
from analysis.tables.curves import CURVE_COLUMNS
from analysis.tables.errors import RunTableError, nearest
from analysis.tables.files import read_file

METRICS = "metrics.csv"  # beside the run table of an export
NAMES = ("point_id", "metric", "step", "value")
DRAWN = ("train_flops", "train_loss", "val_loss")  # the metrics of a curve


def metrics_of_export(path: Path) -> pd.DataFrame:
    """Read the metrics that `study export` wrote.

    Raises:
        RunTableError: the file cannot be read, lacks a column, or holds a bad number.
    """
    file = read_file(path)
    for name in NAMES:
        if name not in file.frame.columns:
            known = nearest(name, file.frame.columns)
            raise RunTableError(f"{path}: no column {name!r}{known}; export the study again")
    found = pd.DataFrame({n: [read_text(v) for v in file.frame[n]] for n in ("point_id", "metric")})
    for name in ("step", "value"):
        found[name] = number_column(file.frame, str(path), name)
    return found


def metrics_of_ledger(uri: str, runs: pd.DataFrame) -> pd.DataFrame:
    """Read the curves' metrics of these runs of a run table from MLflow.

    Raises:
        RunTableError: the store cannot be read.
    """
    with tracking.opened(uri) as client:
        rows = [
            (run["point_id"], metric, value.step, value.value)
            for run in runs.to_dict("records")
            for metric in DRAWN
            for value in client.get_metric_history(run["run_id"], metric)
        ]
    return pd.DataFrame(rows, columns=list(NAMES))


def curves_of_metrics(metrics: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame | None:
    """Make training curves, with `CURVE_COLUMNS`, in the order of the runs; None without any.

    Of several values at one step the last counts: a step may be repeated after a restart.
    """
    arms = dict(zip(runs["point_id"], runs["arm"], strict=True))
    drawn = metrics.loc[metrics["metric"].isin(DRAWN) & metrics["point_id"].isin(list(arms))]
    if drawn.empty:
        return None
    table = (
        drawn.drop_duplicates(["point_id", "step", "metric"], keep="last")
        .pivot(index=["point_id", "step"], columns="metric", values="value")
        .reset_index()
        .rename_axis(columns=None)
    )
    table["arm"] = table["point_id"].map(arms)
    place = {point: i for i, point in enumerate(arms)}
    table = table.assign(place=table["point_id"].map(place)).sort_values(["place", "step"])
    return table.reindex(columns=list(CURVE_COLUMNS)).reset_index(drop=True)
