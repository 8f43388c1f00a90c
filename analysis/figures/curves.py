"""Figures of training curves: all runs of a study, the largest size, and training dynamics."""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.figures import style
from analysis.laws.law import Array
from analysis.tables.errors import RunTableError
from analysis.tables.frames import column, numbers, sizes, where

ROLES = ("dense", "structured", "self-guided")
SMOOTHED = 12  # length of a curve over that of its running mean


def curves_figure(curves: pd.DataFrame, arms: Iterable[str] = ()) -> Figure:
    """Draw training loss against step, and validation loss against FLOPs; a line for each run.

    The training loss is a running mean: single batches of many runs would hide one another.

    Args:
        curves: a table with `CURVE_COLUMNS`, the rows of a run in the order of its steps.
        arms: names of arms in the order of their looks; those of `curves` alone follow.
    """
    figure, (left, right) = style.panels(2, 4.5, 3.7)
    present = list(curves["arm"].unique())
    arms = list(dict.fromkeys((*arms, *present)))
    _draw_all(left, _smoothed(curves), arms, "step", "train_loss", marker="")
    left.set(xlabel="optimizer step", ylabel="training loss (nats per token)")
    _draw_all(right, curves, arms, "train_flops", "val_loss", marker=".")
    right.set(xlabel="training FLOPs", ylabel="validation loss (nats per token)")
    looks = {arm: style.line(i) for i, arm in enumerate(arms) if arm in present}
    style.legend(figure, {arm: Line2D([], [], **look) for arm, look in looks.items()})
    return figure


