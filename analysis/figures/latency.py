"""The time of a structured FFN beside the dense one: by width, by parameters, by tokens.

Each panel is drawn where the measurements carry it: times against width need two widths, times
against tokens need three token counts at a width. Speed-ups are of a structured FFN over the dense
one timed in turn with it.
"""

from collections.abc import Callable
from functools import partial
from statistics import median

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, NullLocator

from analysis.figures import style
from analysis.tables.frames import where
from analysis.tables.latency import Latencies, Timing

FRACTIONS = {"63%": (0.5, 0.8), "32%": (0.2, 0.4)}  # ranges that count as the paper's fractions
FEWEST_TOKENS = 3
MOST_TICKS = 6
Place = Callable[[Timing], float]


def latency_figure(found: Latencies, published: pd.DataFrame | None) -> Figure:
    """Draw all panels that the measurements carry, and speed-up against the fraction of weights.

    Args:
        found: the measurements.
        published: the published speed-ups, drawn hollow in the last panel; None for none.
    """
    timings = found.timings
    looks = style.kind_numbers(["dense", *(one.kind for one in timings), *_kinds(published)])
    counts = {
        tokens: len({one.width for one in timings if one.tokens == tokens})
        for tokens in {one.tokens for one in timings}
    }
    usual = max(counts, key=lambda tokens: (counts[tokens], tokens))
    at_usual = [one for one in timings if one.tokens == usual]
    panes: list[Callable[[Axes], None]] = []
    for fraction, (low, high) in FRACTIONS.items():
        part = [one for one in at_usual if low <= one.fraction <= high]
        if len({one.width for one in part}) > 1:
            title = f"{fraction} of the weights, {usual:,} tokens"
            panes.append(partial(_by_width, timings=part, title=title, looks=looks))
    sizes = {
        width: len({(one.kind, one.fraction) for one in at_usual if one.width == width})
        for width in {one.width for one in at_usual}
    }
    width = max(sizes, key=lambda width: (sizes[width], width))
    part = [one for one in at_usual if one.width == width]
    panes.append(partial(_by_params, timings=part, looks=looks))
    for width in sorted({one.width for one in timings}):
        of_width = [one for one in timings if one.width == width]
        for fraction in sorted({_fraction_name(one) for one in of_width}):
            part = [one for one in of_width if _fraction_name(one) == fraction]
            if len({one.tokens for one in part}) >= FEWEST_TOKENS:
                panes.append(partial(_by_tokens, timings=part, looks=looks))
    panes.append(partial(_by_fraction, timings=timings, published=published, looks=looks))

    columns = min(3, len(panes))
    figure, panels = style.panels(columns, 3.7, 3.3, rows=-(-len(panes) // columns))
    for axes in panels[len(panes) :]:
        axes.remove()
    for axes, draw in zip(panels, panes, strict=False):
        draw(axes)
    title = f"time of {found.measured}, {found.hardware}"
    note = "; hollow: arXiv 2406.16450, A100, forward" if published is not None else ""
    style.legend(figure, _handles(looks), title + note)
    return figure


def _fraction_name(one: Timing) -> str:
    """Name the fraction of the paper that a timing counts as, or its own fraction."""
    names = (name for name, (low, high) in FRACTIONS.items() if low <= one.fraction <= high)
    return next(names, f"{one.fraction:.0%}")


def published_figure(published: pd.DataFrame) -> Figure:
    """Draw the published speed-ups alone."""
    figure, (axes,) = style.panels(1, 4.6, 3.6)
    looks = style.kind_numbers(_kinds(published))
    _by_fraction(axes, [], published, looks)
    style.legend(figure, _handles(looks), "arXiv 2406.16450: A100, forward")
    return figure


def _kinds(table: pd.DataFrame | None) -> list[str]:
    return [] if table is None else list(table["ffn_kind"])


def _handles(looks: dict[str, int]) -> dict[str, Line2D]:
    return {
        kind or style.UNNAMED_KIND: Line2D([], [], **(style.line(i) | style.points(i)))
        for kind, i in looks.items()
    }


def _by_width(axes: Axes, timings: list[Timing], title: str, looks: dict[str, int]) -> None:
    axes.set_title(title, fontsize="medium")
    _lines(axes, timings, looks, lambda one: one.width)
    widths = sorted({one.width for one in timings})
    _scales(axes, "width", widths)
    for width in widths:
        fastest = max((o for o in timings if o.width == width), key=lambda one: one.speedup)
        axes.annotate(
            f"{fastest.speedup:.2f}x",
            (width, 1e3 * fastest.seconds),
            xytext=(0, -14),
            textcoords="offset points",
            ha="center",
            fontsize="small",
        )
    axes.margins(0.15)


def _by_params(axes: Axes, timings: list[Timing], looks: dict[str, int]) -> None:
    width, tokens = timings[0].width, timings[0].tokens
    axes.set(xlabel="FFN weights", ylabel="time (ms)")
    axes.set_title(f"width {width}, {tokens:,} tokens", fontsize="medium")
    _lines(axes, timings, looks, lambda one: one.params, lambda one: one.params / one.fraction)
    axes.xaxis.set_major_formatter(style.short_count)
    axes.margins(0.1)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)


def _by_tokens(axes: Axes, timings: list[Timing], looks: dict[str, int]) -> None:
    fractions = ", ".join(sorted({f"{one.fraction:.0%}" for one in timings}))
    axes.set_title(f"width {timings[0].width}, {fractions} of the weights", fontsize="medium")
    _lines(axes, timings, looks, lambda one: one.tokens)
    _scales(axes, "tokens", sorted({one.tokens for one in timings}))


def _scales(axes: Axes, label: str, measured: list[int]) -> None:
    """Set logarithmic scales in plain numbers, with ticks where measurements are and room is."""
    axes.set(xscale="log", yscale="log", xlabel=label, ylabel="time (ms)")
    apart = (measured[-1] / measured[0]) ** (1 / MOST_TICKS)
    ticks = measured[:1]
    for at in measured:
        if at > apart * ticks[-1]:
            ticks.append(at)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:.0f}")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter("{x:g}")


