"""Loss against model size at each budget, with the parabola whose vertex is the best size."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figures import style
from analysis.scaling.arms import Arm, Arms
from analysis.scaling.budget_minimum import parabola
from analysis.scaling.isoflop import budgets
from analysis.tables.runs import loss_label

MOST_IN_A_ROW = 3


def isoflop_figure(arms: Arms, loss: str = "val_loss") -> Figure:
    """Draw a panel for each arm that is an isoFLOP design; there is at least one."""
    shown = [arm for arm in arms.arms if arm.isoflop]
    columns = min(len(shown), MOST_IN_A_ROW)
    rows = -(-len(shown) // columns)
    figure, panels = style.panels(columns, 4.2, 3.7, rows=rows, same_scales=True)
    handles: dict[str, Line2D] = {}
    for arm, axes in zip(shown, panels, strict=False):
        axes.set_title(arm.name, fontsize="medium", fontweight="bold", parse_math=False)
        axes.set(xscale="log", xlabel="parameters")
        _draw(axes, arm, handles)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    for axes in panels[::columns]:
        axes.set_ylabel(loss_label(loss))
    key = "lines: parabolas in log N; crosses: their minima; pluses: minima of Akima splines"
    style.legend(figure, handles, key)
    return figure


def _draw(axes: Axes, arm: Arm, handles: dict[str, Line2D]) -> None:
    assert arm.isoflop is not None
    params, flops, loss = arm.table.values["params"], arm.table.values["flops"], arm.table.loss
    for rows, found in zip(budgets(flops), arm.isoflop.minima, strict=True):
        # One look for a budget in all panels, also where an arm lacks some of them.
        name = f"{found.flops:.2g} FLOPs"
        i = list(handles).index(name) if name in handles else len(handles)
        look = style.points(i)
        handles.setdefault(name, Line2D([], [], **(style.line(i) | look)))
        axes.plot(params[rows], loss[rows], linestyle="none", zorder=3, **look)
        mark = {"markersize": 9, "markeredgewidth": 2, "color": look["color"], "linestyle": "none"}
        if found.akima_params is not None and found.akima_loss is not None:
            axes.plot(found.akima_params, found.akima_loss, marker="+", zorder=4, **mark)
        if found.parabola_params is None:
            continue
        x = np.log(params[rows])
        grid = np.linspace(x.min(), x.max(), 100)
        a, b, c = np.polyfit(x - x.mean(), loss[rows], 2)
        y = a * (grid - x.mean()) ** 2 + b * (grid - x.mean()) + c
        axes.plot(np.exp(grid), y, linewidth=1.3, zorder=2, **style.line(i))
        vertex = parabola(x, loss[rows])
        assert vertex is not None
        axes.plot(np.exp(vertex[0]), vertex[1], marker="x", zorder=4, **mark)
