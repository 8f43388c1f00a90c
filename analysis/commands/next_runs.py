"""`python -m analysis next-runs`: which runs to make next, as part of a study file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from analysis.commands import options as opt
from analysis.fitting.fit import FitError
from analysis.scaling.arm import fit_arm
from analysis.scaling.experiment_design import next_runs, spec_fragment
from analysis.scaling.forecast import beyond_the_runs, flops_factor
from analysis.scaling.known_models import new_sizes, table_sizes
from analysis.tables.errors import RunTableError
from analysis.tables.table import Table
from analysis.tables.writing import write_text
from analysis.verbs.choices import check_target, law_named, naming, read_target


@opt.with_groups
def next_runs_command(
    runs: opt.Runs,
    *,
    at: Annotated[
        str, typer.Option(metavar="NAME=NUMBER,...", help="The target, as params=7e9,tokens=1e12.")
    ],
    budget: Annotated[float, typer.Option(help="Training FLOPs to spend on new runs.")],
    law: opt.LawOption = "chinchilla",
    preset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=PARAMS",
            help="A preset that may be run, with its parameters. [default: those of the table]",
        ),
    ] = None,
    arm: Annotated[
        str | None, typer.Option(help="The arm to plan for, where column arm has several.")
    ] = None,
    table: opt.TableOptions,
    estimator: opt.LossOptions,
    e: opt.HeldE = None,
    drop_highest: opt.DropHighest = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FRAGMENT.yaml", help="Write the fragment here.")
    ] = None,
    json: opt.JsonOut = None,
) -> None:
    """Choose the runs that narrow the interval at a target most, within a budget of FLOPs.

    Prints `points:` rows for a study file, with the FFN and the guide of the table's runs. A preset
    named here has what all runs of the arm have alike. The design is optimal for the fitted law, if
    it holds.

    \b
    Example:
      python -m analysis next-runs runs.csv --arm dense --law compute --e 0 \\
        --at flops=1e21 --budget 1e20 --out points.yaml
    """
    with opt.one_line_errors():
        chosen = law_named(law)
        target = check_target(read_target(at), chosen)
        if not 0 < budget < float("inf"):
            raise FitError(f"--budget {budget:g}: give a positive number of FLOPs")
        needs = (*chosen.variables, "params", "tokens")
        read, columns = table.read(runs, needs, by="arm" if arm is not None else None)
        read = _arm(read, arm)
        settings = estimator.settings(chosen, E=e, drop_highest=drop_highest, resampling=None)
        presets = _presets(preset or [])
        with naming(runs, read):
            fitted = fit_arm(read, settings)
            sizes = new_sizes(presets, read) if presets else table_sizes(read)
            factor = flops_factor(read.values)
            design = next_runs(fitted.fit, target, sizes, budget, factor)
        far = beyond_the_runs(fitted, target)
        notes = [f"The target is EXTRAPOLATED: {', '.join(far)}"] if far else []
        cautions = fitted.cautions(None)
        notes += [f"Caution: {caution}" for caution in cautions]
        fragment = spec_fragment(design, target, notes)
        document = asdict(design) | {
            "target": target,
            "extrapolated": far,
            "cautions": cautions,
            "flops_per_param_token": factor,
            "law": law,
            "params": fitted.fit.params,
            "provenance": opt.provenance(read.file, columns, budget=budget),
        }
        opt.write_json(json, document)
        if out is not None:
            try:
                write_text(out, fragment)
            except OSError as error:
                raise RunTableError(
                    f"{out}: cannot be written ({error}); choose another"
                ) from error
    typer.echo(fragment, nl=False)


def _arm(read: Table, arm: str | None) -> Table:
    """Take the arm to plan for."""
    if arm is None:
        if several := read.arms_in_one:
            raise FitError(
                f"{read.source}: column 'arm' has {', '.join(several)}; choose one with --arm"
            )
        return read
    arms = read.arms()
    if arm not in arms:
        raise FitError(f"--arm {arm!r}: no such arm in {read.source}; one of {', '.join(arms)}")
    return arms[arm]


def _presets(given: list[str]) -> dict[str, float]:
    """Read `NAME=PARAMS` as parameters by name."""
    found: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        name = name.strip()
        try:
            params = float(value)
        except ValueError:
            raise FitError(f"--preset {text!r}: not NAME=PARAMS") from None
        if not (name and 0 < params < float("inf")):
            raise FitError(f"--preset {text!r}: give a name and a positive number of parameters")
        if name in found:
            raise FitError(f"--preset {text!r}: {name} is given twice; keep one")
        found[name] = params
    return found
