"""One arm from its table to its fit with everything that is said about it."""

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from analysis.fitting.certificate import Certificate, certify
from analysis.fitting.fit import MAD_TO_SD, FitError, LawFit, Loss, fit_law
from analysis.fitting.model_selection import HeldOut, leave_largest_out
from analysis.laws.law import Law
from analysis.tables.table import Table, drop_highest
from analysis.uncertainty.bootstrap import Draws, Resampling, bootstrap
from analysis.uncertainty.seed_noise import SeedNoise, seed_noise

SUSPECT = 5.0  # robust standard deviations of a residual from which a run is named
LISTED = 1000  # excluded rows named in a document; all are counted


@dataclass(frozen=True)
class Settings:
    """How an arm is fitted."""

    law: Law
    loss: Loss = "huber"
    delta: float | None = None
    E: float | None = None
    starts: int | None = None
    drop_highest: int = 0
    outliers: float | None = None  # robust standard deviations beyond which a run is left out
    resampling: Resampling | None = field(default_factory=Resampling)


@dataclass(frozen=True)
class ArmFit:
    """A fitted arm; `with_left_out` is the fit with the runs that rules left out."""

    table: Table
    fit: LawFit
    draws: Draws | None
    certificate: Certificate
    suspects: tuple[int, ...]  # rows of `table` far from the law
    held_out: HeldOut | None
    with_left_out: LawFit | None
    noise: SeedNoise | None


def fit_arm(table: Table, settings: Settings) -> ArmFit:
    """Fit the rows of one arm. Raises FitError where they do not carry the law."""
    outliers = settings.outliers
    if outliers is not None and not outliers > 0:
        raise FitError(f"outliers beyond {outliers:g} robust s.d.: give a positive number")
    table = drop_highest(table, settings.drop_highest)
    fit = fit_table(table, settings)
    far = _far(fit, outliers or SUSPECT)
    if outliers and far.any():
        rule = f"outlier: more than {outliers:g} robust s.d. from the first fit"
        table = table.exclude(far, rule)
        fit = fit_table(table, settings)
        far = _far(fit, SUSPECT)
    everything = table.with_left_out()
    try:
        with_left_out = None if everything is None else fit_table(everything, settings)
    except FitError:
        with_left_out = None
    try:
        held_out = leave_largest_out(fit, table.values, table.loss)
    except FitError:
        held_out = None
    resampling = settings.resampling
    return ArmFit(
        table=table,
        fit=fit,
        draws=None if resampling is None else bootstrap(fit, resampling, table.group),
        certificate=certify(fit),
        suspects=tuple(int(row) for row in table.row[far]),
        held_out=held_out,
        with_left_out=with_left_out,
        noise=seed_noise(fit),
    )


def fit_table(table: Table, settings: Settings) -> LawFit:
    """The fit alone of all rows of `table`."""
    return fit_law(
        settings.law,
        table.values,
        table.loss,
        loss=settings.loss,
        delta=settings.delta,
        E=settings.E,
        starts=settings.starts,
    )


def _far(fit: LawFit, deviations: float) -> np.ndarray:
    size = np.abs(fit.residuals)
    spread = MAD_TO_SD * float(np.median(size))
    return size > max(deviations * spread, 1e-12)


def document(arm: ArmFit) -> dict[str, Any]:
    """Everything about the arm as JSON values; null for what the runs do not determine."""
    fit, certificate = arm.fit, arm.certificate
    estimates = fit.params
    lost = set(certificate.unidentified)
    found: dict[str, Any] = {
        "law": fit.law.name,
        "formula": fit.law.formula,
        "loss": fit.loss,
        "delta": fit.delta if fit.loss == "huber" else None,
        "held": {name: estimates[name] for name in fit.held},
        "params": {name: None if name in lost else value for name, value in estimates.items()},
        "objective": fit.objective,
        "intervals": {},
        "certificate": asdict(certificate) | {"estimates": estimates},
        "n_used": fit.n,
        "excluded": [asdict(row) for row in arm.table.excluded[:LISTED]],
        "excluded_counts": counts(arm.table),
        "suspected_outliers": list(arm.suspects[:LISTED]),
        "derived": list(arm.table.derived),
        "flop_convention": arm.table.convention,
        "residual_rms": float(np.sqrt(np.mean(fit.residuals**2))),
        "aicc": fit.aicc,
        "leave_largest_out": asdict(arm.held_out) if arm.held_out else None,
        "seed_noise": asdict(arm.noise) if arm.noise else None,
        "with_excluded": None,
    }
    if arm.draws is not None:
        found["intervals"] = {
            name: None if name in lost else list(bounds)
            for name, bounds in arm.draws.intervals.items()
        }
        found["bootstrap"] = draws_document(arm.draws)
    if arm.with_left_out is not None:
        other = arm.with_left_out
        found["with_excluded"] = {
            "n": other.n,
            "params": other.params,
            "objective": other.objective,
        }
    return found