def _by_fraction(
    axes: Axes, timings: list[Timing], published: pd.DataFrame | None, looks: dict[str, int]
) -> None:
    axes.set(xlabel="fraction of the dense FFN's weights", ylabel="times faster than dense")
    axes.axhline(1, color="0.6", linewidth=0.8)
    drawn = [one.fraction for one in timings]
    if published is not None:
        drawn += list(published["ffn_fraction"])
    for kind, i in looks.items():
        own = [one for one in timings if one.kind == kind]
        look = style.points(i)
        axes.plot([o.fraction for o in own], [o.speedup for o in own], linestyle="none", **look)
        if published is not None:
            rows = where(published, published["ffn_kind"] == kind)
            hollow = style.points(i, hollow=True)
            axes.plot(rows["ffn_fraction"], rows["speedup"], linestyle="none", **hollow)
    axes.margins(0.1)
    axes.set_xlim(min(0.1, min(drawn) - 0.05), max(0.85, max(drawn) + 0.05))
    axes.set_ylim(bottom=0)


def _lines(
    axes: Axes,
    timings: list[Timing],
    looks: dict[str, int],
    x: Place,
    x_of_dense: Place | None = None,
) -> None:
    """Draw milliseconds of each kind and of dense, the median where several share an x."""
    dense = [((x_of_dense or x)(one), one.dense_seconds) for one in timings]
    _line(axes, looks["dense"], dense)
    for kind, i in looks.items():
        if kind != "dense":
            _line(axes, i, [(x(one), one.seconds) for one in timings if one.kind == kind])


def _line(axes: Axes, look: int, places: list[tuple[float, float]]) -> None:
    xs = sorted({x for x, _ in places})
    ys = [1e3 * median(seconds for at, seconds in places if at == x) for x in xs]
    axes.plot(xs, ys, linewidth=1.2, **(style.line(look) | style.points(look)))
