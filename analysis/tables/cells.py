"""The cells of a table: which are empty, which are numbers, and how a column is read as either."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd

from analysis.laws.law import Array
from analysis.tables.errors import RunTableError

EMPTY = {"", "none", "null", "na", "n/a", "#n/a", "<na>", "nan"}


def read_number(value: object) -> float:
    """Read one cell as a number; NaN where it is empty.

    Raises:
        ValueError: it is no plain number; a truth value, `1_000` or `1,000` is none.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in EMPTY:
            return math.nan
        if "_" in text or not text.isascii():
            raise ValueError(f"{value!r} is not a plain number")
        return float(text)
    if isinstance(value, bool | np.bool_):
        raise ValueError(f"{value!r} is not a number")
    if value is None or value is pd.NA or value is pd.NaT:
        return math.nan
    try:
        return float(value)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, OverflowError) as error:
        raise ValueError(f"{value!r} is not a number") from error


def read_text(value: object) -> str:
    """Read one cell as text without the spaces about it; the empty string where there is none."""
    is_nan = isinstance(value, float | np.floating) and np.isnan(value)
    is_absent = value is None or value is pd.NA or value is pd.NaT or is_nan
    return "" if is_absent else str(value).strip()


def number_column(frame: pd.DataFrame, source: str, column: str, what: str = "it") -> Array:
    """Read a column as float64; parameters times tokens would overflow 64-bit integers.

    Raises:
        RunTableError: a cell is neither a number nor empty; the remedy is to write `what` so.
    """
    values = pd.Series(frame[column])
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return values.to_numpy("float64", na_value=math.nan)
    numbers = np.empty(len(values))
    for i, value in enumerate(values):
        try:
            numbers[i] = read_number(value)
        except ValueError:
            raise RunTableError(
                f"{source}: column {column!r}, row {i + 1}: {value!r} is not a number; write "
                f"{what} as a plain number such as 1.5e9, or leave it empty"
            ) from None
    return numbers


def are_numbers(values: Iterable[object]) -> bool:
    """Tell whether every value is a number or empty."""
    try:
        for value in values:
            read_number(value)
    except ValueError:
        return False
    return True
