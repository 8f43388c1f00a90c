"""Self-guided training against more tokens: perplexity at equal training FLOPs, model by size.

A structured model costs fewer FLOPs a token than the dense one of its preset. What is left is
spent on more tokens or on guidance, and the three are compared at the dense model's FLOPs.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

from analysis.figures import style
from analysis.figures.scaling import PUBLISHED
from analysis.tables.errors import RunTableError
from analysis.tables.frames import numbers, sizes, where

ROLES = ("dense", "more tokens", "self-guided")
EQUAL_FLOPS = 0.05  # relative difference up to which training FLOPs count as equal
LARGEST = 700.0  # area of the largest bubble in square points


def guided_points(used: pd.DataFrame) -> pd.DataFrame:
    """Select runs that spent the FLOPs of a dense run of their size; add role and perplexity.

    Raises:
        RunTableError: none but dense runs did.
    """
    is_dense = np.asarray(used["ffn_kind"] == "dense")
    named = used.assign(size=sizes(used))
    target = {
        size: float(np.median(rows["train_flops"]))
        for size, rows in where(named, is_dense).groupby("size")
    }
    budget = np.array([target.get(size, np.nan) for size in named["size"]])
    near = np.abs(numbers(used, "train_flops") / budget - 1) < EQUAL_FLOPS
    rows = where(used, is_dense | near)
    if set(rows["ffn_kind"]) <= {"dense"}:
        raise RunTableError(
            "no structured run spent the training FLOPs of a dense run of its preset (within "
            f"{EQUAL_FLOPS:.0%}); give such runs `budget: {{train_flops: ...}}` or a guide of "
            "mode fixed_flops"
        )
    guided = np.where(np.isfinite(numbers(rows, "guide_ratio")), ROLES[2], ROLES[1])
    role = np.where(rows["ffn_kind"] == "dense", ROLES[0], guided)
    return rows.assign(role=role, perplexity=np.exp(numbers(rows, "val_loss")))


def published_points(scaling: pd.DataFrame, wide: pd.DataFrame) -> pd.DataFrame:
    """Join the published dense models and the wide low-rank ones at the FLOPs of one of them."""
    dense = where(scaling, scaling["ffn_kind"] == "dense")
    dense = dense.assign(role=ROLES[0], perplexity=np.exp(numbers(dense, "val_loss")))
    structured = where(wide, wide["role"] != "dense").assign(ffn_kind="lowrank")
    return pd.concat([dense, structured], ignore_index=True)


def guided_figure(points: pd.DataFrame | None, published: pd.DataFrame | None) -> Figure:
    """Draw a panel for each structured kind; a bubble for each model, its area the parameters.

    Args:
        points: this platform's runs, of `guided_points`; None to show what is published alone.
        published: of `published_points`, drawn hollow; None for none.
    """
    parts = [part for part in (points, published) if part is not None]
    everything = pd.concat(parts)
    kinds = style.structured_kinds((everything if points is None else points)["ffn_kind"])
    figure, panels = style.panels(len(kinds), 4.0, 4.0, same_scales=True)
    params, tokens = numbers(everything, "params"), numbers(everything, "tokens")
    is_wide = tokens.max() > 8 * tokens.min()
    panels[0].set(xscale="log" if is_wide else "linear", yscale="log")
    panels[0].set_ylabel("validation perplexity")
    most = float(params.max())
    for kind, axes in zip(kinds, panels, strict=True):
        style.title_kind(axes, kind)
        axes.set_xlabel("training tokens")
        for part, hollow in ((points, False), (published, True)):
            if part is not None:
                own = where(part, np.isin(part["ffn_kind"], ["dense", kind]))
                _draw(axes, own, most, hollow)
    style.few_ticks(panels[0])
    panels[0].margins(0.22)
    if is_wide:
        panels[0].xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panels[0].xaxis.set_minor_formatter(NullFormatter())
    else:
        panels[0].xaxis.set_major_locator(MaxNLocator(4))
    panels[0].xaxis.set_major_formatter(style.short_count)
    handles = {
        role: Line2D([], [], **(style.line(i) | style.points(i))) for i, role in enumerate(ROLES)
    }
    smallest, largest = style.short_count(float(params.min())), style.short_count(most)
    note = f"\n{PUBLISHED}" if published is not None else ""
    title = f"area: parameters, {smallest} to {largest}; equal training FLOPs a size{note}"
    style.legend(figure, handles, title)
    return figure


def _draw(axes: Axes, points: pd.DataFrame, most: float, hollow: bool) -> None:
    for i, role in enumerate(ROLES):
        rows = where(points, points["role"] == role)
        look = style.points(i)
        axes.scatter(
            rows["tokens"],
            rows["perplexity"],
            s=LARGEST * numbers(rows, "params") / most,
            marker=look["marker"],
            facecolors="none" if hollow else look["color"],
            edgecolors=look["color"] if hollow else "white",
            alpha=1.0 if hollow else 0.85,
            zorder=3 - i / 10,
        )
        equal = [own for _, own in rows.groupby("params")]
        middle = [[numbers(own, x).mean() for own in equal] for x in ("tokens", "perplexity")]
        axes.plot(*middle, linewidth=1, zorder=2, **style.line(i))
