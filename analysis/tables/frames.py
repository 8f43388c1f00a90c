"""Selections from a data frame that keep their type for the type checker."""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.laws.law import Array
from analysis.tables.cells import read_text


def where(frame: pd.DataFrame, mask: Any) -> pd.DataFrame:
    """Select the rows for which `mask` holds."""
    return cast(pd.DataFrame, frame.loc[mask])


def column(frame: pd.DataFrame, name: str) -> pd.Series:
    """Select one column."""
    return cast(pd.Series, frame[name])


def numbers(frame: pd.DataFrame, name: str) -> Array:
    """Select one column as float64."""
    return np.asarray(frame[name], dtype=np.float64)


def texts(frame: pd.DataFrame, name: str) -> NDArray[np.object_]:
    """Select one column of text, [n]."""
    return np.asarray(frame[name], dtype=object)


def sizes(runs: pd.DataFrame) -> list[str]:
    """Name the size of each run of a run table."""
    return size_names(runs["preset"], runs["width"])


def size_names(presets: Iterable[Any], widths: Iterable[Any]) -> list[str]:
    """Name the size of each run: its preset, and its width multiplier where that is not 1."""
    found = []
    for preset, width in zip(presets, widths, strict=True):
        name = read_text(preset)
        scaled = name and not pd.isna(width) and float(width) != 1
        found.append(f"{name} x{float(width):g}" if scaled else name)
    return found
