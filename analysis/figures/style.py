"""One look for all figures, drawn with matplotlib's object interface: no global state.

An arm is told from the others by colour, marker and line style together, so a figure survives
grayscale printing and colour blindness. The colours are those of Okabe and Ito (Color Universal
Design, 2008) without yellow, which is too pale on white. The same figure gives the same bytes.
"""

import io
import logging
import math
import warnings
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, fontManager, get_font
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.ticker import (
    LogFormatterSciNotation,
    LogLocator,
    MaxNLocator,
    NullFormatter,
    NullLocator,
    ScalarFormatter,
)

from analysis.tables.writing import write_bytes

logger = logging.getLogger(__name__)
COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LINES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)))
KINDS = ("dense", "lowrank", "blockdense", "blockshuffle")
UNNAMED_KIND = "kind not given"
NARROW = 0.6  # decades of a log axis below which ticks at 1, 2 and 5 may be one or none
SUFFIXES = (".svg", ".pdf", ".png")
# Without these, files would hold the time they were written at and ids drawn at random.
_UNDATED: dict[str, dict[str, str | None]] = {
    ".svg": {"Date": None, "Creator": None},
    ".pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    ".png": {"Software": None},
}
BOXES = "Last Resort"  # matplotlib's font that draws a box for every character
_FONTS: dict[Any, Any] = {"svg.hashsalt": "structured-scaling", "pdf.fonttype": 42}


class Picture(Figure):
    """A figure that a notebook shows by itself: pyplot and its global state are not needed."""

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """Draw the figure for a notebook, in its size on paper at 96 pixels an inch."""
        _find_fonts(self)
        return _drawn(self, ".png"), {"width": round(96 * self.get_figwidth())}


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write `figure` as `stem`.svg, .pdf and .png (200 dpi), replacing files of these names."""
    written = [stem.with_name(stem.name + suffix) for suffix in SUFFIXES]
    _find_fonts(figure)
    for path in written:
        write_bytes(path, _drawn(figure, path.suffix))
    return written


def _drawn(figure: Figure, suffix: str) -> bytes:
    """Draw the figure as the content of a file of this suffix."""
    data = io.BytesIO()
    with matplotlib.rc_context(_FONTS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # said in plain words
        form = suffix.removeprefix(".")
        figure.savefig(data, format=form, dpi=200, metadata=_UNDATED[suffix])
    return data.getvalue()


def _find_fonts(figure: Figure) -> None:
    """Have what matplotlib's own font lacks drawn in an installed font that has it."""
    own = get_font(findfont("DejaVu Sans")).get_charmap()
    for text in figure.findobj(Text):
        lacking = {c for c in text.get_text() if ord(c) not in own and c.isprintable()}
        found = {character: _family_with(character) for character in sorted(lacking)}
        families = dict.fromkeys(family for family in found.values() if family)
        text.set_fontfamily([*text.get_fontfamily(), *families])
        if boxes := "".join(character for character, family in found.items() if not family):
            _say_boxes(boxes)


@cache
def _family_with(character: str) -> str | None:
    """Find an installed font that has this character."""
    installed = (font for font in fontManager.ttflist if not font.name.startswith(BOXES))
    for font in sorted(installed, key=lambda font: (font.name, font.fname)):
        with suppress(OSError, RuntimeError):  # a damaged file of a font
            if ord(character) in _characters(font.fname):
                return font.name
    return None


@cache
def _say_boxes(characters: str) -> None:
    """Say once that no font has these characters."""
    logger.warning(
        "no installed font has the characters %s: figures show boxes for them; install one that "
        "has, such as Noto Sans CJK",
        characters,
    )


@cache
def _characters(path: str) -> frozenset[int]:
    return frozenset(get_font(path).get_charmap())


