"""Validation loss against total training FLOPs: grown arms beside the arm from scratch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.growth.series import Family, Series, families, is_grown, series_of
from analysis.laws.law import Array
from analysis.scaling.isoflop import budgets
from analysis.tables.errors import RunTableError
from analysis.tables.frames import numbers, where
from analysis.tables.runs import loss_label

GREW: dict[str, Any] = {"marker": "o", "markersize": 7, "markerfacecolor": "white"}
BASE: dict[str, Any] = {"alpha": 0.45, "linewidth": 1.0}  # of a curve before its last growth
TALLEST = 12.0  # most of what is shown above the ends, in units of their own range


@dataclass(frozen=True)
class _Line:
    """The runs of one arm and one length: what they have in common, and how far they differ."""

    flops: Array
    mean: Array
    low: Array
    high: Array
    grown_at: float  # FLOPs; NaN where it never grew or that is not known

    @property
    def steps_before(self) -> int:
        """The number of steps before the growth, 0 where there is none."""
        return int((self.flops <= self.grown_at).sum())


def growth_figure(
    used: pd.DataFrame, curves: pd.DataFrame | None, source: str, loss: str = "val_loss"
) -> Figure:
    """Draw a panel for each size of the last model, or each line of ends where no curves are given.

    Points are the runs' ends, means over seeds with their range. Lines are the curves of the
    longest runs of each arm, with their range as a band; before the model grew they are thinner and
    lighter, and a ring marks where it grew. Without curves, lines join the ends.

    Args:
        used: the runs that entered, as `split_usable` gives them.
        curves: training curves with `CURVE_COLUMNS`; None, or none of these runs, draws ends.
        source: where the runs come from, for error messages.
        loss: the column of the losses.

    Raises:
        RunTableError: no grown run has a scratch arm beside it.
    """
    found, _ = families(used, source)
    if not found:
        raise RunTableError(
            f"{source}: no grown run with runs from scratch beside it; draw a study with `grow` in "
            "its points, and points without"
        )
    validated = None if curves is None else _validated(curves, used)
    arms = [name for family in found for name in (family.scratch, *family.grown)]
    looks = list(used["arm"].unique())  # those of the report's other figures
    parts = [part for family in found for part in _parts(family, validated is not None)]
    columns = 2 if len(parts) == 4 else min(3, len(parts))
    width = 5.6 if columns == 1 else 4.2
    rows = -(-len(parts) // columns)
    height = 3.6 + 0.22 * len(arms) / rows  # The legend takes a line for each arm.
    figure, panels = style.panels(columns, width, height, rows=rows)
    for axes in panels[len(parts) :]:
        axes.remove()
    handles: dict[str, Line2D] = {}
    for part, axes in zip(parts, panels, strict=False):
        handles |= _draw_part(axes, part, looks, validated)
    for axes in panels[::columns]:
        axes.set_ylabel(loss_label(loss))
    handles = {arm: handles[arm] for arm in arms if arm in handles}
    key = "points: means over seeds, with their range"
    if validated is None:
        key += "; lines join them"
    else:
        handles["where the model grew"] = Line2D([], [], color="0.3", linestyle="none", **GREW)
        key += "\nlines: curves of the longest runs; thin and light: before the growth"
    style.legend(figure, handles, key)
    return figure


def _validated(curves: pd.DataFrame, used: pd.DataFrame) -> pd.DataFrame | None:
    """Keep the steps of these runs that have a validation loss; None without any."""
    kept = np.isfinite(numbers(curves, "val_loss")) & np.isin(curves["point_id"], used["point_id"])
    return where(curves, kept) if kept.any() else None


def _parts(family: Family, by_size: bool) -> list[Series]:
    """Split a family into panels: by the size of the last model, or by lines of ends."""
    runs = family.runs
    sizes = sorted(set(where(runs, is_grown(runs))["params"].dropna()))
    if not (by_size and sizes):
        return series_of(family)
    return [
        Series(f"{style.short_count(size)} parameters", where(runs, runs["params"] == size))
        for size in sizes
    ]


def _draw_part(
    axes: Axes, part: Series, arms: list[str], curves: pd.DataFrame | None
) -> dict[str, Line2D]:
    """Draw one panel; return the arms' handles for the legend."""
    runs = part.runs
    convention = runs["flop_convention"].iloc[0]
    axes.set_title(part.name, fontsize="medium", fontweight="bold")
    axes.set_xlabel(f"total training FLOPs ({convention} convention)", parse_math=False)
    here = [arm for arm in arms if arm in set(runs["arm"])]
    ends = {arm: _ends(runs, arm) for arm in here}
    lines = ends if curves is None else _curves(runs, here, curves)
    _set_scales(axes, [*ends.values(), *lines.values()], lines is not ends)
    return {arm: _draw(axes, arms.index(arm), ends[arm], lines.get(arm)) for arm in here}


