"""Which runs to make next: those that narrow the interval at a target most for their FLOPs.

The variance of the predicted log loss at the target is g' I^-1 g, where g is its derivative by the
parameters and I the information of the runs, sum J J' / s^2 (c-optimal design on the fitted law).
Runs are added one at a time, each time the one that takes most variance off for its FLOPs, until
the budget is spent. The design trusts the law: it narrows the interval if the law holds.
"""

import math
from dataclasses import dataclass

import numpy as np

from analysis.fitting.derivatives import Points, jacobian
from analysis.fitting.fit import FitError, LawFit, logs_of
from analysis.laws.law import Array

MULTIPLES = tuple(2.0**k for k in range(-2, 5))  # of a size's usual tokens
MOST_REPEATS = 3  # of one run with other seeds: beyond, seed noise is not what is in doubt
MOST_RUNS = 32


@dataclass(frozen=True)
class Size:
    """A model that a study can train: its preset, its FFN in the study's words, its parameters."""

    preset: str
    ffn: dict[str, str | int | float]
    params: float
    tokens: float  # a usual amount, around which budgets are tried
    width: float = 1.0  # multiplier of the preset's


@dataclass(frozen=True)
class NextRun:
    """One run to make."""

    size: Size
    tokens: int
    flops: float
    sd_after: float  # of the predicted log loss at the target, with this run and those before it


@dataclass(frozen=True)
class Design:
    """The runs in the order of their worth, and what they are expected to do."""

    runs: tuple[NextRun, ...]
    sd_before: float
    sd_after: float
    flops: float


def next_runs(
    fit: LawFit, target: dict[str, float], sizes: list[Size], budget: float, factor: float = 6.0
) -> Design:
    """Choose runs of `sizes` worth at most `budget` FLOPs (C = factor N D).

    Raises:
        FitError: no run fits the budget, or the runs so far do not determine the law.
    """
    noise = float(fit.residuals @ fit.residuals) / max(fit.n - int(fit.free.sum()), 1)
    if noise <= 0:
        raise FitError("the law passes through every run: there is no noise to design against")
    _, J = jacobian(fit.law, fit.theta, fit.points)
    J = J[:, fit.free]
    information = J.T @ J / noise
    if np.linalg.cond(information) > 1e14:
        raise FitError("the runs so far do not determine the law; fit a smaller one, or hold E")
    goal = _gradient(fit, {name: np.array([value]) for name, value in target.items()})[0]
    options = [
        (size, math.floor(size.tokens * m), factor * size.params * math.floor(size.tokens * m))
        for size in sizes
        for m in MULTIPLES
    ]
    columns = {
        "params": np.array([size.params for size, _, _ in options]),
        "tokens": np.array([float(tokens) for _, tokens, _ in options]),
        "flops": np.array([flops for _, _, flops in options]),
    }
    rows = _gradient(fit, {name: columns[name] for name in fit.law.variables}) / math.sqrt(noise)
    cost = columns["flops"]
    covariance = np.linalg.inv(information)
    before = variance = float(goal @ covariance @ goal)
    chosen: list[NextRun] = []
    left = budget
    repeats = np.zeros(len(options), int)
    while len(chosen) < MOST_RUNS:
        pulled = rows @ covariance
        gain = (pulled @ goal) ** 2 / (1 + (pulled * rows).sum(axis=1))
        gain = np.where((cost <= left) & (repeats < MOST_REPEATS), gain, -1.0)
        worth = gain / cost
        best = int(worth.argmax())
        if worth[best] <= 0 or gain[best] < 1e-3 * variance:
            # What is left buys nothing of note at this price: take the largest gain it can buy.
            best = int(gain.argmax())
            if gain[best] < 1e-3 * variance:
                break
        direction = covariance @ rows[best]
        covariance -= np.outer(direction, direction) / (1 + rows[best] @ direction)
        variance -= float(gain[best])
        left -= float(cost[best])
        repeats[best] += 1
        size, tokens, flops = options[best]
        chosen.append(NextRun(size, tokens, flops, math.sqrt(max(variance, 0.0))))
    if not chosen:
        raise FitError(
            f"a budget of {budget:.3g} FLOPs buys no run that narrows the interval; "
            f"the cheapest costs {cost.min():.3g}"
        )
    return Design(tuple(chosen), math.sqrt(before), chosen[-1].sd_after, budget - left)


def _gradient(fit: LawFit, columns: dict[str, Array]) -> Array:
    """Compute [m, free] derivatives of the log loss by the free parameters."""
    x = logs_of(fit.law, columns) - fit.centre[:, None]
    _, J = jacobian(fit.law, fit.theta, Points(x, np.zeros(x.shape[1])))
    return J[:, fit.free]


def spec_fragment(design: Design, target: dict[str, float]) -> str:
    """Write the runs as the `points:` of a study file; equal runs differ by seed."""
    shown = ", ".join(f"{name} {value:.4g}" for name, value in target.items())
    lines = [
        f"# Runs that narrow the predicted loss at {shown}: its standard error falls from",
        f"# {design.sd_before:.3%} to {design.sd_after:.3%} if the law holds.",
        f"# Training FLOPs in all, as the fitted table counts them: {design.flops:.3g}.",
        "points:",
    ]
    seen: dict[tuple[str, str, int], int] = {}
    for run in design.runs:
        ffn = ", ".join(f"{key}: {_scalar(value)}" for key, value in run.size.ffn.items())
        width = f" width: {run.size.width:g}," if run.size.width != 1 else ""
        key = (run.size.preset + width, ffn, run.tokens)
        seed = seen[key] = seen.get(key, 0) + 1
        lines.append(
            f"  - {{preset: {_scalar(run.size.preset)},{width} ffn: {{{ffn}}}, "
            f"budget: {{tokens: {run.tokens}}}, seed: {seed}}}"
        )
    return "\n".join(lines) + "\n"


def _scalar(value: str | int | float) -> str:
    """Write a YAML flow scalar: text is quoted unless it is a plain word."""
    if isinstance(value, str) and not value.replace("-", "").replace("_", "").isalnum():
        return "'" + " ".join(value.split()).replace("'", "''") + "'"
    return str(value)
