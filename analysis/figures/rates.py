"""Validation loss against the learning rate, a line for each size: does the best rate stay?"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.laws.law import Array
from analysis.tables.errors import RunTableError
from analysis.tables.frames import numbers, sizes, texts, where
from analysis.tables.runs import loss_label

FIXED = ("", "fixed")  # of runs without a transfer rule; earlier tables leave it empty
FEWEST_RATES = 3
HEADROOM = 1.5  # of the panel above the worst of the best losses, over the range of the best losses


@dataclass(frozen=True)
class Sweep:
    """The runs of one size in one arm: mean losses over seeds, with their range, by rate."""

    arm: str
    size: str
    rates: Array
    mean: Array
    low: Array
    high: Array

    @property
    def best(self) -> int:
        """The place of the rate with the lowest mean loss."""
        return int(np.argmin(self.mean))

    @property
    def best_rate(self) -> float:
        """The rate with the lowest mean loss."""
        return float(self.rates[self.best])

    @property
    def at_edge(self) -> bool:
        """True where that is the lowest or the highest rate that was tried."""
        return self.best in (0, len(self.rates) - 1)


def sweeps(used: pd.DataFrame) -> list[Sweep]:
    """Return the sizes of each arm that have at least three learning rates, smallest first.

    Under a transfer rule the runs at its base are those without a rule, and so they are in its arm
    too.
    """
    found = [
        sweep
        for arm in dict.fromkeys(texts(used, "arm"))
        for sweep in _of_arm(str(arm), _with_base(used, str(arm)))
    ]
    return [sweep for sweep in found if len(sweep.rates) >= FEWEST_RATES]


def apart(own: list[Sweep]) -> int:
    """Return how many steps of the grid of rates lie between the lowest and the highest best
    rate."""
    grid = sorted({float(rate) for sweep in own for rate in sweep.rates})
    places = [grid.index(sweep.best_rate) for sweep in own]
    return max(places) - min(places)


def rates_figure(used: pd.DataFrame, source: str, loss: str = "val_loss") -> Figure:
    """Draw a panel for each arm, a line for each size; a ring marks the best rate of each.

    Args:
        used: the runs that entered, as `split_usable` gives them.
        source: where the runs come from, for error messages.
        loss: the column of the losses.

    Raises:
        RunTableError: no size of an arm has three learning rates.
    """
    found = sweeps(used)
    if not found:
        raise RunTableError(
            f"{source}: no size of an arm has {FEWEST_RATES} learning rates; draw a study with a "
            "list of learning_rate in its grid"
        )
    arms = list(dict.fromkeys(sweep.arm for sweep in found))
    named = list(dict.fromkeys(sweep.size for sweep in found))
    columns = 2 if len(arms) == 4 else min(len(arms), 3)
    rows = -(-len(arms) // columns)
    figure, panels = style.panels(columns, 4.2, 3.7, rows=rows, same_scales=True)
    for axes in panels[len(arms) :]:
        axes.remove()
    for arm, axes in zip(arms, panels, strict=False):
        own = [sweep for sweep in found if sweep.arm == arm]
        _draw(axes, arm, own, named)
    panels[0].set_ylim(*_limits(found))
    for axes in panels[: len(arms) : columns]:
        axes.set_ylabel(loss_label(loss))
    looks = {size: Line2D([], [], **_look(i)) for i, size in enumerate(named)}
    style.legend(figure, looks, "means over seeds, with their range; ring: the best rate of a size")
    return figure


def edge_cautions(used: pd.DataFrame) -> list[str]:
    """Say which best rates are the lowest or the highest that were tried."""
    return [
        f"{sweep.arm}, {sweep.size}: the best rate {sweep.best_rate:g} is at the edge of the rates "
        "that were tried; the best may lie beyond"
        for sweep in sweeps(used)
        if sweep.at_edge
    ]


def _with_base(used: pd.DataFrame, arm: str) -> pd.DataFrame:
    """Select the runs of an arm, and under a transfer rule those of its base."""
    own = np.asarray(used["arm"] == arm)
    bases = {base for base in texts(where(used, own), "recipe_base") if base}
    sides = (numbers(used, "hidden_dim"), numbers(used, "num_layers"))
    shapes = [f"{width:g}x{layers:g}" for width, layers in zip(*sides, strict=True)]
    fixed = np.isin(texts(used, "recipe").astype(str), FIXED)
    named = np.array([arm.startswith(f"{other} ") for other in texts(used, "arm")], dtype=bool)
    return where(used, own | (fixed & named & np.isin(shapes, sorted(bases))))


def _of_arm(arm: str, runs: pd.DataFrame) -> Iterator[Sweep]:
    named = runs.assign(size=_size_names(runs)).sort_values("params", kind="stable")
    for size, own in named.groupby("size", sort=False):
        groups = own.groupby("learning_rate", sort=True)["val_loss"]
        found = (groups.mean(), groups.min(), groups.max())
        mean, low, high = (np.asarray(each, np.float64) for each in found)
        rates = np.array(sorted(set(numbers(own, "learning_rate"))))
        yield Sweep(arm, str(size), rates, mean, low, high)


def _size_names(runs: pd.DataFrame) -> list[str]:
    """Name the size of each run: its width, and its layers where they differ; or its preset."""
    widths, layers = numbers(runs, "hidden_dim"), numbers(runs, "num_layers")
    deep = len(set(layers)) > 1
    return [
        f"width {width:g}{f', {depth:g} layers' if deep else ''}" if np.isfinite(width) else name
        for width, depth, name in zip(widths, layers, sizes(runs), strict=True)
    ]


def _draw(axes: Axes, arm: str, own: list[Sweep], named: list[str]) -> None:
    lowest, highest = (f(sweep.best_rate for sweep in own) for f in (min, max))
    steps = apart(own)
    said = f"best rates {lowest:g} to {highest:g}, {steps} step{'' if steps == 1 else 's'} apart"
    axes.set_title(f"{arm}\n{said}", fontsize="medium", parse_math=False)
    axes.set_xlabel("peak learning rate")
    axes.set_xscale("log", base=2)
    for sweep in own:
        look = _look(named.index(sweep.size))
        axes.fill_between(
            sweep.rates, sweep.low, sweep.high, color=look["color"], alpha=0.15, linewidth=0
        )
        axes.plot(sweep.rates, sweep.mean, **look)
        ring = {"marker": "o", "markersize": 13, "markerfacecolor": "none", "linestyle": "none"}
        axes.plot(
            [sweep.best_rate], [sweep.mean[sweep.best]], markeredgecolor=look["color"], **ring
        )
    rates = sorted({float(rate) for sweep in own for rate in sweep.rates})
    axes.set_xticks(rates, [f"{rate:g}" for rate in rates], rotation=45)


def _look(index: int) -> dict[str, Any]:
    return {**style.points(index), **style.line(index), "markersize": 5}


def _limits(found: list[Sweep]) -> tuple[float, float]:
    """Return the losses to show: losses of rates that are far too high would flatten the rest."""
    best = [float(sweep.mean[sweep.best]) for sweep in found]
    span = max(best) - min(best) or 0.1 * min(best)
    highest = max(float(sweep.high.max()) for sweep in found)
    return min(best) - 0.1 * span, min(highest + 0.1 * span, max(best) + HEADROOM * span)
