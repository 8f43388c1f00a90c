"""`python -m analysis envelope`: a law through the lowest losses of training curves."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import typer

from analysis.commands import options as opt
from analysis.laws.power import ComputeLaw
from analysis.report.arm_document import document, sentences
from analysis.scaling.envelope import Envelope, envelope
from analysis.tables.cells import number_column
from analysis.tables.files import TableFile, read_file
from analysis.tables.table import Columns, table_of_file
from analysis.verbs.choices import naming


@opt.with_groups
def envelope_command(
    curves: opt.Curves,
    *,
    group_col: Annotated[str, typer.Option(help="Column naming the run of a row.")] = "point_id",
    by: opt.By = None,
    flops_col: opt.FlopsCol = None,
    loss_col: opt.LossCol = None,
    estimator: opt.LossOptions,
    e: opt.HeldE = None,
    resamples: opt.ResampleOptions,
    json: opt.JsonOut = None,
) -> None:
    """Fit L(C) = E + a C^-b to the lowest loss that any run had reached for its FLOPs.

    Reads curves.csv as a report writes it. The envelope is biased: its steps come before the
    schedule's end. How far it misses the runs' ends, and the law of the ends, stand beside it.

    \b
    Example:
      python -m analysis envelope runs/quickstart/curves.csv --by arm --e 0
    """
    columns = Columns(flops=flops_col, loss=loss_col, group=group_col, by=by)
    with opt.one_line_errors():
        settings = estimator.settings(ComputeLaw(), E=e, resampling=resamples.resampling)
        file = _validated(read_file(curves), loss_col or "val_loss")
        lines, found = [], {}
        for arm, table in table_of_file(file, columns, ("flops",)).arms().items():
            with naming(f"{curves}, {arm}", table):
                one = envelope(table, settings)
            lines += sentences(arm, one.arm) + _sentences(one)
            found[arm] = document(one.arm) | {
                "runs_on_the_envelope": one.n_runs,
                "bias_at_the_ends": one.bias,
                "ends": one.n_ends,
                "law_of_the_ends": one.ends.params if one.ends else None,
                "why_no_law_of_the_ends": one.why_no_ends or None,
            }
        provenance = opt.provenance(file, columns, estimator, resamples, E=e, law="compute")
        opt.write_json(json, {"arms": found, "provenance": provenance})
    opt.print_lines(lines)


def _validated(file: TableFile, loss: str) -> TableFile:
    """Leave out the steps without a validation loss."""
    if loss not in file.frame.columns:
        return file
    kept = np.isfinite(number_column(file.frame, file.source, loss))
    return replace(file, frame=file.frame.loc[kept].reset_index(drop=True))


def _sentences(one: Envelope) -> list[str]:
    lines = [
        f"  envelope of {one.n_runs} runs; bias: it lies {abs(one.bias):.2%} "
        f"{'above' if one.bias > 0 else 'below'} the final losses of {one.n_ends} runs, whose "
        "schedules have ended"
    ]
    if one.ends is None:
        return [*lines, f"  no law of the runs' ends beside it: {one.why_no_ends}"]
    shown = ", ".join(f"{name} {value:.5g}" for name, value in one.ends.params.items())
    return [*lines, f"  the law of the runs' ends beside it: {shown}"]
