"""IsoFLOP: at each budget, the model size of lowest loss, and a power law through these minima.

The minimum at a budget is read off a parabola in log N, and off an Akima spline, which assumes no
shape. A minimum at the edge of a budget's sizes is not a minimum and is refused. The parabola is
biased: true curves are steeper on the side of small models, so its vertex moves with the width and
the placing of the sizes. The bias is measured on the parametric fit: the same sizes, no noise, its
parabola's vertex over its true optimum.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import Akima1DInterpolator

from analysis.fitting.fit import FitError, LawFit
from analysis.laws.law import Array
from analysis.scaling.arm import FittedArm
from analysis.scaling.forecast import Allocation, allocate
from analysis.tables.table import Table
from analysis.uncertainty.bootstrap import Estimate, Resampling

Rows = NDArray[np.intp]

SAME_BUDGET = 0.1  # largest relative difference between neighbours in one budget
FEWEST = 4  # sizes that a budget needs for a minimum
DESIGN_SIZES = 3  # sizes at one budget that make it part of an isoFLOP design
SPLINE_POINTS = 400


@dataclass(frozen=True)
class Minimum:
    """One budget's minimum; values are None where `refused` says why."""

    flops: float
    n: int
    parabola_params: float | None
    akima_params: float | None
    loss: float | None
    tokens: float | None
    refused: str
    bias: float | None = None  # of the parabola: vertex over optimum, on the parametric fit
    parametric_params: Estimate | None = None


@dataclass(frozen=True)
class IsoFlop:
    """Minima, and N* = G C^a, D* = H C^b through them."""

    minima: tuple[Minimum, ...]
    params_exponent: Estimate | None
    tokens_exponent: Estimate | None
    parametric_exponent: Estimate | None  # beta / (alpha + beta)


def budgets(flops: Array) -> list[Rows]:
    """Group rows by budget: FLOPs within `SAME_BUDGET` of the next smaller run's."""
    order = np.argsort(flops, kind="stable")
    gaps = np.flatnonzero(np.diff(np.log(flops[order])) > math.log1p(SAME_BUDGET))
    return np.split(order, gaps + 1)


def is_isoflop_design(table: Table) -> bool:
    """Tell whether most runs of one arm lie at budgets of three sizes or more: an isoFLOP study.

    Loss at one budget depends on its split into parameters and tokens, so such runs make no line
    of loss against FLOPs. Budgets that a chain of runs joins, each near the next, are none.
    """
    params, flops = table.values.get("params"), table.values["flops"]
    if params is None or not (np.isfinite(params) & (params > 0)).all():
        return False
    inside = sum(
        rows.size
        for rows in budgets(flops)
        if np.ptp(np.log(flops[rows])) <= math.log1p(SAME_BUDGET)
        and _sizes(np.log(params[rows])).size >= DESIGN_SIZES
    )
    return 2 * inside > table.n


def isoflop(
    table: Table, factor: float, fitted: FittedArm | None, resampling: Resampling
) -> IsoFlop:
    """Find the minimum of every budget of one arm, with the parametric law's own beside it.

    Args:
        table: runs with `params` and `flops`.
        factor: k of C = k N D.
        fitted: a law in parameters and tokens through these runs, with draws; None for none.
        resampling: of the exponents of the minima.
    """
    params, flops, losses = table.values["params"], table.values["flops"], table.loss
    groups = budgets(flops)
    minima = [_minimum(params[g], flops[g], losses[g], factor) for g in groups]
    beside = _allocations(fitted, [m.flops for m in minima], factor)
    if fitted is not None and beside is not None:
        minima = [
            replace(
                m,
                bias=None
                if m.refused
                else _bias(fitted.fit, params[g], m.flops, factor, one.params.value),
                parametric_params=one.params,
            )
            for m, g, one in zip(minima, groups, beside, strict=True)
        ]
    slope = _slope([m for m in minima if not m.refused])
    drawn = _resampled_slopes(table, groups, resampling)
    exponent = None
    if slope is not None and drawn.size:
        tail = 50 * (1 - resampling.level)
        low, high = np.percentile(drawn, [tail, 100 - tail])
        exponent = Estimate(slope, float(low), float(high))
    tokens = Estimate(1 - exponent.value, 1 - exponent.high, 1 - exponent.low) if exponent else None
    parametric = _parametric_exponent(fitted) if beside is not None else None
    return IsoFlop(tuple(minima), exponent, tokens, parametric)


def _allocations(
    fitted: FittedArm | None, flops: list[float], factor: float
) -> list[Allocation] | None:
    """Find the law's own optimum at each budget; None without a law, or where it has none."""
    if fitted is None or fitted.draws is None:
        return None
    try:
        return allocate(fitted, flops, factor)
    except FitError:
        return None


def _parametric_exponent(fitted: FittedArm | None) -> Estimate | None:
    """Estimate beta / (alpha + beta) of the law."""
    if fitted is None or fitted.draws is None:
        return None
    fit, draws = fitted.fit, fitted.draws
    thetas = np.concatenate([fit.theta[None], draws.theta[~draws.failed]])
    natural = fit.law.natural(thetas, fit.centre)
    exponent = natural["beta"] / (natural["alpha"] + natural["beta"])
    return draws.estimate(float(exponent[0]), exponent[1:])


