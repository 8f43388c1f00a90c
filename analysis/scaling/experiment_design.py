"""Experiment design: the next runs that narrow the interval at a target most for their FLOPs.

The variance of the predicted log loss at the target is g' I^-1 g, where g is its derivative by the
parameters and I the information of the runs, sum J J' / s^2 (c-optimal design on the fitted law).
Runs are added one at a time, each time the one that takes most variance off for its FLOPs, until
the budget is spent. The design trusts the law: it narrows the interval if the law holds.
"""

import io
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from analysis.fitting.derivatives import Points, jacobian
from analysis.fitting.fit import FitError, LawFit, logs_of
from analysis.laws.law import Array
from analysis.scaling.known_models import Size

MULTIPLES = tuple(2.0**k for k in range(-2, 5))  # tokens tried, over a size's usual number
MOST_REPEATS = 3  # of one run with other seeds
MOST_RUNS = 32
LEAST_GAIN = 1e-3  # fraction of the variance that a run must take off to be worth making


@dataclass(frozen=True)
class NextRun:
    """One run to make."""

    size: Size
    tokens: int
    flops: float
    sd_after: float  # standard error of the log loss at the target, after this run


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
    offers = [(size, math.floor(size.tokens * m)) for size in sizes for m in MULTIPLES]
    if scarce := [size for size, tokens in offers if not tokens]:
        raise FitError(
            f"preset {scarce[0].preset} of {scarce[0].params:.3g} parameters would train on "
            f"{scarce[0].tokens:.3g} tokens, as many a parameter as the runs have; count single "
            "parameters and tokens"
        )
    cost = np.array([factor * size.params * tokens for size, tokens in offers])
    columns = {
        "params": np.array([size.params for size, _ in offers]),
        "tokens": np.array([float(tokens) for _, tokens in offers]),
        "flops": cost,
    }
    rows = _gradient(fit, {name: columns[name] for name in fit.law.variables}) / math.sqrt(noise)
    covariance = np.linalg.inv(information)
    before = variance = float(goal @ covariance @ goal)
    chosen: list[NextRun] = []
    left = budget
    repeats = np.zeros(len(offers), int)
    while len(chosen) < MOST_RUNS:
        pulled = rows @ covariance
        gain = (pulled @ goal) ** 2 / (1 + (pulled * rows).sum(axis=1))
        gain = np.where((cost <= left) & (repeats < MOST_REPEATS), gain, -1.0)
        best = _best_offer(gain, cost, least=LEAST_GAIN * variance)
        if best is None:
            break
        direction = covariance @ rows[best]
        covariance -= np.outer(direction, direction) / (1 + rows[best] @ direction)
        variance -= float(gain[best])
        left -= float(cost[best])
        repeats[best] += 1
        size, tokens = offers[best]
        sd = math.sqrt(max(variance, 0.0))
        chosen.append(NextRun(size, tokens, float(cost[best]), sd))
    if not chosen:
        raise FitError(
            f"a budget of {budget:.3g} FLOPs buys no run that narrows the interval; "
            f"the cheapest costs {cost.min():.3g}"
        )
    return Design(tuple(chosen), math.sqrt(before), chosen[-1].sd_after, budget - left)


def _best_offer(gain: Array, cost: Array, least: float) -> int | None:
    """Choose the offer of most gain for its cost; None where no offer gains `least`.

    Where that one gains less, the offer of the largest gain is chosen instead.
    """
    for best in (int((gain / cost).argmax()), int(gain.argmax())):
        if gain[best] > 0 and gain[best] >= least:
            return best
    return None


def _gradient(fit: LawFit, columns: dict[str, Array]) -> Array:
    """Compute [m, free] derivatives of the log loss by the free parameters."""
    x = logs_of(fit.law, columns) - fit.centre[:, None]
    _, J = jacobian(fit.law, fit.theta, Points(x, np.zeros(x.shape[1])))
    return J[:, fit.free]


def spec_fragment(design: Design, target: dict[str, float], notes: Sequence[str] = ()) -> str:
    """Write the runs as the `points:` of a study file, with notes; equal runs differ by seed."""
    shown = ", ".join(f"{name} {value:.4g}" for name, value in target.items())
    lines = [
        f"# Runs that narrow the predicted loss at {shown}: its standard error falls from",
        f"# {design.sd_before:.3%} to {design.sd_after:.3%} if the law holds.",
        f"# Training FLOPs in all, as the fitted table counts them: {design.flops:.3g}.",
        *(f"# {note}." for note in notes),
        "points:",
    ]
    yaml = YAML()
    yaml.default_flow_style, yaml.width, yaml.allow_unicode = True, sys.maxsize, True
    seen: dict[str, int] = {}
    for run in design.runs:
        size = run.size
        row: dict[str, Any] = {"preset": size.preset}
        row |= {"width": size.width} if size.width != 1 else {}
        row |= {"ffn": dict(size.ffn)}
        row |= {"guide": dict(size.guide)} if size.guide else {}
        row |= {"budget": {"tokens": run.tokens}}
        seed = seen[repr(row)] = seen.get(repr(row), 0) + 1
        text = io.StringIO()
        yaml.dump(row | {"seed": seed}, text)
        lines.append(f"  - {text.getvalue().rstrip()}")
    return "\n".join(lines) + "\n"
