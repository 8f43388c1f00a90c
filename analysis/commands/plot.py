"""`python -m analysis plot`: the paper's figures, from our runs and from what it published."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer
from matplotlib.figure import Figure

from analysis.commands import options as opt
from analysis.figures import curves, guided, latency, scaling, schematic, spectra, style
from analysis.scaling.arms import fit_arms
from analysis.tables import published as paper
from analysis.tables.curves import CURVES, load_curves
from analysis.tables.frames import column, sizes, where
from analysis.tables.latency import load_latencies
from analysis.tables.runs import RunTableError, clean, load_csv, nearest
from analysis.tables.spectra import trained_projection


@dataclass(frozen=True)
class Plot:
    """A figure by name: what it shows, what it reads, and how it is drawn.

    `draw` is given the files; `published` draws what the paper published alone.
    """

    shows: str
    reads: str
    draw: Callable[[list[Path]], Figure]
    published: Callable[[], Figure] | None = None
    needs_files: bool = True
    published_note: str = ""


def plot_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The figure: see below.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS.csv | BENCH.json ...]", help="What it is drawn from."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the figure; made if absent.")] = Path("."),
    published_only: Annotated[
        bool,
        typer.Option("--published-only", help="Draw what arXiv 2406.16450 published, no runs."),
    ] = False,
) -> None:
    """Draw a figure of `PLOTS`; see `HELP`."""
    with opt.refusals():
        plot = _named(name)
        given = files or []
        if published_only:
            figure = _published(name, plot, given)
            if plot.published_note:
                typer.echo(f"note: {plot.published_note}", err=True)
        else:
            _check_files(name, plot, given)
            figure = plot.draw(given)
        try:
            written = style.save(figure, out / name)
        except OSError as error:
            raise RunTableError(f"{out}: cannot be written ({error}); choose another --out") from (
                error
            )
    opt.printed([str(path) for path in written])


def _named(name: str) -> Plot:
    if name not in PLOTS:
        raise RunTableError(
            f"plot {name}: no such figure{nearest(name, PLOTS)}; one of {', '.join(PLOTS)}"
        )
    return PLOTS[name]


def _published(name: str, plot: Plot, files: list[Path]) -> Figure:
    if plot.published is None:
        known = ", ".join(key for key, one in PLOTS.items() if one.published)
        raise RunTableError(
            f"plot {name} --published-only: the paper gives no numbers for it; it does for {known}"
        )
    if files:
        raise RunTableError(f"plot {name} --published-only: {files[0]} is not read; leave it out")
    return plot.published()


def _check_files(name: str, plot: Plot, files: list[Path]) -> None:
    if not files and plot.needs_files:
        raise RunTableError(f"plot {name}: give {plot.reads}")
    if files and plot.reads == NOTHING:
        raise RunTableError(f"plot {name}: {files[0]} is not read; it is drawn from {NOTHING}")
    if len(files) > 1 and not plot.reads.startswith("BENCH"):
        raise RunTableError(f"plot {name}: {files[1]} is one file too many; give {plot.reads}")


def _scaling(files: list[Path]) -> Figure:
    used, excluded = _unguided(files[0])
    if used.empty:
        raise RunTableError(f"{files[0]}: no unguided run has finished with a usable loss")
    return scaling.kinds_figure(used, fit_arms(used, excluded), _overlay(used))


def _published_scaling() -> Figure:
    used, excluded = clean(paper.scaling())
    return scaling.kinds_figure(used, fit_arms(used, excluded), None)


def _unguided(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = load_csv(path)
    return clean(where(runs, column(runs, "guide_ratio").isna()))


def _overlay(used: pd.DataFrame) -> pd.DataFrame | None:
    """The published points where runs are of the paper's sizes and convention, or None."""
    published = paper.scaling()
    convention = set(used["flop_convention"]) == set(published["flop_convention"])
    return published if convention and set(sizes(used)) & set(published["preset"]) else None


def _guided(files: list[Path]) -> Figure:
    used, _ = clean(load_csv(files[0]))
    points = guided.guided_points(used)
    published = None if _overlay(used) is None else _published_guided_points()
    return guided.guided_figure(points, published)


def _published_guided_points() -> pd.DataFrame:
    return guided.published_points(paper.scaling(), paper.wide())


def _dynamics(files: list[Path]) -> Figure:
    return curves.dynamics_figure(load_csv(files[0]), load_curves(files[0].with_name(CURVES)))


def _largest(files: list[Path]) -> Figure:
    used, _ = _unguided(files[0])
    return curves.largest_figure(used, load_curves(files[0].with_name(CURVES)))


def _latency(files: list[Path]) -> Figure:
    return latency.latency_figure(load_latencies(files), paper.latency())


def _spectra(files: list[Path]) -> Figure:
    if not files:
        return spectra.initial_figure()
    used, _ = clean(load_csv(files[0]))
    # One run of an arm and a size: the first seed.
    first = used.assign(size=sizes(used)).drop_duplicates(["arm", "size"])
    return spectra.trained_figure(
        {
            f"{row['size']} {row['arm']}": trained_projection(
                files[0].parent / "points" / row["point_id"]
            )
            for row in first.to_dict("records")
        }
    )


RUNS = "a run table RUNS.csv"
WITH_CURVES = f"{RUNS}, with {CURVES} beside it"
NOTHING = "no file"

PLOTS: dict[str, Plot] = {
    "scaling": Plot(
        "validation loss against training FLOPs, a panel for each kind",
        RUNS,
        _scaling,
        _published_scaling,
        published_note=paper.NOTE,
    ),
    "guided": Plot(
        "self-guided training against more tokens at equal FLOPs: perplexity against tokens",
        RUNS,
        _guided,
        lambda: guided.guided_figure(None, _published_guided_points()),
        published_note=paper.NOTE,
    ),
    "dynamics": Plot(
        "training loss against step by kind and learning rate, with and without guidance",
        WITH_CURVES,
        _dynamics,
    ),
    "curves": Plot("training curves of the largest size, by kind", WITH_CURVES, _largest),
    "latency": Plot(
        "time of the FFN by width, parameters and tokens, and speed-ups",
        "BENCH files, the CSV of `python -m kernels bench latency`, or the JSON of "
        "`python -m workloads bench train` or `bench decode`",
        _latency,
        lambda: latency.published_figure(paper.latency()),
    ),
    "spectra": Plot(
        "singular values of the products, at initialization and after training",
        f"{RUNS} with points/ beside it; without a file, initialization alone",
        _spectra,
        needs_files=False,
    ),
    "schematic": Plot(
        "the four parametrizations", NOTHING, lambda _: schematic.schematic_figure(), None, False
    ),
}

_NAMES = "\n".join(
    f"  {name:<10} {plot.shows};\n{'':13}from {plot.reads}" for name, plot in PLOTS.items()
)
HELP = f"""Draw one of the paper's figures as SVG, PDF and PNG.

\b
NAME is one of
{_NAMES}

Published points (arXiv 2406.16450) are drawn hollow beside runs of the paper's sizes, and alone
by --published-only: {", ".join(name for name, plot in PLOTS.items() if plot.published)}.
In scaling and guided they are {paper.NOTE}.

\b
Examples:
  python -m analysis plot scaling runs/paper/runs.csv --out figures
  python -m analysis plot scaling --published-only
  python -m analysis plot latency latency.csv --out figures
  python -m analysis plot latency w512.json w1024.json --out figures
"""
