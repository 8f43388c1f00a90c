"""Validation loss against training FLOPs: runs, each arm's law and its pointwise band."""

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.scaling.arms import Arm, Arms
from analysis.tables.frames import numbers, where
from analysis.tables.published import NOTE, read_off
from analysis.tables.runs import loss_label

PUBLISHED = f"hollow: arXiv 2406.16450, {NOTE}"
# Difference up to which fractions are the same: the paper's 63% is of one projection, a table's of
# a whole structured FFN.
SAME_FRACTION = 0.1


def scaling_figure(used: pd.DataFrame, arms: Arms, loss: str = "val_loss") -> Figure:
    """Draw all arms on one pair of axes, as the report shows them.

    Args:
        used: the runs that entered, as `split_usable` returns them.
        arms: their fits.
        loss: the column of the losses.
    """
    figure, (axes,) = style.panels(1, 4.8, 3.9 + 0.1 * len(arms.arms))
    axes.set_ylabel(loss_label(loss))
    if used.empty:
        axes.set(xlabel="training FLOPs", xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no run has finished", ha="center", transform=axes.transAxes)
        return figure
    _set_scales(axes, used, arms.arms)
    handles = {arm.name: _draw(axes, i, arm) for i, arm in enumerate(arms.arms)}
    style.legend(figure, handles, _key(arms))
    return figure


def kinds_figure(
    used: pd.DataFrame, arms: Arms, published: pd.DataFrame | None, loss: str = "val_loss"
) -> Figure:
    """Draw a panel for each structured kind beside the dense arm, as in the paper.

    Args:
        used: the runs that entered.
        arms: their fits.
        published: a run table of published points to draw hollow; None for none.
        loss: the column of the losses.
    """
    first = used.drop_duplicates("arm")
    kind_of = dict(zip(first["arm"], first["ffn_kind"], strict=True))
    fraction_of = dict(zip(first["arm"], numbers(first, "ffn_fraction"), strict=True))
    kinds = style.structured_kinds(kind_of.values()) or ["dense"]
    figure, panels = style.panels(len(kinds), 3.7, 3.8, same_scales=True)
    handles: dict[str, Line2D] = {}
    numbers_of: dict[str, int] = {}  # one look for a name of the legend in all panels
    shown = used if published is None else pd.concat([used, published])
    _set_scales(panels[0], shown, arms.arms)
    for kind, axes in zip(kinds, panels, strict=True):
        style.title_kind(axes, kind)
        axes.set_xlabel(panels[0].get_xlabel())
        drawn = [arm for arm in arms.arms if kind_of[arm.name] in ("dense", kind)]
        for arm in drawn:
            name = arm.name.removeprefix(f"{kind} ")
            i = numbers_of.setdefault(name, len(numbers_of))
            handle = _draw(axes, i, arm)
            handles.setdefault(name, handle)
            if published is not None:
                _draw_published(axes, i, published, kind_of[arm.name], fraction_of[arm.name])
    panels[0].set_ylabel(loss_label(loss))
    note = f"; {PUBLISHED}" if published is not None else f"; {NOTE}" if read_off(used) else ""
    style.legend(figure, handles, f"{_key(arms) or 'points: runs'}{note}")
    return figure


def _draw_published(
    axes: Axes, index: int, published: pd.DataFrame, kind: str, fraction: float
) -> None:
    """Draw the published points of an arm, matched by kind and fraction of FFN weights."""
    near = np.abs(numbers(published, "ffn_fraction") - fraction) < SAME_FRACTION
    rows = where(published, (published["ffn_kind"] == kind) & near)
    look = style.points(index, hollow=True)
    axes.plot(rows["train_flops"], rows["val_loss"], linestyle="none", zorder=4, **look)


def _set_scales(axes: Axes, runs: pd.DataFrame, arms: Iterable[Arm]) -> None:
    axes.set(xscale="log", yscale="log")
    # Bands are left out of the limits: they may be ten times as tall as the runs.
    fitted = [arm.predict(arm.table.values["flops"]) for arm in arms if arm.fitted]
    log_loss = np.log(np.concatenate([runs["val_loss"], *fitted]))
    margin = max(0.1 * float(np.ptp(log_loss)), 0.01)
    axes.set_ylim(math.exp(log_loss.min() - margin), math.exp(log_loss.max() + margin))
    style.few_ticks(axes)
    style.log_ticks(axes, runs["train_flops"])
    convention = runs["flop_convention"].iloc[0]
    axes.set_xlabel(f"training FLOPs ({convention} convention)", parse_math=False)


def _key(arms: Arms) -> str | None:
    """Say what the lines and the shading mean, of those that are drawn."""
    if not any(arm.fitted for arm in arms.arms):
        return None
    shaded = any(arm.interval for arm in arms.arms)
    law = "$L = E + a\\,C^{-b}$" if arms.E is None else "$L = a\\,C^{-b}$"
    band = f", shaded: pointwise {arms.resampling.level:.0%} band" if shaded else ""
    return f"lines: {law}{band}"


def _draw(axes: Axes, index: int, arm: Arm) -> Line2D:
    """Draw one arm; return the handle that stands for it in the legend."""
    look = style.points(index)
    flops = arm.table.values["flops"]
    axes.plot(flops, arm.table.loss, linestyle="none", zorder=3, **look)
    if arm.fitted is None:
        return Line2D([], [], linestyle="none", **look)
    # The curve reaches as far as the runs: the figure does not extrapolate.
    grid = np.geomspace(flops.min(), flops.max(), 100)
    drawn = style.line(index)
    axes.plot(grid, arm.predict(grid), linewidth=1.5, zorder=2, **drawn)
    band = arm.band(grid)
    if band is not None:
        low, high = np.clip(band, *axes.get_ylim())
        axes.fill_between(grid, low, high, color=look["color"], alpha=0.1, linewidth=0, zorder=1)
    return Line2D([], [], linewidth=1.5, **(drawn | look))
