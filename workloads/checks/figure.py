"""The figure of the coordinate check: a panel for each step, a line for each layer."""

from __future__ import annotations

from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from workloads.checks.coordinates import LOGITS, Coordinates
from workloads.errors import InputError
from workloads.recipes.schedule_command import UNDATED

MOST_PANELS = 4
# Okabe and Ito's colours, with a line style each, by what a layer's line shows.
LOOKS = {
    "attention": {"color": "#0072B2", "linestyle": "--"},
    "FFN": {"color": "#D55E00", "linestyle": "-"},
    "residual stream": {"color": "#009E73", "linestyle": "-."},
    LOGITS: {"color": "#000000", "linestyle": ":"},
}


def draw(found: Coordinates, path: Path) -> None:
    """Draw the size of each layer's outputs against the width, after up to four numbers of steps.
    Raises InputError where the file cannot be written."""
    shown = _shown(found.steps)
    figure = Figure(figsize=(2.7 * len(shown) + 0.4, 4.2), layout="constrained")
    panels = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
    for step, axes in zip(shown, panels, strict=True):
        axes.set_title(_when(step), fontsize="medium")
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(found.widths, [str(width) for width in found.widths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("width")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="0.92", linewidth=0.6)
        for layer, sizes in found.sizes.items():
            axes.plot(found.widths, sizes[step], marker="o", markersize=3, **_look(layer))
    panels[0].set_ylabel("root mean square of outputs")
    handles = {_kind(line.get_label()): line for line in panels[0].get_lines()}
    figure.legend(
        list(handles.values()),
        list(handles),
        loc="outside upper left",
        ncols=len(handles),
        frameon=False,
        title="a line for each layer; flat lines: the size does not depend on the width",
        alignment="left",
        handlelength=3.4,
    )
    try:
        with matplotlib.rc_context({"svg.hashsalt": "structured-scaling"}):  # the same bytes again
            figure.savefig(path, dpi=150, metadata=UNDATED[path.suffix])
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def _shown(steps: int) -> list[int]:
    """Return up to four numbers of steps, the first and the last among them."""
    most = min(MOST_PANELS, steps + 1) - 1
    return [round(index * steps / most) for index in range(most + 1)]


def _when(step: int) -> str:
    return f"after {step} step{'' if step == 1 else 's'}" if step else "before training"


def _kind(layer: str) -> str:
    """Return what a layer's line shows: `layer 2 FFN` shows an `FFN`."""
    return next(kind for kind in LOOKS if layer.endswith(kind))


def _look(layer: str) -> dict[str, str]:
    return {"label": layer, **LOOKS[_kind(layer)]}
