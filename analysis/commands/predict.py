"""`python -m analysis predict`: loss at a target, the best split of compute, past predictions."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from analysis.commands import options as opt
from analysis.fitting.fit import FitError
from analysis.report.arm_document import document
from analysis.scaling.arm import FittedArm, fit_arm
from analysis.scaling.backtest import Backtest, backtest
from analysis.scaling.forecast import Allocation, Forecast, allocate, flops_factor, forecast
from analysis.uncertainty.bootstrap import Estimate, Resampling


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
        chosen = opt.law_named(law)
        targets = [opt.one_target(text, chosen) for text in at or ()]
        if not targets and not optimal_at:
            raise FitError("nothing to predict; give --at NAME=NUMBER,... or --optimal-at FLOPS")
        if bad := [C for C in optimal_at or () if not 0 < C < float("inf")]:
            raise FitError(f"--optimal-at {bad[0]:g}: give a positive number of FLOPs")
        resampling = resamples.needed("a prediction")
        settings = estimator.settings(chosen, E=e, drop_highest=drop_highest, resampling=resampling)
        read, columns = table.read(
            runs, chosen.variables, unique_tokens=unique_tokens_col, group=group_col, by=by
        )
        found: dict[str, Any] = {}
        lines: list[str] = []
        for name, rows in read.arms().items():
            with opt.naming(f"{runs}, {name}", rows):
                arm = fit_arm(rows, settings)
                found[name] = _arm(name, arm, targets, optimal_at or [], resampling, lines)
        whole = found["all"] if by is None else {"by": by, "arms": found}
        whole["provenance"] = opt.provenance(read.file, columns, resamples, law=law)
        opt.write_json(json, whole)
    opt.print_lines(lines)


def _arm(
    name: str,
    arm: FittedArm,
    targets: list[dict[str, float]],
    budgets: list[float],
    resampling: Resampling,
    lines: list[str],
) -> dict[str, Any]:
    factor = flops_factor(arm.table.values)
    forecasts = forecast(arm, targets, resampling.seed)
    splits = allocate(arm, budgets, factor) if budgets else []
    past = backtest(arm, resampling)
    lines.append(f"{name}: {arm.fit.law.formula}, {arm.fit.n} runs")
    if lost := arm.certificate.unidentified:
        lines.append(f"  not identified by these runs: {', '.join(lost)}")
    lines += [f"  caution: {text}" for text in arm.cautions(arm.draws)]
    lines += [_forecast(one, resampling.level) for one in forecasts]
    lines += [_split(one, factor, arm.table.convention) for one in splits]
    lines += [_past(one) for one in past]
    return {
        "fit": document(arm),
        "predictions": [asdict(one) for one in forecasts],
        "flops_per_param_token": factor,
        "allocations": [asdict(one) for one in splits],
        "rollout": [asdict(one) for one in past],
    }


def _forecast(one: Forecast, level: float) -> str:
    target = ", ".join(f"{name} {value:.4g}" for name, value in one.target.items())
    text = (
        f"  at {target}: loss {_range(one.loss, '.4f')} ({level:.0%}); "
        f"one new run [{one.new_run.low:.4f}, {one.new_run.high:.4f}]"
    )
    return text + _mark(one.extrapolated)


def _split(one: Allocation, factor: float, convention: str | None) -> str:
    counted = f" ({convention} convention)" if convention else ""
    return (
        f"  C = {one.flops:.3g}{counted}, C = {factor:.3g} N D: N* {_range(one.params, '.3g')}, "
        f"D* {_range(one.tokens, '.3g')}, D/N {_range(one.tokens_per_param, '.3g')}, "
        f"loss {_range(one.loss, '.4f')}{_mark(one.extrapolated)}"
    )


def _mark(extrapolated: tuple[str, ...]) -> str:
    return f"; EXTRAPOLATED: {', '.join(extrapolated)}" if extrapolated else ""


def _past(one: Backtest) -> str:
    return (
        f"  from the {one.n_fitted} smallest runs the other {one.n_foretold} were missed by "
        f"{one.rms:.2%} (bias {one.bias:+.2%}); {one.coverage:.0%} fell in their {one.level:.0%} "
        "intervals"
    )


def _range(one: Estimate, form: str) -> str:
    return f"{one.value:{form}} [{one.low:{form}}, {one.high:{form}}]"
