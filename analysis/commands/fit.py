"""`python -m analysis fit`: a law through a table of runs."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from analysis.commands import options as opt
from analysis.report.arm_document import document
from analysis.scaling.alternatives import compare_laws, delta_path
from analysis.scaling.arm import FittedArm, Settings, fit_table
from analysis.tables.table import with_column
from analysis.verbs.choices import law_named
from analysis.verbs.fit import arm_lines, fit_each


@opt.with_groups
def fit(
    runs: opt.Runs,
    *,
    law: opt.LawOption = "chinchilla",
    table: opt.TableOptions,
    unique_tokens_col: opt.UniqueCol = None,
    group_col: opt.GroupCol = None,
    by: opt.By = None,
    estimator: opt.LossOptions,
    e: opt.HeldE = None,
    drop_highest: opt.DropHighest = 0,
    outliers: Annotated[
        float | None,
        typer.Option(help="Leave out runs this many robust s.d. from a first fit."),
    ] = None,
    starts: Annotated[
        int | None, typer.Option(min=1, help="Grid cells refined. [default: the law's]")
    ] = None,
    resamples: opt.ResampleOptions,
    also_params_col: Annotated[
        list[str] | None,
        typer.Option(help="Fit again with this column of parameters, such as without embeddings."),
    ] = None,
    also_flops_col: Annotated[
        list[str] | None,
        typer.Option(help="Fit again with this column of FLOPs: another convention."),
    ] = None,
    alternatives: Annotated[
        bool, typer.Option("--alternatives", help="Compare the laws by AICc and held-out error.")
    ] = False,
    deltas: Annotated[
        bool, typer.Option("--delta-path", help="Show the fit from l1 over deltas to l2.")
    ] = False,
    json: opt.JsonOut = None,
) -> None:
    """Fit a scaling law to runs, with intervals and a certificate of convergence.

    Every row is one run, or with --group-col one checkpoint of a run. Rows that are unfinished,
    diverged, without a usable number or label, or duplicates stay out, and are listed with the
    reason; of the rows of one point_id the first that is usable enters.

    \b
    Examples:
      python -m analysis fit runs.csv --law compute --by arm --json fits.json
      python -m analysis fit points.csv --law chinchilla --params-col N --flops-col C \\
        --loss-col loss --loss huber --delta 1e-3 --drop-highest 5 --json fit.json
    """
    with opt.one_line_errors():
        settings = estimator.settings(
            law_named(law),
            E=e,
            starts=starts,
            drop_highest=drop_highest,
            outliers=outliers,
            resampling=resamples.resampling,
        )
        read, columns = table.read(
            runs,
            settings.law.variables,
            unique_tokens=unique_tokens_col,
            group=group_col,
            by=by,
        )
        found, lines = {}, []
        for one in fit_each(read, settings).arms:
            lines += arm_lines(one)
            if one.fitted is None:
                found[one.name] = {"error": one.why_not, "n_used": one.table.n}
                continue
            name, arm = one.name, one.fitted
            found[name] = document(arm)
            found[name]["sensitivity"] = _sensitivity(
                arm, settings, {"params": also_params_col or [], "flops": also_flops_col or []}
            )
            for other in found[name]["sensitivity"]:
                shown = ", ".join(f"{n} {v:.5g}" for n, v in other["params"].items())
                lines.append(f"  with {other['variable']} from {other['column']!r}: {shown}")
            if alternatives:
                found[name]["alternatives"] = _alternatives(arm, lines)
            if deltas:
                found[name]["delta_path"] = _delta_path(arm, lines)
        whole: dict[str, Any] = found["all"] if by is None else {"by": by, "arms": found}
        whole["provenance"] = opt.provenance(read.file, columns, resamples, law=law)
        opt.write_json(json, whole)
    opt.print_lines(lines)


def _sensitivity(
    arm: FittedArm, settings: Settings, columns: dict[str, list[str]]
) -> list[dict[str, Any]]:
    found = []
    for variable, names in columns.items():
        for name in names:
            other = fit_table(with_column(arm.table, variable, name), settings)
            found.append(
                {
                    "variable": variable,
                    "column": name,
                    "params": other.params,
                    "objective": other.objective,
                }
            )
    return found


def _alternatives(arm: FittedArm, lines: list[str]) -> list[dict[str, Any]]:
    found = []
    lines.append("  laws on these runs, by AICc (lower is better) and held-out error:")
    for one in compare_laws(arm):
        error = f"{one.held_out.rms:.2%}" if one.held_out else f"not known: {one.why_not}"
        aicc = one.fit.aicc if one.fit else float("inf")
        lines.append(f"    {one.law:16} AICc {aicc:10.2f}  misses the largest runs by {error}")
        found.append(
            {
                "law": one.law,
                "aicc": aicc,
                "params": one.fit.params if one.fit else None,
                "leave_largest_out": asdict(one.held_out) if one.held_out else None,
                "why_not": one.why_not,
            }
        )
    return found


def _delta_path(arm: FittedArm, lines: list[str]) -> list[dict[str, Any]]:
    found = []
    lines.append("  from absolute deviations over Huber's delta to squares:")
    for one in delta_path(arm):
        name = one.loss if one.loss != "huber" else f"{one.delta:g}"
        shown = ", ".join(f"{n} {v:.5g}" for n, v in one.params.items())
        lines.append(f"    {name:>8}: {shown}")
        found.append(
            {
                "loss": one.loss,
                "delta": one.delta if one.loss == "huber" else None,
                "params": one.params,
                "objective": one.objective,
            }
        )
    return found