def panels(
    columns: int, width: float, height: float, *, rows: int = 1, same_scales: bool = False
) -> tuple[Figure, list[Axes]]:
    """Make a figure of `rows` x `columns` panels, each `width` by `height` inches, row by row.

    `same_scales` gives all panels the same scales.
    """
    figure = Picture(figsize=(width * columns + 0.6, height * rows + 0.5), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=same_scales, sharey=same_scales)
    return figure, [plain(axes) for axes in grid.flat]


def plain(axes: Axes) -> Axes:
    """Give axes a light grid behind the data and no frame on the sides without a scale."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(which="major", color="0.92", linewidth=0.6)
    axes.set_axisbelow(True)
    return axes


def few_ticks(axes: Axes) -> None:
    """Set round ticks on a log y axis of under a decade, where log ticks are one or none."""
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(ScalarFormatter(useOffset=False))
    axes.yaxis.set_minor_locator(NullLocator())


def log_ticks(axes: Axes, values: Iterable[float]) -> None:
    """Label the log x axis of these values so that labels do not touch in a narrow panel."""
    shown = sorted(values)
    decades = math.log10(shown[-1] / shown[0])
    axes.xaxis.set_minor_formatter(NullFormatter())
    if 0 < decades < NARROW:
        axes.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        together = ScalarFormatter(useOffset=False, useMathText=True)
        together.set_powerlimits((-3, 4))  # the power of ten stands once, at the end of the axis
        axes.xaxis.set_major_formatter(together)
        axes.xaxis.set_minor_locator(NullLocator())
        return
    digits = (1, 2, 5) if decades < 1.3 else (1, 3) if decades < 2.3 else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=digits, numticks=12))
    axes.xaxis.set_major_formatter(LogFormatterSciNotation(minor_thresholds=(math.inf, math.inf)))


def line(index: int) -> dict[str, Any]:
    """Choose colour and line style of the arm of this number."""
    return {"color": COLOURS[index % len(COLOURS)], "linestyle": LINES[index % len(LINES)]}


def points(index: int, hollow: bool = False) -> dict[str, Any]:
    """Choose colour and marker of the arm of this number; hollow for what was published."""
    colour = COLOURS[index % len(COLOURS)]
    edge = colour if hollow else "white"
    fill = "white" if hollow else colour
    return {
        "color": colour,
        "marker": MARKERS[index % len(MARKERS)],
        "markersize": 7,
        "markeredgecolor": edge,
        "markerfacecolor": fill,
    }


def kind_numbers(present: Iterable[str]) -> dict[str, int]:
    """Number the looks of the FFN kinds in `present`, in the order in which they are drawn.

    A kind of `KINDS` has its place there as its number. Other kinds follow in alphabetical order,
    so every kind is drawn, and the same kinds always look the same.
    """
    found = set(present)
    others = sorted(found - set(KINDS))
    return {kind: i for i, kind in enumerate((*KINDS, *others)) if kind in found}


def structured_kinds(present: Iterable[str]) -> list[str]:
    """List the kinds in `present` that are not dense, in the order in which they are drawn."""
    return [kind for kind in kind_numbers(present) if kind != "dense"]


def title_kind(axes: Axes, kind: str, prefix: str = "") -> None:
    """Write the name of a kind above its panel."""
    title = prefix + (kind or UNNAMED_KIND)
    axes.set_title(title, fontsize="medium", fontweight="bold", parse_math=False)


def short_count(value: float, _: object = None) -> str:
    """Write `value` with k, M, B or T, for ticks and captions of parameters and tokens."""
    for size, unit in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:g}"


def legend(figure: Figure, handles: Mapping[str, Line2D], title: str | None = None) -> None:
    """Draw a legend above the axes, where it covers no run however many arms there are."""
    if not handles:
        return
    made = figure.legend(
        list(handles.values()),
        list(handles),
        title=title,
        loc="outside upper left",
        ncols=max(1, int(figure.get_figwidth() / (0.8 + 0.085 * max(map(len, handles))))),
        alignment="left",
        frameon=False,
        handlelength=3.4,
    )
    for text in made.get_texts():
        text.set_parse_math(False)  # an arm's name may hold a dollar sign
