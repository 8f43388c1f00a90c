"""Where growth stops to pay: the gain as a smooth function of factor and tokens a parameter.

ln(gain), on the whole bill, is a polynomial in x = ln(growth factor) and y = ln(tokens a
parameter): 1, x, y, and x^2 where three factors or more were tried. What did not vary is left out.
Tokens a parameter are those that the scratch model gets for the run's FLOPs.

The interval of a break-even is the set of factors (or of tokens) at which the interval of ln(gain)
has 0 in it: Fieller's set, which is right also where the slope is hardly known. It is open at an
edge of the grid where that edge is in it.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.growth.series import levels_of
from analysis.laws.law import Array
from analysis.scaling.isoflop import SAME_BUDGET
from analysis.uncertainty.bootstrap import Resampling, draw_errors

ON_GRID = 401  # points of a line on which break-evens are looked for


@dataclass(frozen=True)
class RunGain:
    """The gain of one grown run on the whole bill."""

    log_gain: float
    factor: float
    tokens_per_param: float
    level: float  # tokens a parameter of the design, of which `tokens_per_param` is near
    drawn_with: str  # the run whose chance it shares with others; itself if none
    shared: Array | None  # [r] resamples of the lines it is read off, less them; None off curves


@dataclass(frozen=True)
class Crossing:
    """A break-even; an end of its interval is None where it is beyond the grid."""

    value: float
    low: float | None
    high: float | None
    pays: str  # `below` or `above`


@dataclass(frozen=True)
class BreakEven:
    """The break-evens in one variable at a value of the other, or who wins where there is none.

    `settled` says whether the interval of ln(gain) has no 0 anywhere on the grid.
    """

    of: str  # `factor` or `tokens_per_param`
    at: float | None  # value of the other variable; None where it did not vary
    grid: tuple[float, float]
    crossings: tuple[Crossing, ...]
    wins: str  # `growth` or `scratch` over the whole grid; empty with crossings
    settled: bool


@dataclass(frozen=True)
class Surface:
    """ln(gain) fitted to grown runs."""

    n: int
    terms: tuple[str, ...]
    coefficients: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]
    rms: float  # of the residuals, relative to the gain
    factors: tuple[float, ...]
    tokens_per_param: tuple[float, ...]
    break_evens: tuple[BreakEven, ...]


def fit_surface(gains: list[RunGain], resampling: Resampling) -> tuple[Surface | None, str]:
    """Fit ln(gain) by least squares and find its break-evens; None, and why, where it cannot be."""
    log_gain = np.array([one.log_gain for one in gains])
    factor = np.array([one.factor for one in gains])
    ratio = np.array([one.tokens_per_param for one in gains])
    factors = levels_of(factor)
    # Nothing is said of tokens a parameter beyond those at which gains were measured.
    ratios = [
        level
        for level in levels_of(np.array([one.level for one in gains]))
        if ratio.min() * (1 - SAME_BUDGET) <= level <= ratio.max() * (1 + SAME_BUDGET)
    ]
    terms = _terms(len(factors), len(ratios))
    if len(terms) == 1:
        return None, "one factor and one number of tokens a parameter: break-even needs a grid"
    design = _design(terms, np.log(factor), np.log(ratio))
    n, p = design.shape
    if n <= p or np.linalg.matrix_rank(design) < p:
        return None, f"{n} grown runs do not determine {p} coefficients; add runs of the grid"
    solve = np.linalg.pinv(design)
    theta: Array = np.asarray(solve @ log_gain, dtype=np.float64)
    residuals = log_gain - design @ theta
    shared = _shared(gains, resampling.resamples)
    if not len(shared):
        return None, "no resample of the scratch runs' line reaches the losses of the grown runs"
    rng = np.random.default_rng(resampling.seed)
    _, member = np.unique([one.drawn_with for one in gains], return_inverse=True)
    drawn = theta + (draw_errors(residuals, member, p, len(shared), rng) + shared) @ solve.T
    tail = 50 * (1 - resampling.level)
    low, high = np.percentile(drawn, [tail, 100 - tail], axis=0)
    found = []
    if len(factors) > 1:
        for at in ratios if len(ratios) > 1 else [None]:
            found.append(_break_even("factor", at, factors, terms, theta, drawn, tail))
    if len(ratios) > 1:
        for at in factors if len(factors) > 1 else [None]:
            found.append(_break_even("tokens_per_param", at, ratios, terms, theta, drawn, tail))
    return Surface(
        n=n,
        terms=terms,
        coefficients=tuple(theta.tolist()),
        intervals=tuple(zip(low.tolist(), high.tolist(), strict=True)),
        rms=float(np.sqrt((residuals**2).mean())),
        factors=tuple(factors),
        tokens_per_param=tuple(ratios),
        break_evens=tuple(found),
    ), ""


def _shared(gains: list[RunGain], resamples: int) -> Array:
    """Put the resamples of the lines side by side, [r, n]; r of all that reach every loss."""
    parts = [np.zeros(resamples) if one.shared is None else one.shared for one in gains]
    rows = min(part.size for part in parts)
    shared = np.stack([part[:rows] for part in parts], axis=1)
    # A resample whose E lies above a loss never reaches it, and says nothing of how far it is.
    return shared[np.isfinite(shared).all(axis=1)]


def _terms(n_factors: int, n_ratios: int) -> tuple[str, ...]:
    terms = ["1"]
    if n_factors > 1:
        terms.append("x")
    if n_ratios > 1:
        terms.append("y")
    if n_factors > 2:
        terms.append("x^2")
    return tuple(terms)


def _design(terms: tuple[str, ...], x: Array, y: Array) -> Array:
    """Compute the columns of the terms, [n, p]."""
    columns = {"1": np.ones_like(x), "x": x, "y": y, "x^2": x**2}
    return np.stack([columns[term] for term in terms], axis=1)


def _break_even(
    of: str,
    at: float | None,
    levels: list[float],
    terms: tuple[str, ...],
    theta: Array,
    drawn: Array,
    tail: float,
) -> BreakEven:
    """Follow ln(gain) along one variable of the grid, the other held."""
    grid = np.log(np.geomspace(levels[0], levels[-1], ON_GRID))
    held = np.full(ON_GRID, 0.0 if at is None else math.log(at))
    design = _design(terms, grid, held) if of == "factor" else _design(terms, held, grid)
    value = design @ theta
    low, high = np.percentile(drawn @ design.T, [tail, 100 - tail], axis=0)
    unsettled = (low <= 0) & (high >= 0)
    changes = np.flatnonzero(np.diff(np.sign(value)) != 0)
    crossings = tuple(_crossing(int(i), grid, value, unsettled) for i in changes)
    wins = "" if crossings else "growth" if value[0] > 0 else "scratch"
    return BreakEven(
        of, at, (levels[0], levels[-1]), crossings, wins, settled=not bool(unsettled.any())
    )


def _crossing(i: int, grid: Array, value: Array, unsettled: NDArray[np.bool_]) -> Crossing:
    """Place the change of sign after grid point i, and the unsettled points around it."""
    part = value[i] / (value[i] - value[i + 1])
    root = grid[i] + part * (grid[i + 1] - grid[i])
    settled = np.flatnonzero(~unsettled)
    before, after = settled[settled <= i], settled[settled > i]
    return Crossing(
        value=math.exp(root),
        low=math.exp(grid[before[-1]]) if before.size else None,
        high=math.exp(grid[after[0]]) if after.size else None,
        pays="below" if value[i] > 0 else "above",
    )
