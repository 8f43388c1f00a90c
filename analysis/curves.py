"""Training curves: how the loss of every run of a study fell, step by step.

A table of curves has one row for each recorded step of each run; see `CURVE_COLUMNS`.
"""

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import COLOURS, LINES

# Each with its unit or meaning; the last two may be empty in a row.
CURVE_COLUMNS = {
    "point_id": "readable id of the run",
    "arm": "legend label",
    "step": "optimizer steps done",
    "train_flops": "training FLOPs spent",
    "train_loss": "loss of that step's batch, nats per token",
    "val_loss": "validation loss, nats per token",
}


def curves_figure(curves: pd.DataFrame) -> Figure:
    """Training loss against step, and validation loss against FLOPs; a line for each run.

    Args:
        curves: a table with `CURVE_COLUMNS`, the rows of a run in the order of its steps.
    """
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    arms = list(curves["arm"].unique())
    _draw(left, curves, arms, "step", "train_loss", marker="")
    left.set(xlabel="optimizer step", ylabel="training loss (nats per token)")
    _draw(right, curves, arms, "train_flops", "val_loss", marker=".")
    right.set(xlabel="training FLOPs", ylabel="validation loss (nats per token)")
    legend = figure.legend(
        [Line2D([], [], **_look(index)) for index in range(len(arms))],
        arms,
        loc="outside upper left",
        ncols=min(3, len(arms)),
        alignment="left",
        frameon=False,
        handlelength=3.4,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # an arm's name may hold a dollar sign
    return figure


def _draw(axes: Axes, curves: pd.DataFrame, arms: list[str], x: str, y: str, marker: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    rows = curves.dropna(subset=[y])
    ends = []
    for _, run in rows.groupby("point_id", sort=False):
        look = _look(arms.index(run["arm"].iloc[0]))
        axes.plot(run[x], run[y], linewidth=1.1, alpha=0.8, marker=marker, **look)
        ends.append(run[y].iloc[-1])
    if ends:
        # The first steps fall from ln(vocabulary), and would leave the rest a flat line.
        low = rows[y].to_numpy().min()
        axes.set_ylim(low - 0.05, max(max(ends) + 0.3, low + 1.0))


def _look(index: int) -> dict[str, Any]:
    """Colour and line style of an arm, as in the scaling figure."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)]}
