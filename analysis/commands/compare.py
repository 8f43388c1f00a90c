"""`python -m analysis compare`: arms against a reference."""

from typing import Annotated

import typer

from analysis.commands import options as opt
from analysis.verbs.choices import loss_named
from analysis.verbs.compare import compare_arms, paired_by, settings_of


@opt.with_groups
def compare_command(
    runs: opt.Runs,
    *,
    by: Annotated[str, typer.Option(help="Column that names the arms.")] = "arm",
    reference: Annotated[
        str | None, typer.Option(help="The arm to compare with. [default: the first]")
    ] = None,
    pair_col: Annotated[
        str | None,
        typer.Option(help="Column whose equal values pair runs of two arms, such as the size."),
    ] = None,
    at: Annotated[
        list[float] | None, typer.Option(help="FLOPs at which to state slopes and gains.")
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Go beyond losses that both reached, marked.")
    ] = False,
    table: opt.TableOptions,
    group_col: opt.GroupCol = None,
    loss: Annotated[
        str | None,
        typer.Option(
            help="Loss of log-residuals: huber, l1 or l2. [default: the report's, which is l2 "
            "where E is held and huber where it is free]"
        ),
    ] = None,
    delta: opt.Delta = None,
    e: Annotated[
        float | None,
        typer.Option(
            "--e", help="Hold E at this loss. [default: free from 8 different FLOPs an arm, else 0]"
        ),
    ] = None,
    resamples: opt.ResampleOptions,
    json: opt.JsonOut = None,
) -> None:
    """Compare arms on L(C) = E + a C^-b: compute-equivalent gain, slopes, exponents over one E.

    The gain is how many times an arm's FLOPs the reference needs for the same loss. It is stated
    inside the losses that both arms reached; beyond them only with --extrapolate, and marked.

    \b
    Example:
      python -m analysis compare runs.csv --by arm --reference dense --pair-col preset
    """
    with opt.one_line_errors():
        resampling = resamples.needed("a comparison")
        read, columns = table.read(runs, ("flops",), group=group_col, by=by)
        cells = None if pair_col is None else paired_by(read, pair_col)
        chosen = None if loss is None else loss_named(loss)
        settings = settings_of(read, e, chosen, delta, resampling)
        found = compare_arms(read, settings, reference, tuple(at or ()), cells, extrapolate)
        estimator = opt.LossOptions(settings.loss, delta)
        provenance = opt.provenance(read.file, columns, estimator, resamples)
        opt.write_json(json, found.document() | {"provenance": provenance})
    opt.print_lines(found.lines)
