"""`python -m analysis isoflop`: the best size at each budget, and how it grows."""

from typing import Annotated

import typer

from analysis.commands import options as opt
from analysis.verbs.choices import law_named
from analysis.verbs.isoflop import NEEDS, minima


@opt.with_groups
def isoflop_command(
    runs: opt.Runs,
    *,
    table: opt.TableOptions,
    group_col: opt.GroupCol = None,
    law: Annotated[
        str, typer.Option("--law", help="Parametric law beside it: chinchilla, kaplan or gamma.")
    ] = "chinchilla",
    estimator: opt.LossOptions,
    drop_highest: opt.DropHighest = 0,
    resamples: opt.ResampleOptions,
    json: opt.JsonOut = None,
) -> None:
    """Find the best model size at each budget by parabola and Akima spline, and fit its growth.

    Runs whose FLOPs differ by less than 10% share a budget. Each method refuses a minimum at the
    edge of its sizes, and has its own exponents, from the budgets that it does not refuse. The
    parabola's bias, measured on the parametric fit, is printed beside it.

    \b
    Example:
      python -m analysis isoflop runs.csv --params-col params --flops-col train_flops
    """
    with opt.one_line_errors():
        resampling = resamples.needed("isoflop")
        settings = estimator.settings(
            law_named(law), drop_highest=drop_highest, resampling=resampling
        )
        read, columns = table.read(runs, NEEDS, group=group_col)
        found = minima(read, settings)
        provenance = opt.provenance(read.file, columns, resamples)
        opt.write_json(json, found.arms[0].document() | {"provenance": provenance})
    opt.print_lines(found.lines)
