"""Reading of CSV, JSON lines and Parquet, by the suffix of the file."""

import json
from pathlib import Path

import pandas as pd

from analysis.tables.errors import RunTableError, first_line


def read_frame(path: Path) -> pd.DataFrame:
    """Read .csv, .jsonl or .parquet by its suffix; any other suffix is read as CSV.

    Raises:
        RunTableError: the file cannot be read.
    """
    kind = {".jsonl": "JSON lines", ".ndjson": "JSON lines", ".parquet": "Parquet"}.get(
        path.suffix.lower(), "CSV"
    )
    try:
        if kind == "JSON lines":
            return _json_lines(path.read_text("utf-8"))
        if kind == "Parquet":
            return pd.read_parquet(path)
        return pd.read_csv(path, low_memory=False)
    except ImportError as error:
        raise RunTableError(f"{path}: Parquet needs pyarrow; pip install pyarrow") from error
    except (OSError, ValueError, pd.errors.ParserError) as error:
        raise RunTableError(
            f"{path}: cannot be read as {kind} ({first_line(error)}); give a .csv with a "
            "header line, .jsonl or .parquet"
        ) from error


def _json_lines(text: str) -> pd.DataFrame:
    """Read an object a line; raise a ValueError that names a line that is none."""
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
        if not isinstance(row, dict):
            raise ValueError(f"line {number} is not an object")
        rows.append(row)
    return pd.DataFrame(rows)
