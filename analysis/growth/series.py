"""Grown arms, the arm from scratch that each is measured against, and rows that make a line.

A grown run's last model is also trained from its first step by the scratch arm; equal `params` say
which runs have the same last model. Loss falls along a line where runs differ in one thing: in
length at one size, or in size at one number of tokens a parameter. A table that mixes both is
split into such series.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.laws.law import Array
from analysis.scaling.isoflop import budgets
from analysis.tables.errors import RunTableError
from analysis.tables.frames import numbers, texts, where

LINE = 3  # distinct training FLOPs from which a line has a residual degree of freedom


@dataclass(frozen=True)
class Family:
    """A scratch arm and the arms that grow into its models."""

    scratch: str
    grown: tuple[str, ...]
    runs: pd.DataFrame  # of all of them; a grown arm of several growths is one arm for each

    @property
    def from_scratch(self) -> pd.DataFrame:
        """The runs of the scratch arm."""
        return where(self.runs, self.runs["arm"] == self.scratch)


@dataclass(frozen=True)
class Series:
    """Runs that make one line of loss against training FLOPs for each arm."""

    name: str  # such as `at 1.2e+06 parameters`; empty where the whole table is one
    runs: pd.DataFrame


def is_grown(runs: pd.DataFrame) -> NDArray[np.bool_]:
    """Tell which runs of a run table grew, [n]."""
    return np.asarray(texts(runs, "growth") != "")


def families(used: pd.DataFrame, source: str) -> tuple[list[Family], dict[str, str]]:
    """Put every grown arm beside its scratch arm.

    Args:
        used: the runs that enter, as `split_usable` gives them.
        source: where they come from, for error messages.

    Returns:
        The families, and why grown arms by name have none.

    Raises:
        RunTableError: the FLOPs before a growth are not between 0 and those of the whole run.
    """
    _check_bases(used, source)
    grew = is_grown(used)
    named = used.assign(arm=np.where(grew, _names(used), texts(used, "arm")))
    grown, rest = where(named, grew), where(named, ~grew)
    found: dict[str, list[str]] = {}
    alone: dict[str, str] = {}
    for name, rows in grown.groupby("arm", sort=False):
        scratch = _scratch_of(str(name), rows, rest)
        if scratch is None:
            alone[str(name)] = "no run from scratch of its FFN kind and text entered"
        else:
            found.setdefault(scratch, []).append(str(name))
    return [
        Family(
            scratch,
            tuple(names),
            # The arm that the others are compared with comes first.
            pd.concat(
                [where(rest, rest["arm"] == scratch), where(grown, np.isin(grown["arm"], names))],
                ignore_index=True,
            ),
        )
        for scratch, names in found.items()
    ], alone


def series_of(family: Family) -> list[Series]:
    """Split the runs of a family so that each part makes lines.

    Where sizes and tokens a parameter both vary, a part is one size if most scratch runs are at
    sizes of three lengths, else one number of tokens a parameter.
    """
    scratch, runs = family.from_scratch, family.runs
    sizes, ratios = numbers(scratch, "params"), scratch_tokens_per_param(family, scratch)
    levels = _level_numbers(ratios)
    if len(set(sizes)) == 1 or len(set(levels)) == 1 or not np.isfinite(ratios).all():
        return [Series("", runs)]
    flops = numbers(scratch, "train_flops")
    if 2 * _in_lines(sizes, flops) < len(scratch) <= 2 * _in_lines(levels, flops):
        centres = levels_of(ratios)
        own = np.log(scratch_tokens_per_param(family, runs))
        nearest = np.abs(own[:, None] - np.log(centres)).argmin(axis=1)
        return [
            Series(
                f"at {centre:.3g} tokens a parameter",
                where(runs, (nearest == i) & np.isfinite(own)).reset_index(drop=True),
            )
            for i, centre in enumerate(centres)
        ]
    return [
        Series(
            f"at {size:.4g} parameters", where(runs, runs["params"] == size).reset_index(drop=True)
        )
        for size in sorted(set(sizes))
    ]


def scratch_tokens_per_param(family: Family, runs: pd.DataFrame) -> Array:
    """Compute the tokens a parameter that the scratch model of each run's size gets for the run's
    FLOPs, [n]; NaN where no scratch run has its size."""
    scratch = family.from_scratch
    cost = numbers(scratch, "train_flops") / numbers(scratch, "tokens")  # FLOPs of one token
    of_size = pd.Series(cost).groupby(numbers(scratch, "params")).median()
    params = numbers(runs, "params")
    per_token = of_size.reindex(params).to_numpy(dtype=np.float64)
    return numbers(runs, "train_flops") / per_token / params


def levels_of(values: Array) -> list[float]:
    """Give the middle one of each group of values that lie near each other, ascending."""
    return [float(np.sort(values[rows])[rows.size // 2]) for rows in budgets(values)]


def _level_numbers(values: Array) -> NDArray[np.intp]:
    """Number the groups of values that lie near each other, [n]."""
    found = np.zeros(values.size, dtype=np.intp)
    for i, rows in enumerate(budgets(values)):
        found[rows] = i
    return found


def _in_lines(labels: NDArray, flops: Array) -> int:
    """Count the rows whose label has at least `LINE` budgets."""
    groups = [labels == label for label in np.unique(labels)]
    return sum(int(rows.sum()) for rows in groups if len(budgets(flops[rows])) >= LINE)


def _check_bases(used: pd.DataFrame, source: str) -> None:
    rows = where(used, is_grown(used))
    base, whole = numbers(rows, "base_train_flops"), numbers(rows, "train_flops")
    for i in np.flatnonzero(~(np.isnan(base) | (base > 0) & (base < whole))):
        raise RunTableError(
            f"{source}: point {rows['point_id'].iloc[i]}: base_train_flops {base[i]:g} is not "
            f"between 0 and its train_flops, {whole[i]:g}; give the FLOPs before its last growth"
        )


def _names(used: pd.DataFrame) -> list[str]:
    """Name the arm of each run; where runs of one arm and size grow in several ways, with how."""
    ways = used.groupby(["arm", "params"], dropna=False)["growth"].nunique()
    several = set(ways.index.get_level_values("arm")[ways.to_numpy() > 1])
    pairs = zip(used["arm"], used["growth"], strict=True)
    return [f"{arm} ({growth})" if arm in several else arm for arm, growth in pairs]


def _scratch_of(name: str, rows: pd.DataFrame, scratch: pd.DataFrame) -> str | None:
    """Choose the scratch arm: of the same FFN kind and text the one that begins the arm's name,
    then the one with most of its sizes, then the first."""
    alike = np.asarray(scratch["guide_ratio"].isna())
    for column in ("ffn_kind", "mixture"):
        alike = alike & np.asarray(scratch[column] == rows[column].iloc[0])
    candidates = where(scratch, alike).groupby("arm", sort=False)
    sizes = set(rows["params"])
    ranked = {
        str(arm): (name.startswith(str(arm)), len(sizes & set(own["params"])))
        for arm, own in candidates
    }
    return max(ranked, key=lambda arm: ranked[arm]) if ranked else None