def largest_figure(runs: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw training curves of the largest size, a panel for each structured kind beside dense.

    Args:
        runs: a run table of the runs to show, unguided.
        curves: their curves.
    """
    shown = where(runs, np.isin(runs["point_id"], curves["point_id"]))
    if shown.empty:
        raise RunTableError("curves.csv holds no curve of a run in the table; give them together")
    largest = int(np.argmax(np.nan_to_num(numbers(shown, "params"))))
    names = np.array(sizes(shown), dtype=object)
    size = names[largest]
    runs = where(shown, names == size)
    kinds = style.structured_kinds(runs["ffn_kind"]) or ["dense"]
    figure, panels = style.panels(len(kinds), 4.0, 3.7, same_scales=True)
    handles: dict[str, Line2D] = {}
    numbers_of: dict[str, int] = {}  # one look for a name of the legend in all panels
    for kind, axes in zip(kinds, panels, strict=True):
        style.title_kind(axes, kind, f"{size}, ")
        axes.set_xlabel("optimizer step")
        own = where(runs, np.isin(runs["ffn_kind"], ["dense", kind]))
        for arm, rows in own.groupby("arm", sort=False):
            name = str(arm).removeprefix(f"{kind} ")
            i = numbers_of.setdefault(name, len(numbers_of))
            _draw_smoothed(axes, curves, rows, i)
            handles.setdefault(name, Line2D([], [], linewidth=1.6, **style.line(i)))
    panels[0].set_ylabel("training loss (nats per token)")
    _limit(panels[0], _of(curves, runs), 0.9)
    style.legend(figure, handles, "thin: single batches; thick: running mean")
    return figure


def dynamics_figure(runs: pd.DataFrame, curves: pd.DataFrame) -> Figure:
    """Draw training loss against step by learning rate: dense, structured, and self-guided.

    A row of panels for each structured kind and a column for each learning rate. Runs that
    diverged are shown as far as they came: they are what such a figure is for.

    Args:
        runs: a run table, runs that did not finish included.
        curves: their curves.
    """
    runs = where(runs, np.isin(runs["point_id"], curves["point_id"]))
    kinds = style.structured_kinds(runs["ffn_kind"])
    if not kinds:
        raise RunTableError(
            "curves.csv holds no curve of a structured run in the table; give the run table and "
            "the curves of one study"
        )
    named = runs.assign(size=sizes(runs))
    tried = {str(name): set(rows["learning_rate"]) for name, rows in named.groupby("size")}
    size = max(tried, key=lambda name: len(tried[name]))
    runs = where(named, named["size"] == size)
    rates = sorted(tried[size])
    height = 2.7 if len(kinds) > 1 else 3.6
    figure, panels = style.panels(len(rates), 3.4, height, rows=len(kinds), same_scales=True)
    grid = np.array(panels, dtype=object).reshape(len(kinds), len(rates))
    for kind, row in zip(kinds, grid, strict=True):
        row[0].set_ylabel(f"{kind or style.UNNAMED_KIND}\ntraining loss (nats)", parse_math=False)
        for rate, axes in zip(rates, row, strict=True):
            for i, role in enumerate(ROLES):
                rows = where(runs, (runs["learning_rate"] == rate) & (_roles(runs, kind) == role))
                for _, curve in _of(curves, rows).groupby("point_id", sort=False):
                    axes.plot(curve["step"], curve["train_loss"], linewidth=1, **style.line(i))
    for rate, axes in zip(rates, grid[0], strict=True):
        axes.set_title(f"learning rate {rate:g}", fontsize="medium", fontweight="bold")
    for axes in grid[-1]:
        axes.set_xlabel("optimizer step")
    _limit(panels[0], _of(curves, runs), 0.95)
    handles = {role: Line2D([], [], **style.line(i)) for i, role in enumerate(ROLES)}
    style.legend(figure, handles, f"{size}: loss of single batches")
    return figure


def _roles(runs: pd.DataFrame, kind: str) -> NDArray[np.str_]:
    """Name the role of each run beside the runs of `kind`; empty for runs of other kinds."""
    guided = np.isfinite(numbers(runs, "guide_ratio"))
    own = np.asarray(runs["ffn_kind"] == kind)
    cases = [np.asarray(runs["ffn_kind"] == "dense"), own & ~guided, own & guided]
    return np.select(cases, ROLES, "")


def _of(curves: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    own = where(curves, np.isin(curves["point_id"], runs["point_id"]))
    return where(own, np.isfinite(numbers(own, "train_loss")))


def _draw_smoothed(axes: Axes, curves: pd.DataFrame, runs: pd.DataFrame, index: int) -> None:
    for _, curve in _of(curves, runs).groupby("point_id", sort=False):
        mean = _running_mean(column(curve, "train_loss"))
        look = style.line(index)
        thin = {"color": look["color"], "linewidth": 0.4, "alpha": 0.35}
        axes.plot(curve["step"], curve["train_loss"], **thin)
        axes.plot(curve["step"], mean, linewidth=1.6, **look)


def _running_mean(losses: pd.Series) -> Array:
    window = max(1, len(losses) // SMOOTHED)
    return np.asarray(losses.rolling(window, center=True, min_periods=1).mean())


def _smoothed(curves: pd.DataFrame) -> pd.DataFrame:
    """Give each run's rows with a training loss, that loss as its running mean."""
    rows = where(curves, np.isfinite(numbers(curves, "train_loss")))
    by_run = rows.groupby("point_id", sort=False)["train_loss"]
    return rows.assign(train_loss=by_run.transform(_running_mean))


def _limit(axes: Axes, curves: pd.DataFrame, fraction: float) -> None:
    """Cut the first steps, which fall from ln(vocabulary) and would leave the rest flat."""
    losses = numbers(curves, "train_loss")
    if losses.size:
        low, high = float(losses.min()), float(np.quantile(losses, fraction))
        axes.set_ylim(low - 0.05 * (high - low) - 0.02, high + 0.05 * (high - low) + 0.02)


def _draw_all(
    axes: Axes, curves: pd.DataFrame, arms: list[str], x: str, y: str, marker: str
) -> None:
    rows = curves.dropna(subset=[y])
    ends = []
    for _, run in rows.groupby("point_id", sort=False):
        look = style.line(arms.index(run["arm"].iloc[0]))
        axes.plot(run[x], run[y], linewidth=1.1, alpha=0.8, marker=marker, **look)
        ends.append(run[y].iloc[-1])
    if ends:
        low = rows[y].to_numpy().min()
        axes.set_ylim(low - 0.05, max(max(ends) + 0.3, low + 1.0))
