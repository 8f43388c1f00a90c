"""`python -m analysis predict`: loss at a target, the best split of compute, past predictions."""

from typing import Annotated, Any

import typer

from analysis.commands import options as opt
from analysis.verbs.choices import check_target, law_named, read_target
from analysis.verbs.predict import check_budgets, predict


@opt.with_groups
def predict_command(
    runs: opt.Runs,
    *,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER,...", help="A target, as params=7e9,tokens=1e12."),
    ] = None,
    optimal_at: Annotated[
        list[float] | None,
        typer.Option(help="FLOPs to split into parameters and tokens for the lowest loss."),
    ] = None,
    law: opt.LawOption = "chinchilla",
    table: opt.TableOptions,
    unique_tokens_col: opt.UniqueCol = None,
    group_col: opt.GroupCol = None,
    by: opt.By = None,
    estimator: opt.LossOptions,
    e: opt.HeldE = None,
    drop_highest: opt.DropHighest = 0,
    resamples: opt.ResampleOptions,
    json: opt.JsonOut = None,
) -> None:
    """Predict the loss at targets, and the best parameters and tokens for a budget, with intervals.

    A prediction beyond the runs is marked with how far. Beside it stands how the same law, fitted
    to the smaller runs only, would have foretold the larger ones.

    \b
    Example:
      python -m analysis predict runs.csv --at params=7e9,tokens=1e12 --optimal-at 1e22
    """
    with opt.one_line_errors():
        resampling = resamples.needed("a prediction")
        settings = estimator.settings(
            law_named(law), E=e, drop_highest=drop_highest, resampling=resampling
        )
        targets = [check_target(read_target(text), settings.law) for text in at or ()]
        check_budgets(targets, optimal_at or [])
        read, columns = table.read(
            runs, settings.law.variables, unique_tokens=unique_tokens_col, group=group_col, by=by
        )
        predictions = predict(read, settings, targets, optimal_at or [])
        found = {one.name: one.document() for one in predictions.arms}
        whole: dict[str, Any] = found["all"] if by is None else {"by": by, "arms": found}
        whole["provenance"] = opt.provenance(read.file, columns, resamples, law=law)
        opt.write_json(json, whole)
    opt.print_lines(predictions.lines)
