"""`python -m analysis compare`: arms against a reference."""

from dataclasses import asdict
from typing import Annotated

import typer

from analysis.commands import options as opt
from analysis.laws.power import ComputeLaw
from analysis.scaling.arm import fit_arm
from analysis.scaling.arms import default_E, default_loss
from analysis.scaling.compare import Comparison, compare
from analysis.tables.table import labels_of
from analysis.uncertainty.holm import holm


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
        arms = read.arms()
        cells = None
        if pair_col is not None:
            cells = {name: labels_of(one, pair_col, "--pair-col") for name, one in arms.items()}
        held = default_E(arms) if e is None else e
        estimator = opt.LossOptions(loss or ("huber" if delta else default_loss(held)), delta)
        settings = estimator.settings(ComputeLaw(), E=held, resampling=resampling)
        fitted = {}
        for name, rows in arms.items():
            with opt.naming(f"arm {name!r}", rows):
                fitted[name] = fit_arm(rows, settings)
        name = reference or next(iter(arms))
        contenders, found = compare(fitted, name, tuple(at or ()), cells, extrapolate)
        p_values = holm([one.shared.p_likelihood for one in found])
        document = {
            "reference": name,
            "E": "free" if held is None else held,
            "arms": {
                arm: {
                    "params": one.fit.params,
                    "intervals": one.draws.intervals,
                    "n_used": one.fit.n,
                    "bootstrap_method": one.draws.method,
                    "cautions": one.arm.cautions(one.draws),
                }
                for arm, one in contenders.items()
            },
            "comparisons": [
                asdict(one) | {"p_likelihood_holm": p}
                for one, p in zip(found, p_values, strict=True)
            ],
            "multiplicity": _multiplicity(found),
            "excluded": [asdict(row) for row in read.excluded],
            "excluded_counts": read.excluded_counts,
            "provenance": opt.provenance(read.file, columns, estimator, resamples),
        }
        opt.write_json(json, document)
    lines = [_held_line(held, read.convention), f"fitted by {estimator.loss} on log loss"]
    lines += [
        f"caution: {name}: {text}"
        for name, one in contenders.items()
        for text in one.arm.cautions(one.draws)
    ]
    for one, p in zip(found, p_values, strict=True):
        lines += _sentences(one, p)
    opt.print_lines([*lines, _multiplicity(found)])


def _held_line(held: float | None, convention: str | None) -> str:
    counted = f"; FLOPs counted as {convention!r}" if convention else ""
    if held is None:
        return f"E is free in every arm{counted}"
    return (
        f"E is held at {held:g}: exponents are of the whole loss, not of what it can lose{counted}"
    )


def _multiplicity(found: list[Comparison]) -> str:
    if len(found) == 1:
        return "one comparison: its interval and p-value stand as they are"
    return (
        f"{len(found)} comparisons: intervals are each at their own level; p-values are also given "
        "adjusted by Holm's method"
    )


def _how_far(one: Comparison, C: float) -> str:
    """Say how far C lies beyond the FLOPs at which both arms' losses were reached."""
    if one.flops_range is None:
        return ": the arms reached no common loss"
    low, high = one.flops_range
    times = f"{C / high:.3g} times beyond" if high < C else f"{low / C:.3g} times below"
    return f": {times} the losses that both reached"


def _sentences(one: Comparison, p: float) -> list[str]:
    lines = [f"{one.arm} against {one.reference}{' (paired)' if one.paired else ''}"]
    lines.append(f"  {one.verdict}")
    stated = {slope.flops for slope in one.slopes}
    for at in one.gains:
        if at.flops in stated or at is one.gains[0] or at is one.gains[-1]:
            mark = f"  EXTRAPOLATED{_how_far(one, at.flops)}" if at.extrapolated else ""
            gain = at.gain
            lines.append(
                f"  gain at C = {at.flops:.3g}: {gain.value:.3f} "
                f"[{gain.low:.3f}, {gain.high:.3f}]{mark}"
            )
    shared = one.shared
    d = shared.difference
    lines.append(
        f"  over one E = {shared.E.value:.4g}: exponent b is {shared.arm.value:.4f} against "
        f"{shared.reference.value:.4f}, difference {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}], "
        f"p = {shared.p_likelihood:.3g} (Holm {p:.3g})"
    )
    if one.permutation is not None:
        flips = one.permutation
        lines.append(
            f"  sign flips of {flips.pairs} pairs: p = {flips.p:.3g} "
            f"(the smallest possible is {flips.smallest_p:.2g})"
        )
    if one.free_E_difference is not None:
        d = one.free_E_difference
        lines.append(
            f"  caution: with E free in each, exponents differ by {d.value:+.4f} "
            f"[{d.low:+.4f}, {d.high:+.4f}], which mixes E and b"
        )
    return lines + [f"  refused: {text}" for text in one.refused]