def _ends(runs: pd.DataFrame, arm: str) -> _Line:
    """Make a line of an arm's final losses."""
    own = where(runs, runs["arm"] == arm)
    flops, losses = numbers(own, "train_flops"), numbers(own, "val_loss")
    groups = budgets(flops)
    return _Line(
        flops=np.array([np.exp(np.log(flops[rows]).mean()) for rows in groups]),
        mean=np.array([losses[rows].mean() for rows in groups]),
        low=np.array([losses[rows].min() for rows in groups]),
        high=np.array([losses[rows].max() for rows in groups]),
        grown_at=np.nan,
    )


def _curves(runs: pd.DataFrame, arms: list[str], curves: pd.DataFrame) -> dict[str, _Line]:
    found = {arm: _longest_curve(runs, arm, curves) for arm in arms}
    return {arm: line for arm, line in found.items() if line is not None}


def _longest_curve(runs: pd.DataFrame, arm: str, curves: pd.DataFrame) -> _Line | None:
    """Make a line of the longest runs of an arm, of the steps that all its seeds have; None
    without a curve."""
    own = where(runs, (runs["arm"] == arm) & np.isin(runs["point_id"], curves["point_id"]))
    if own.empty:
        return None
    longest = own.iloc[budgets(numbers(own, "train_flops"))[-1]]
    shown = where(curves, np.isin(curves["point_id"], longest["point_id"]))
    steps = shown.groupby("step").agg(
        flops=("train_flops", "mean"),
        mean=("val_loss", "mean"),
        low=("val_loss", "min"),
        high=("val_loss", "max"),
        seeds=("val_loss", "size"),
    )
    steps = where(steps, steps["seeds"] == steps["seeds"].max())
    return _Line(
        flops=numbers(steps, "flops"),
        mean=numbers(steps, "mean"),
        low=numbers(steps, "low"),
        high=numbers(steps, "high"),
        grown_at=float(np.median(numbers(longest, "base_train_flops"))),
    )


def _draw(axes: Axes, index: int, ends: _Line, line: _Line | None) -> Line2D:
    """Draw an arm: a marker for every end, and its line; return its handle for the legend."""
    look: dict[str, Any] = style.line(index)
    points: dict[str, Any] = style.points(index) | {"markersize": 5}
    axes.plot(ends.flops, ends.mean, linestyle="none", zorder=5, **points)
    reach = ends.mean - ends.low, ends.high - ends.mean
    axes.errorbar(ends.flops, ends.mean, reach, fmt="none", ecolor=look["color"], elinewidth=1)
    if line is not None:
        shade = {"color": look["color"], "alpha": 0.15, "linewidth": 0}
        axes.fill_between(line.flops, line.low, line.high, **shade)
        first = line.steps_before
        axes.plot(line.flops[first:], line.mean[first:], linewidth=1.6, zorder=3, **look)
        if first:
            axes.plot(line.flops[: first + 1], line.mean[: first + 1], **look, **BASE)
            ring = {**GREW, "markeredgecolor": look["color"], "markeredgewidth": 1.4}
            at = first - 1
            axes.plot(line.flops[at], line.mean[at], linestyle="none", zorder=4, **ring)
    return Line2D([], [], linewidth=1.6, **(look | points))


def _set_scales(axes: Axes, lines: list[_Line], curves: bool) -> None:
    """Show the ends and the growths, and leave out the fall from the first steps before them."""
    axes.set_xscale("log")
    low = min(float(line.low.min()) for line in lines)
    high = max(float(line.high[-1] if curves else line.high.max()) for line in lines)
    every = np.concatenate([line.flops for line in lines])
    first = float(every.min())
    if curves:
        span = max(high - low, 0.01 * low)
        grew = [float(one.high[one.steps_before - 1]) for one in lines if one.steps_before]
        high = min(max([high, *grew]), low + TALLEST * span)
        shown = [line.flops[line.mean <= high] for line in lines]
        first = min(float(part[0]) for part in shown if part.size)
    margin = 0.08 * (high - low)
    axes.set_ylim(low - margin, high + margin)
    axes.set_xlim(first / 1.1, float(every.max()) * 1.12)
    style.log_ticks(axes, axes.get_xlim())
