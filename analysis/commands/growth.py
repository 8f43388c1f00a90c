"""`python -m analysis growth`: whether growing a small model into a larger one paid."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis.commands import options as opt
from analysis.growth.measure import measure_growth
from analysis.report.growth import paid, sentences
from analysis.tables.columns import Columns
from analysis.tables.curves import curves_beside, load_curves
from analysis.tables.errors import RunTableError
from analysis.tables.files import read_file
from analysis.tables.runs import run_table, split_usable


@opt.with_groups
def growth_command(
    runs: opt.Runs,
    *,
    curves: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CURVES.csv",
            help="Training curves; may be given several times. [default: curves.csv beside RUNS]",
        ),
    ] = None,
    resamples: opt.ResampleOptions,
    json: opt.JsonOut = None,
) -> None:
    """Say whether growth paid: the gain of grown arms over the arm trained from scratch.

    The gain is how many times a grown arm's training FLOPs the scratch arm needs for the same
    loss: on the whole bill, the base's FLOPs included, and beside it of the target phase alone, as
    papers count it. From the final losses of runs, and from training curves of pairs of one size
    and seed. Where factors or tokens a parameter vary: where growth breaks even.

    RUNS.csv has the columns of a report's runs.csv; `growth` says which runs grew.

    \b
    Example:
      python -m analysis growth runs/growth_cpu/runs.csv
    """
    with opt.one_line_errors():
        resampling = resamples.needed("a gain")
        file = read_file(runs)
        used, excluded = split_usable(run_table(file.frame, file.source), file.source)
        table = _curves(curves) if curves else curves_beside(runs)
        growth = measure_growth(used, table, resampling, file.source)
        if growth is None:
            raise RunTableError(
                f"{file.source}: column 'growth' is empty in all {len(used)} runs that entered: "
                "none grew; give the table of a study with `grow` in its points"
            )
        document = asdict(growth) | {
            "paid": paid(growth),
            "excluded": excluded.filter(["point_id", "arm", "status", "reason"]).to_dict("records"),
            "provenance": opt.provenance(file, Columns(), resamples),
        }
        opt.write_json(json, document)
    counted = f"{len(used)} runs entered, {growth.n_grown} of them grown; {len(excluded)} did not"
    opt.print_lines([paid(growth), *sentences(growth), counted])


def _curves(paths: list[Path]) -> pd.DataFrame:
    """Read several tables of curves as one.

    Raises:
        RunTableError: a file cannot be read, or two have curves of one point.
    """
    tables = [load_curves(path) for path in paths]
    seen: dict[str, Path] = {}
    for path, table in zip(paths, tables, strict=True):
        for point in dict.fromkeys(table["point_id"]):
            if point in seen:
                raise RunTableError(
                    f"{path}: point {point} is in {seen[point]} too; leave one of the files out"
                )
            seen[point] = path
    return pd.concat(tables, ignore_index=True)
