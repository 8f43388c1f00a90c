"""The figures, drawn with matplotlib's object interface: no global state, the same bytes twice.

An arm is told from the others by colour, marker and line style together, so a figure survives
grayscale printing and colour blindness. The colours are those of Okabe and Ito (Color Universal
Design, 2008) without yellow, which is too pale on white.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator, ScalarFormatter

from analysis.ladder import Fit, Resampling, curve_band

COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))


def scaling_figure(used: pd.DataFrame, fits: Mapping[str, Fit], resampling: Resampling) -> Figure:
    """Validation loss against training FLOPs: the runs, each arm's law and its pointwise band.

    Args:
        used: the runs that entered, as `clean` returns them.
        fits: the fit of each arm in `used`, in legend order.
        resampling: the settings of the bands.
    """
    figure = Figure(figsize=(5.4, 3.9 + 0.1 * len(fits)), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_ylabel("validation loss (nats per token)")
    if used.empty:
        axes.set(xlabel="training FLOPs", xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no run has finished", ha="center", transform=axes.transAxes)
        return figure
    convention = used["flop_convention"].iloc[0]
    axes.set_xlabel(f"training FLOPs ({convention} convention)", parse_math=False)
    _set_scales(axes, used, fits)
    handles = [
        _draw_arm(axes, index, used.loc[used["arm"] == arm], fit, resampling)
        for index, (arm, fit) in enumerate(fits.items())
    ]
    legend = figure.legend(
        handles,
        list(fits),
        title=_key(fits, resampling),
        loc="outside upper left",  # above the axes it covers no run, however many arms there are
        ncols=2,
        alignment="left",
        frameon=False,
        handlelength=3.4,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)  # an arm's name may hold a dollar sign
    return figure


def save(figure: Figure, stem: Path) -> None:
    """Write `figure` as `stem`.png (200 dpi) and `stem`.svg, free of dates and random ids."""
    with matplotlib.rc_context({"svg.hashsalt": "structured-scaling"}):
        figure.savefig(stem.with_suffix(".png"), dpi=200, metadata={"Software": None})
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None, "Creator": None})


def _set_scales(axes: Axes, used: pd.DataFrame, fits: Mapping[str, Fit]) -> None:
    axes.set(xscale="log", yscale="log")
    # From the runs and the fitted lines alone: an interval may be ten times as tall as they are.
    fitted = [fit.law.predict(fit.train_flops) for fit in fits.values() if fit.law]
    log_loss = np.log(np.concatenate([used["val_loss"], *fitted]))
    margin = max(0.1 * float(np.ptp(log_loss)), 0.01)
    axes.set_ylim(math.exp(log_loss.min() - margin), math.exp(log_loss.max() + margin))
    # A ladder's losses span less than a decade, where log ticks would be one or none.
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(which="major", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)


def _key(fits: Mapping[str, Fit], resampling: Resampling) -> str | None:
    """What the lines and the shading mean, of those that are drawn."""
    if not any(fit.law for fit in fits.values()):
        return None
    bands = any(fit.dof for fit in fits.values())
    shaded = f", shaded: pointwise {resampling.level:.0%} band" if bands else ""
    return f"lines: $L = a\\,C^{{-b}}${shaded}"


def _draw_arm(
    axes: Axes, index: int, runs: pd.DataFrame, fit: Fit, resampling: Resampling
) -> Line2D:
    """Draw one arm; return the handle that stands for it in the legend."""
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    points = {"color": colour, "marker": marker, "markersize": 7, "markeredgecolor": "white"}
    axes.plot(runs["train_flops"], runs["val_loss"], linestyle="none", zorder=3, **points)
    if fit.law is None:
        return Line2D([], [], linestyle="none", **points)
    dashes = LINES[index % len(LINES)]
    # The curve reaches as far as the runs: the figure does not extrapolate.
    grid = np.geomspace(min(fit.train_flops), max(fit.train_flops), 100)
    axes.plot(grid, fit.law.predict(grid), linestyle=dashes, color=colour, linewidth=1.5, zorder=2)
    band = curve_band(fit, grid, resampling)
    if band is not None:
        low, high = np.clip(band, *axes.get_ylim())
        axes.fill_between(grid, low, high, color=colour, alpha=0.1, linewidth=0, zorder=1)
    return Line2D([], [], linestyle=dashes, linewidth=1.5, **points)
