"""`python -m analysis plot`: the paper's figures, from our runs and from what it published."""

from pathlib import Path
from typing import Annotated

import typer
from matplotlib.figure import Figure

from analysis.commands import options as opt
from analysis.figures import style
from analysis.figures.registry import PLOTS, Drawn, Plot
from analysis.tables import published
from analysis.tables.errors import RunTableError, nearest


def plot_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The figure: see below.")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[RUNS.csv | BENCH.json ...]", help="What it is drawn from."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the figure; made if absent.")] = Path("."),
    loss_col: Annotated[
        str | None,
        typer.Option(help="Draw this loss: bits_per_byte, or val_loss/NAME. [default: val_loss]"),
    ] = None,
    published_only: Annotated[
        bool,
        typer.Option("--published-only", help="Draw what arXiv 2406.16450 published, no runs."),
    ] = False,
) -> None:
    """Draw a figure of `PLOTS`; see `HELP`."""
    with opt.one_line_errors():
        plot = _named(name)
        given = files or []
        if published_only:
            figure = _published(name, plot, given)
            if plot.published_note:
                typer.echo(f"note: {plot.published_note}", err=True)
        else:
            _check_files(name, plot, given)
            figure, cautions = _drawn(name, plot, given, loss_col)
            for text in cautions:
                typer.echo(f"caution: {text}", err=True)
        try:
            written = style.save(figure, out / name)
        except OSError as error:
            raise RunTableError(f"{out}: cannot be written ({error}); choose another --out") from (
                error
            )
    opt.print_lines([str(path) for path in written])


def _named(name: str) -> Plot:
    if name not in PLOTS:
        raise RunTableError(
            f"plot {name}: no such figure{nearest(name, PLOTS)}; one of {', '.join(PLOTS)}"
        )
    return PLOTS[name]


def _drawn(name: str, plot: Plot, files: list[Path], loss_col: str | None) -> Drawn:
    if loss_col is None:
        return plot.make(files)
    if not plot.takes_loss:
        known = ", ".join(key for key, one in PLOTS.items() if one.takes_loss)
        raise RunTableError(
            f"plot {name}: draws no other loss; leave --loss-col out, or draw {known}"
        )
    return plot.make(files, loss_col)


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
    if len(files) < plot.fewest_files:
        raise RunTableError(f"plot {name}: give {plot.reads}")
    if files and plot.most_files == 0:
        raise RunTableError(f"plot {name}: {files[0]} is not read; it is drawn from {plot.reads}")
    if len(files) > plot.most_files:
        raise RunTableError(f"plot {name}: {files[1]} is one file too many; give {plot.reads}")


_NAMES = "\n".join(
    f"  {name:<10} {plot.shows};\n{'':13}from {plot.reads}" for name, plot in PLOTS.items()
)
HELP = f"""Draw one of the paper's figures as SVG, PDF and PNG.

\b
NAME is one of
{_NAMES}

Published points (arXiv 2406.16450) are drawn hollow beside runs of the paper's sizes, and alone
by --published-only: {", ".join(name for name, plot in PLOTS.items() if plot.published)}.
In scaling and guided they are {published.NOTE}.

\b
Examples:
  python -m analysis plot scaling runs/paper/runs.csv --out figures
  python -m analysis plot scaling runs/bpe/runs.csv --loss-col bits_per_byte --out figures
  python -m analysis plot scaling --published-only
  python -m analysis plot latency latency.csv --out figures
  python -m analysis plot latency w512.json w1024.json --out figures
"""
