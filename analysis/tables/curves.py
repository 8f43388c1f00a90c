"""Training curves: how the loss of every run of a study fell, step by step.

A table of curves has one row for each recorded step of each run; see `CURVE_COLUMNS`.
"""

from pathlib import Path

import pandas as pd

from analysis.tables.cells import number_column, read_text
from analysis.tables.columns import own_column
from analysis.tables.errors import RunTableError, nearest
from analysis.tables.files import read_file

# Each with its unit or meaning; the last two may be empty in a row.
CURVE_COLUMNS = {
    "point_id": "readable id of the run",
    "arm": "legend label",
    "step": "optimizer steps done",
    "train_flops": "training FLOPs spent",
    "train_loss": "loss of that step's batch, nats per token",
    "val_loss": "validation loss, nats per token",
}
TEXT = ("point_id", "arm")
CURVES = "curves.csv"  # beside a run table


def load_curves(path: Path) -> pd.DataFrame:
    """Read a table of curves, as a report writes it beside its run table.

    Raises:
        RunTableError: the file cannot be read, lacks a column, or holds a bad number.
    """
    file = read_file(path)
    frame = file.frame
    curves = pd.DataFrame(index=frame.index)
    for name, meaning in CURVE_COLUMNS.items():
        if own_column(file, name, "keep one, of that name") is None:
            raise RunTableError(
                f"{path}: no column {name!r}{nearest(name, map(str, frame.columns))}; "
                f"rename or add it ({meaning})"
            )
        if name in TEXT:
            curves[name] = pd.Series([read_text(value) for value in frame[name]], dtype="str")
        else:
            curves[name] = number_column(frame, str(path), name, meaning)
    return curves
