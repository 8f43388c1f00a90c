"""`python -m analysis next-runs`: which runs to make next, as part of a study file."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from analysis.commands import options as opt
from analysis.fitting.fit import FitError
from analysis.scaling.arm import fit_arm
from analysis.scaling.experiment_design import Size, next_runs, spec_fragment
from analysis.scaling.forecast import beyond_the_runs, flops_factor
from analysis.tables.cells import are_numbers, number_column, read_text
from analysis.tables.errors import RunTableError
from analysis.tables.runs import size_columns
from analysis.tables.table import Table
from analysis.tables.writing import write_text


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

    Prints `points:` rows for a study file. The design is optimal for the fitted law, if it holds.

    \b
    Example:
      python -m analysis next-runs runs.csv --arm dense --law compute --e 0 \\
        --at flops=1e21 --budget 1e20 --out points.yaml
    """
    with opt.one_line_errors():
        chosen = opt.law_named(law)
        target = opt.one_target(at, chosen)
        if not 0 < budget < float("inf"):
            raise FitError(f"--budget {budget:g}: give a positive number of FLOPs")
        needs = (*chosen.variables, "params", "tokens")
        read, columns = table.read(runs, needs, by="arm" if arm is not None else None)
        if arm is not None:
            arms = read.arms()
            if arm not in arms:
                raise FitError(f"--arm {arm!r}: no such arm in {runs}; one of {', '.join(arms)}")
            read = arms[arm]
        settings = estimator.settings(chosen, E=e, drop_highest=drop_highest, resampling=None)
        with opt.naming(runs):
            fitted = fit_arm(read, settings)
            sizes = _named_sizes(preset, read) if preset else _table_sizes(read)
            factor = flops_factor(read.values)
            design = next_runs(fitted.fit, target, sizes, budget, factor)
        far = beyond_the_runs(fitted, target)
        notes = [f"The target is EXTRAPOLATED: {', '.join(far)}"] if far else []
        cautions = fitted.table.cautions
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


def _named_sizes(presets: list[str], table: Table) -> list[Size]:
    per_param = float(np.median(table.values["tokens"] / table.values["params"]))
    sizes = []
    for text in presets:
        name, _, value = text.partition("=")
        try:
            params = float(value)
        except ValueError:
            raise FitError(f"--preset {text!r}: not NAME=PARAMS") from None
        if not (name and 0 < params < float("inf")):
            raise FitError(f"--preset {text!r}: give a name and a positive number of parameters")
        sizes.append(Size(name, {"kind": "dense"}, params, per_param * params))
    return sizes


def _table_sizes(table: Table) -> list[Size]:
    """List the models of the table's own rows, by its preset and FFN columns."""
    frame = table.file.frame.iloc[table.row - 1]
    if "preset" not in frame.columns:
        raise FitError("no column 'preset' says which models can run; name some with --preset")
    own = {name: frame[name] for name in ("width", *size_columns(frame.columns)) if name in frame}
    numeric = {
        name: number_column(frame, table.source, name)
        for name, values in own.items()
        if are_numbers(values)
    }
    sizes: dict[str, Size] = {}
    for i, row in enumerate(frame.to_dict("records")):
        preset = read_text(row["preset"])
        known = {name: float(v[i]) for name, v in numeric.items() if np.isfinite(v[i])}
        width = known.pop("width", 1.0)
        ffn = _ffn(row, known)
        key = f"{preset} {width} {ffn}"
        if key not in sizes and preset:
            params, tokens = (float(table.values[name][i]) for name in ("params", "tokens"))
            sizes[key] = Size(preset, ffn, params, tokens, width)
    if not sizes:
        raise FitError("column 'preset' is empty; name models with --preset")
    return list(sizes.values())


def _ffn(row: dict, sizes: dict[str, float]) -> dict[str, str | int | float]:
    ffn: dict[str, str | int | float] = {"kind": read_text(row.get("ffn_kind")) or "dense"}
    ffn |= {name.removeprefix("ffn_"): int(value) for name, value in sizes.items()}
    if arm := read_text(row.get("arm")):
        ffn["arm"] = arm
    return ffn
