"""`python -m analysis isoflop`: the best size at each budget, and how it grows."""

from dataclasses import asdict
from typing import Annotated

import typer

from analysis.arm import Settings, document, fit_arm
from analysis.bootstrap import Estimate, Resampling
from analysis.commands import options as opt
from analysis.fit import FitError
from analysis.isoflop import IsoFlop, Minimum, isoflop
from analysis.predict import flops_factor
from analysis.table import Columns, read_table


def isoflop_command(
    runs: opt.Runs,
    params_col: opt.ParamsCol = None,
    tokens_col: opt.TokensCol = None,
    flops_col: opt.FlopsCol = None,
    loss_col: opt.LossCol = None,
    group_col: opt.GroupCol = None,
    status_col: opt.StatusCol = None,
    convention_col: opt.ConventionCol = None,
    convention: opt.Convention = None,
    law: Annotated[
        str, typer.Option("--law", help="Parametric law beside it: chinchilla, kaplan or gamma.")
    ] = "chinchilla",
    loss: opt.LossName = "huber",
    delta: opt.Delta = None,
    drop_highest: opt.DropHighest = 0,
    bootstrap: opt.Bootstrap = 4000,
    seed: opt.Seed = 0,
    level: opt.Level = 0.95,
    json: opt.JsonOut = None,
) -> None:
    """Find the best model size at each budget by parabola and Akima spline, and fit its growth.

    Runs whose FLOPs differ by less than 10% share a budget. A minimum at the edge of its sizes is
    refused. The parabola's bias, measured on the parametric fit, is printed beside it.

    \b
    Example:
      python -m analysis isoflop runs.csv --params-col params --flops-col train_flops
    """
    with opt.refusals():
        if bootstrap < 100:
            raise FitError(f"--bootstrap {bootstrap}: intervals need 100 resamples or more")
        columns = Columns(
            params=params_col,
            tokens=tokens_col,
            flops=flops_col,
            loss=loss_col,
            group=group_col,
            status=status_col,
            convention=convention_col,
        )
        chosen = opt.law_named(law)
        table = read_table(runs, columns, ("params", "tokens", "flops"), convention)
        settings = Settings(
            law=chosen,
            loss=opt.loss_named(loss),
            delta=delta,
            drop_highest=drop_highest,
            resampling=Resampling(bootstrap, level, seed),
        )
        try:
            arm = fit_arm(table, settings)
            assert arm.draws is not None
            values = arm.table.values
            factor = flops_factor(values)
            found = isoflop(
                values["params"],
                values["flops"],
                arm.table.loss,
                arm.fit,
                arm.draws,
                factor,
                bootstrap,
                level,
                seed,
            )
        except FitError as error:
            raise FitError(f"{runs}: {error}") from error
        opt.write_json(
            json,
            asdict(found)
            | {
                "flops_per_param_token": factor,
                "fit": document(arm),
                "provenance": opt.provenance(runs, columns, {"bootstrap": bootstrap, "seed": seed}),
            },
        )
    opt.printed(_lines(found))


def _lines(found: IsoFlop) -> list[str]:
    lines = ["budget      sizes  N* parabola  N* Akima    parabola's bias  N* of the law"]
    lines += [_line(one) for one in found.minima]
    for name, one in (
        ("N* grows as C^a, parabola", found.params_exponent),
        ("D* grows as C^b, parabola", found.tokens_exponent),
        ("N* grows as C^a, parametric law", found.parametric_exponent),
    ):
        lines.append(f"{name}: {_range(one)}" if one else f"{name}: needs two budgets")
    biases = [one.bias for one in found.minima if one.bias]
    if biases:
        lines.append(
            f"on the parametric law the parabola's vertex is {min(biases):.3f} to "
            f"{max(biases):.3f} times the true optimum: a bias of the method, not noise"
        )
    return lines


def _line(one: Minimum) -> str:
    law = f"{one.parametric_params.value:.3g}" if one.parametric_params else ""
    if one.refused:
        return f"{one.flops:<11.3g} {one.n:>5}  refused: {one.refused}  {law}"
    akima = f"{one.akima_params:.3g}" if one.akima_params else "at an edge"
    bias = f"x {one.bias:.3f}" if one.bias else "not known"
    return (
        f"{one.flops:<11.3g} {one.n:>5}  {one.parabola_params:<11.3g}  {akima:<10}  "
        f"{bias:<15}  {law}"
    )


def _range(one: Estimate) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"