def draws_document(draws: Draws) -> dict[str, Any]:
    """How intervals were drawn, and how many resamples failed or went to a bound."""
    return {
        "resamples": len(draws.theta),
        "level": draws.level,
        "method": draws.method,
        "clusters": draws.n_clusters,
        "failed": float(draws.failed.mean()),
        "bounded": float(draws.bounded.mean()),
    }


def counts(table: Table) -> dict[str, int]:
    """How many rows each rule left out."""
    found: dict[str, int] = {}
    for row in table.excluded:
        found[row.reason] = found.get(row.reason, 0) + 1
    return found


def sentences(name: str, arm: ArmFit) -> list[str]:
    """The fit in words, for a terminal."""
    fit, certificate = arm.fit, arm.certificate
    lines = [f"{name}: {fit.law.formula}, {fit.n} runs"]
    intervals = arm.draws.intervals if arm.draws else {}
    for parameter, value in fit.params.items():
        if parameter in certificate.unidentified:
            lines.append(f"  {parameter:6} not identified by these runs")
            continue
        text = f"  {parameter:6} {value:.6g}"
        if parameter in fit.held:
            text += "  (held)"
        elif parameter in intervals:
            low, high = intervals[parameter]
            text += f"  [{low:.5g}, {high:.5g}]"
        lines.append(text)
    estimator = f"huber, delta {fit.delta:.4g}" if fit.loss == "huber" else fit.loss
    lines.append(f"  objective {fit.objective:.12g} ({estimator} on log loss)")
    rest = "converged" if certificate.converged else "NOT converged"
    lines.append(
        f"  {rest}: gradient {certificate.gradient_norm:.1e} of at most "
        f"{certificate.gradient_tolerance:.0e}; {certificate.starts_agreeing} of "
        f"{certificate.starts} starts agree; condition number {certificate.condition_number:.1e}"
    )
    if certificate.bounds_hit:
        lines.append(f"  at a bound: {', '.join(certificate.bounds_hit)}")
    lines += [f"  note: {note}" for note in certificate.notes]
    if arm.draws is not None:
        draws = draws_document(arm.draws)
        lines.append(
            f"  {draws['level']:.0%} intervals: {draws['resamples']} resamples of "
            f"{draws['clusters']} clusters ({draws['method']}), {draws['failed']:.2%} failed, "
            f"{draws['bounded']:.2%} at a bound"
        )
    if arm.held_out is not None:
        lines.append(
            f"  fitted without the {arm.held_out.n_held_out} largest runs it misses them by "
            f"{arm.held_out.rms:.2%} (bias {arm.held_out.bias:+.2%})"
        )
    if arm.table.excluded:
        listed = "; ".join(f"{count} {reason}" for reason, count in counts(arm.table).items())
        lines.append(f"  left out: {listed}")
    if arm.with_left_out is not None:
        shown = ", ".join(f"{n} {v:.5g}" for n, v in arm.with_left_out.params.items())
        lines.append(f"  with them ({arm.with_left_out.n} runs): {shown}")
    if arm.suspects:
        rows = ", ".join(map(str, arm.suspects[:8])) + (" ..." if len(arm.suspects) > 8 else "")
        lines.append(f"  far from the law (over {SUSPECT:g} robust s.d.): rows {rows}")
    return lines
