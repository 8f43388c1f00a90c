"""One fitted arm as JSON values, and in words for a terminal."""

from dataclasses import asdict
from typing import Any

import numpy as np

from analysis.fitting.newton import GRADIENT_TOL
from analysis.scaling.arm import SUSPECT, FittedArm
from analysis.uncertainty.bootstrap import Draws

LISTED = 1000  # excluded rows named in a document; all are counted


def document(arm: FittedArm) -> dict[str, Any]:
    """Collect everything about the arm as JSON values; null for what the runs leave open."""
    fit, certificate = arm.fit, arm.certificate
    held_out, _ = arm.hold_out
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
        "excluded_counts": arm.table.excluded_counts,
        "suspected_outliers": list(arm.suspects[:LISTED]),
        "derived": list(arm.table.derived),
        "cautions": arm.cautions(arm.draws),
        "flop_convention": arm.table.convention,
        "residual_rms": float(np.sqrt(np.mean(fit.residuals**2))),
        "aicc": fit.aicc,
        "leave_largest_out": asdict(held_out) if held_out else None,
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
    """Say how intervals were drawn, and how many resamples failed or went to a bound."""
    return {
        "resamples": len(draws.theta),
        "level": draws.level,
        "method": draws.method,
        "clusters": draws.n_clusters,
        "failed": float(draws.failed.mean()),
        "bounded": float(draws.bounded.mean()),
    }


def sentences(name: str, arm: FittedArm) -> list[str]:
    """Tell the fit in words, a line each."""
    fit, certificate = arm.fit, arm.certificate
    held_out, _ = arm.hold_out
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
    is_rounding = certificate.converged and certificate.gradient_norm > GRADIENT_TOL and fit.delta
    most = "at rounding" if is_rounding else f"of at most {certificate.gradient_tolerance:.0e}"
    lines.append(
        f"  {rest}: gradient {certificate.gradient_norm:.1e} {most}; "
        f"{certificate.starts_agreeing} of {certificate.starts} starts agree; "
        f"condition number {certificate.condition_number:.1e}"
    )
    lines += [f"  note: {note}" for note in certificate.notes]
    if arm.draws is not None:
        draws = draws_document(arm.draws)
        lines.append(
            f"  {draws['level']:.0%} intervals: {draws['resamples']} resamples of "
            f"{draws['clusters']} clusters ({draws['method']}), {draws['failed']:.2%} failed, "
            f"{draws['bounded']:.2%} at a bound"
        )
    if held_out is not None:
        lines.append(
            f"  fitted without the {held_out.n_held_out} largest runs it misses them by "
            f"{held_out.rms:.2%} (bias {held_out.bias:+.2%})"
        )
    lines += [f"  caution: {text}" for text in arm.cautions(arm.draws)]
    if arm.table.excluded:
        listed = "; ".join(
            f"{count} {reason}" for reason, count in arm.table.excluded_counts.items()
        )
        lines.append(f"  left out: {listed}")
    if arm.with_left_out is not None:
        shown = ", ".join(f"{n} {v:.5g}" for n, v in arm.with_left_out.params.items())
        lines.append(f"  with them ({arm.with_left_out.n} runs): {shown}")
    if arm.suspects:
        rows = ", ".join(map(str, arm.suspects[:8])) + (" ..." if len(arm.suspects) > 8 else "")
        lines.append(f"  far from the law (over {SUSPECT:g} robust s.d.): rows {rows}")
    return lines
