"""`python -m analysis isoflop`: the best size at each budget, and how it grows."""

from dataclasses import asdict
from typing import Annotated

import typer

from analysis.commands import options as opt
from analysis.fitting.fit import FitError
from analysis.report.arm_document import document
from analysis.report.findings import growths
from analysis.scaling.arm import fit_arm
from analysis.scaling.forecast import flops_factor
from analysis.scaling.isoflop import IsoFlop, Minimum, isoflop
from analysis.uncertainty.bootstrap import Estimate


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
            opt.law_named(law), drop_highest=drop_highest, resampling=resampling
        )
        read, columns = table.read(runs, ("params", "tokens", "flops"), group=group_col)
        with opt.naming(runs, read):
            arm = fit_arm(read, settings)
            factor = flops_factor(arm.table.values)
            found = isoflop(arm.table, factor, arm, resampling)
            if all(one.refused and one.akima_refused for one in found.minima):
                reason = found.minima[0].refused
                raise FitError(f"no budget has a minimum inside its sizes ({reason})")
        opt.write_json(
            json,
            asdict(found)
            | {
                "flops_per_param_token": factor,
                "fit": document(arm),
                "provenance": opt.provenance(read.file, columns, resamples),
            },
        )
    opt.print_lines([*_lines(found), *(f"caution: {text}" for text in arm.table.cautions)])


def _lines(found: IsoFlop) -> list[str]:
    lines = ["budget      sizes  N* parabola  N* Akima    parabola's bias  N* of the law"]
    lines += [_line(one) for one in found.minima]
    lines += [
        f"  {one.flops:.3g}: no minimum by {method}: {why}"
        for one in found.minima
        for method, why in (("parabola", one.refused), ("Akima", one.akima_refused))
        if why
    ]
    lines += growths(found)
    if found.parametric_exponent:
        lines.append(f"N* grows as C^a, parametric law: {_range(found.parametric_exponent)}")
    else:
        lines.append("N* grows as C^a, parametric law: it has no optimum on these runs")
    biases = [one.bias for one in found.minima if one.bias]
    if biases:
        lines.append(
            f"on the parametric law the parabola's vertex is {min(biases):.3f} to "
            f"{max(biases):.3f} times the true optimum: a bias of the method, not noise"
        )
    return lines


def _line(one: Minimum) -> str:
    law = f"{one.parametric_params.value:.3g}" if one.parametric_params else ""
    if one.parametric_extrapolated:
        law += f"  EXTRAPOLATED: {', '.join(one.parametric_extrapolated)}"
    vertex = f"{one.parabola_params:.3g}" if one.parabola_params else "refused"
    akima = f"{one.akima_params:.3g}" if one.akima_params else "refused"
    bias = f"x {one.bias:.3f}" if one.bias else "not known"
    return f"{one.flops:<11.3g} {one.n:>5}  {vertex:<11}  {akima:<10}  {bias:<15}  {law}"


def _range(one: Estimate) -> str:
    return f"{one.value:.4f} [{one.low:.4f}, {one.high:.4f}]"
