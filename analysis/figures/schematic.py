"""The four parametrizations of a projection from N features to M, drawn with their matrices.

Reading y = U V x from the right: x enters the last matrix drawn. Shaded cells hold weights.
"""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis.figures import style

N, M, R, B = 2.0, 3.2, 0.9, 2  # drawn sizes
GAP = 0.75
FILL = ("0.82", "0.62")


@dataclass(frozen=True)
class Matrix:
    """One factor: its drawn height and width, blocks on its diagonal, and its labels."""

    height: float
    width: float
    blocks: int
    name: str
    size: str


KINDS = {
    "dense": ([Matrix(M, N, 1, "W", "M × N")], "y = W x", "N M"),
    "lowrank": (
        [Matrix(M, R, 1, "U", "M × R"), Matrix(R, N, 1, "V", "R × N")],
        "y = U (V x)",
        "(N + M) R",
    ),
    "blockdense": (
        [Matrix(M, R, 1, "U", "M × R"), Matrix(R, N, B, "V", "B blocks\nR/B × N/B")],
        "y = U (blockdiag(V) x)",
        "R (M + N/B)",
    ),
    "blockshuffle": (
        [
            Matrix(M, N, B, "U", "B blocks\nM/B × K/B"),
            Matrix(N, N, B, "V", "B blocks\nK/B × N/B"),
        ],
        "y = P⁻¹ blockdiag(U) P blockdiag(V) x",
        "min(N, M) (N + M)/B",
    ),
}


def schematic_figure() -> Figure:
    """Draw the four kinds side by side, each with its formula and number of weights."""
    widths = [sum(one.width + GAP for one in factors) for factors, _, _ in KINDS.values()]
    figure = style.Picture(figsize=(11, 3.3), layout="constrained")
    panels = figure.subplots(1, len(KINDS), width_ratios=widths)
    for (kind, (factors, formula, weights)), axes in zip(KINDS.items(), panels, strict=True):
        _draw(axes, kind, factors)
        axes.set_title(kind, fontweight="bold")
        axes.text(
            0.5,
            -0.02,
            f"{formula}\n{weights} weights",
            transform=axes.transAxes,
            ha="center",
            va="top",
            fontsize="small",
        )
    return figure


def _draw(axes: Axes, kind: str, factors: list[Matrix]) -> None:
    axes.set(
        xlim=(-0.2, sum(one.width + GAP for one in factors) - GAP + 0.2), ylim=(-M / 2 - 0.1, 2.5)
    )
    axes.set_aspect("equal")
    axes.axis("off")
    left = 0.0
    for i, one in enumerate(factors):
        top = one.height / 2
        axes.add_patch(Rectangle((left, -top), one.width, one.height, fill=False, edgecolor="0.3"))
        for b in range(one.blocks):
            place = (left + b * one.width / one.blocks, top - (b + 1) * one.height / one.blocks)
            axes.add_patch(
                Rectangle(
                    place,
                    one.width / one.blocks,
                    one.height / one.blocks,
                    facecolor=FILL[i],
                    edgecolor=style.COLOURS[0],
                    linewidth=1.2,
                )
            )
        axes.text(left + one.width / 2, top + 0.1, one.size, ha="center", va="bottom", fontsize=8)
        centre = (left + one.width / (2 * one.blocks), top - one.height / (2 * one.blocks))
        axes.text(*centre, one.name, ha="center", va="center", fontstyle="italic")
        if kind == "blockshuffle" and i == 0:
            axes.text(left + one.width + GAP / 2, 0, "P", ha="center", va="center", fontsize=11)
        left += one.width + GAP
