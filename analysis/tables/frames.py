"""Selections from a data frame that keep their type for the type checker."""

from typing import Any, cast

import numpy as np
import pandas as pd

from analysis.laws.law import Array
from analysis.tables.runs import size_names


def where(frame: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """Select the rows for which `mask` holds."""
    return cast(pd.DataFrame, frame.loc[mask])


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Select one column."""
    return cast(pd.Series, frame[name])


def numbers(frame: pd.DataFrame, name: str) -> Array:
    """Select one column as float64."""
    return np.asarray(frame[name], dtype=np.float64)


def sizes(runs: pd.DataFrame) -> list[str]:
    """Name the size of each run of a run table."""
    return size_names(runs["preset"], runs["width"])