def parabola(log_params: Array, losses: Array) -> tuple[float, float] | None:
    """Find the vertex (log N, loss) of the least-squares parabola; None if it has no minimum."""
    middle = log_params.mean()
    a, b, c = np.polyfit(log_params - middle, losses, 2)
    if a <= 0:
        return None
    return float(middle - b / (2 * a)), float(c - b * b / (4 * a))


def akima(log_params: Array, losses: Array) -> float | None:
    """Find log N of the lowest point of an Akima spline; None where that is at an edge."""
    x, inverse = np.unique(log_params, return_inverse=True)
    y = np.bincount(inverse, losses) / np.bincount(inverse)
    fine = np.linspace(x[0], x[-1], SPLINE_POINTS)
    lowest = int(np.argmin(Akima1DInterpolator(x, y)(fine)))
    return None if lowest in (0, SPLINE_POINTS - 1) else float(fine[lowest])


def _minimum(params: Array, flops: Array, losses: Array, factor: float) -> Minimum:
    C, x = float(np.exp(np.log(flops).mean())), np.log(params)
    nothing = Minimum(C, params.size, None, None, None, None, "")
    refused = _why_refused(x, losses)
    if refused:
        return replace(nothing, refused=refused)
    vertex = parabola(x, losses)
    if vertex is None:
        return replace(nothing, refused="the parabola through it has no minimum")
    if not x.min() < vertex[0] < x.max():
        return replace(nothing, refused="the parabola's minimum is beyond its sizes")
    spline = akima(x, losses)
    return Minimum(
        flops=C,
        n=params.size,
        parabola_params=math.exp(vertex[0]),
        akima_params=None if spline is None else math.exp(spline),
        loss=vertex[1],
        tokens=C / factor / math.exp(vertex[0]),
        refused="",
    )


def _why_refused(x: Array, losses: Array) -> str:
    sizes = _sizes(x)
    if sizes.size < FEWEST:
        return f"{sizes.size} sizes; a minimum needs {FEWEST}"
    lowest = float(x[np.argmin(losses)].round(9))
    if lowest == sizes[0]:
        return "the lowest loss is the smallest model's: the minimum is beyond the edge"
    if lowest == sizes[-1]:
        return "the lowest loss is the largest model's: the minimum is beyond the edge"
    return ""


def _sizes(log_params: Array) -> Array:
    """List the distinct sizes, by their logs."""
    return np.unique(log_params.round(9))


def _bias(fit: LawFit, params: Array, C: float, factor: float, optimum: float) -> float | None:
    """Divide the parabola's vertex on the fitted law, at the same sizes, by the law's optimum."""
    vertex = parabola(
        np.log(params), fit.predict({"params": params, "tokens": C / factor / params})
    )
    return None if vertex is None else math.exp(vertex[0]) / optimum


def _slope(minima: list[Minimum]) -> float | None:
    if len(minima) < 2:
        return None
    log_C = np.log([m.flops for m in minima])
    return float(np.polyfit(log_C, np.log([m.parabola_params or 1.0 for m in minima]), 1)[0])


def _resampled_slopes(table: Table, groups: list[Rows], resampling: Resampling) -> Array:
    """Resample the slope of N*: runs are drawn within each budget, all resamples at once."""
    params, flops, losses = table.values["params"], table.values["flops"], table.loss
    resamples = resampling.resamples
    rng = np.random.default_rng(resampling.seed)
    total = np.zeros((4, resamples))  # count, sum x, sum y, sum xy of minima
    square = np.zeros(resamples)
    centre = float(np.log(flops).mean())
    for group in groups:
        if _why_refused(np.log(params[group]), losses[group]):
            continue
        x = np.log(params[group])
        x, middle = x - x.mean(), x.mean()
        w = rng.multinomial(group.size, np.full(group.size, 1 / group.size), resamples)
        basis = np.stack([np.ones_like(x), x, x * x])
        gram = np.einsum("rn,in,jn->rij", w, basis, basis) + 1e-12 * np.eye(3)
        moment = np.einsum("rn,in,n->ri", w, basis, losses[group])
        _, b, a = np.linalg.solve(gram, moment[:, :, None])[:, :, 0].T
        with np.errstate(all="ignore"):
            vertex = -b / (2 * a)
        ok = (a > 0) & (vertex > x.min()) & (vertex < x.max())
        log_C = float(np.log(flops[group]).mean()) - centre
        y = np.where(ok, vertex + middle, 0.0)
        total += np.stack([ok, ok * log_C, y, y * log_C])
        square += ok * log_C**2
    count, sx, sy, sxy = total
    with np.errstate(all="ignore"):
        slopes = (count * sxy - sx * sy) / (count * square - sx * sx)
    return slopes[(count >= 2) & np.isfinite(slopes)]
