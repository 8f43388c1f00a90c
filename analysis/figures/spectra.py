"""Singular values of structured projections, at initialization and after training."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.laws.law import Array
from analysis.tables.spectra import KINDS as INITIALIZED
from analysis.tables.spectra import Shape, initial_singular_values, singular_values

WIDTHS = (768, 1536)  # of the paper's models
RANKS = (2, 4, 8)  # ranks, as divisors of the width
BLOCKS = (2, 4, 8)


def initial_figure() -> Figure:
    """Draw the values at initialization, for low rank by rank and for block kinds by blocks."""
    figure, panels = style.panels(4, 3.3, 3.4)
    for i, width in enumerate(WIDTHS):
        by_rank, by_blocks = panels[2 * i : 2 * i + 2]
        by_rank.set_title(f"lowrank, width {width}", fontsize="medium")
        by_blocks.set_title(f"block kinds, width {width}", fontsize="medium")
        full = initial_singular_values(Shape("dense", width, 4 * width))
        _draw(by_rank, 0, full, "dense")
        for j, divisor in enumerate(RANKS, start=1):
            _draw(by_rank, j, full[: width // divisor], f"R = {width // divisor}")
        _draw(by_blocks, 0, full, "dense")
        for j, blocks in enumerate(BLOCKS, start=1):
            shuffle = Shape("blockshuffle", width, 4 * width, nblocks=blocks)
            _draw(by_blocks, j, initial_singular_values(shuffle), f"blockshuffle B = {blocks}")
        dense_rank = Shape("blockdense", width, 4 * width, width // 2, 2)
        values = initial_singular_values(dense_rank)
        _draw(by_blocks, len(BLOCKS) + 1, values, f"blockdense R = {width // 2}")
    for axes in panels:
        _finish(axes)
        axes.legend(frameon=False, fontsize="small", handlelength=2.8)
    panels[0].set_ylabel("singular value")
    return figure


def trained_figure(runs: dict[str, tuple[Shape, Array]]) -> Figure:
    """Draw the values after training, a panel for each kind.

    Thin grey lines are the same shapes before training, where the kind's initialization is known.

    Args:
        runs: label to the shape and the merged matrix of a projection.
    """
    kinds = list(style.kind_numbers(shape.kind for shape, _ in runs.values()))
    figure, panels = style.panels(len(kinds), 3.9, 3.8)
    for kind, axes in zip(kinds, panels, strict=True):
        style.title_kind(axes, kind)
        own = {label: run for label, run in runs.items() if run[0].kind == kind}
        for i, (label, (shape, matrix)) in enumerate(own.items()):
            values = singular_values(matrix)
            if kind in INITIALIZED:
                before = initial_singular_values(shape)
                values = values[: before.size]
                axes.plot(_index(before), before, color="0.6", linewidth=0.8, zorder=1)
            _draw(axes, i, values, label)
        _finish(axes)
        legend = axes.legend(frameon=False, fontsize="small", handlelength=2.8)
        for text in legend.get_texts():
            text.set_parse_math(False)
    panels[0].set_ylabel("singular value, last layer's first projection")
    style.legend(figure, {"at initialization": Line2D([], [], color="0.6", linewidth=0.8)})
    return figure


def _draw(axes: Axes, index: int, values: Array, label: str) -> None:
    axes.plot(_index(values), values, linewidth=1.4, label=label, **style.line(index))


def _index(values: Array) -> Array:
    return np.arange(1.0, values.size + 1)


def _finish(axes: Axes) -> None:
    axes.set(xlabel="index", xlim=(1, None), ylim=(0, None))
