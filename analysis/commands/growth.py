"""`python -m analysis growth`: whether growing a small model into a larger one paid."""

from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from analysis.commands import options as opt
from analysis.tables.columns import Columns
from analysis.tables.curves import load_curves
from analysis.tables.errors import RunTableError
from analysis.tables.study_tables import tables_of_file
from analysis.verbs.growth import growth_of


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
        study = tables_of_file(runs)
        table = _curves(curves) if curves else study.curves
        found = growth_of(study.runs, table, resampling, study.source)
        provenance = opt.provenance(study.file, Columns(), resamples)
        opt.write_json(json, found.document() | {"provenance": provenance})
    opt.print_lines(found.lines)


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
