"""Two arms against each other: compute-equivalent gain, local slopes, and exponents over one E.

Arms are compared on L(C) = E + a C^-b. E and b are hard to tell apart, so a difference of freely
fitted exponents says little; the slope d ln L / d ln C at a stated C, and exponents over an E
common to both arms, say what can be said. Nothing is compared beyond losses that both arms have
reached, unless it is asked for, and then it is marked.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from analysis.fitting.derivatives import Points
from analysis.fitting.fit import FitError, LawFit
from analysis.laws.law import Array
from analysis.scaling.arm import FittedArm
from analysis.scaling.contender import Contender, Labels, drawn_together, pair_cells
from analysis.scaling.shared_fit import Permutation, SharedFit, fit_shared, sign_flips
from analysis.uncertainty.bootstrap import Draws, Estimate, bootstrap, choose_method, paired_errors

GRID = 25


@dataclass(frozen=True)
class GainAt:
    """The gain: how many times the arm's FLOPs the reference needs for its loss at `flops`."""

    flops: float
    gain: Estimate
    extrapolated: bool


@dataclass(frozen=True)
class SlopeAt:
    """d ln L / d ln C of both at `flops`, and the arm's minus the reference's."""

    flops: float
    reference: Estimate
    arm: Estimate
    difference: Estimate
    extrapolated: bool


@dataclass(frozen=True)
class Comparison:
    """One arm against the reference."""

    reference: str
    arm: str
    paired: bool
    loss_range: tuple[float, float] | None  # losses that both reached; None if none
    flops_range: tuple[float, float] | None  # the arm's FLOPs at which its law has these losses
    gains: tuple[GainAt, ...]
    slopes: tuple[SlopeAt, ...]
    shared: SharedFit
    permutation: Permutation | None
    free_E_difference: Estimate | None
    refused: tuple[str, ...]
    verdict: str


def compare(
    arms: dict[str, FittedArm],
    reference: str,
    at: tuple[float, ...] = (),
    cells: dict[str, Labels] | None = None,
    extrapolate: bool = False,
) -> tuple[dict[str, Contender], list[Comparison]]:
    """Compare every arm with `reference`.

    Args:
        arms: fits of L(C) under the same settings, with resampling.
        reference: the arm that the others are compared with.
        at: FLOPs at which slopes and gains are stated; the middle of the joint range when empty.
        cells: label of each row of each arm, equal where rows of two arms form a pair.
        extrapolate: whether to go beyond losses that both reached.

    Raises:
        FitError: the reference is not among the arms, or there is nothing to compare.
    """
    if reference not in arms:
        raise FitError(f"no arm {reference!r} to refer to; one of {', '.join(arms)}")
    if wrong := [C for C in at if not 0 < C < math.inf]:
        raise FitError(f"slopes at {wrong[0]:g} FLOPs: give a positive number")
    if len(arms) < 2:
        raise FitError("one arm only: there is nothing to compare it with")
    contenders = {
        name: _contender(name, arm, cells, i) for i, (name, arm) in enumerate(arms.items())
    }
    first = contenders.pop(reference)
    found = [_compare(first, other, at, extrapolate) for other in contenders.values()]
    return {name: first if name == reference else contenders[name] for name in arms}, found


def local_slope(theta: Array, log_C: float, centre: float) -> Array:
    """Compute d ln L / d ln C, [r], of theta [r, 3] = (log E, log a, b)."""
    power = np.exp(theta[:, 1] - theta[:, 2] * (log_C - centre))
    return -theta[:, 2] * power / (power + np.exp(theta[:, 0]))


def log_flops_at(theta: Array, log_loss: Array, centre: float) -> Array:
    """Solve for log C, [r], at which theta [r, 3] reaches the losses; infinite if it never does."""
    with np.errstate(all="ignore"):
        left = np.exp(log_loss) - np.exp(theta[:, 0])
        found = centre + (theta[:, 1] - np.log(left)) / theta[:, 2]
    return np.where(left > 0, found, np.inf)


def _contender(
    name: str, arm: FittedArm, cells: dict[str, Labels] | None, number: int
) -> Contender:
    own = None if cells is None else cells[name]
    labels = drawn_together(arm.table, own)
    resampling = arm.settings.resampling
    assert resampling is not None
    # Drawn errors of two arms are independent; drawn cells are the same cells in both.
    if choose_method(len(set(labels)), arm.fit.n_free) == "errors" or cells is None:
        resampling = replace(resampling, seed=resampling.seed + 7919 * number)
    return Contender(name, arm, arm.draw(resampling, labels), own)


def _compare(
    reference: Contender, arm: Contender, at: tuple[float, ...], extrapolate: bool
) -> Comparison:
    low = max(reference.table.loss.min(), arm.table.loss.min())
    high = min(reference.table.loss.max(), arm.table.loss.max())
    joint = (float(low), float(high)) if low < high else None
    cells = pair_cells(reference, arm)
    draws = _paired_draws(reference, arm, cells) if cells else None
    first, second = draws or (reference.draws, arm.draws)
    ok = ~(first.failed | second.failed)
    thetas = first.theta[ok], second.theta[ok]
    inside = _inside(arm, joint)
    grid = np.geomspace(*inside, GRID) if inside else np.array([])
    stated = at or ((math.sqrt(inside[0] * inside[1]),) if inside else ())
    gains, slopes, refused = [], [], []
    for C in sorted({*map(float, grid), *stated}):
        beyond = inside is None or not inside[0] * (1 - 1e-9) <= C <= inside[1] * (1 + 1e-9)
        if beyond and not extrapolate:
            span = f"{inside[0]:.3g} to {inside[1]:.3g}" if inside else "nowhere"
            refused.append(
                f"C = {C:.3g}: outside the losses that both arms reached (C from {span}); "
                "an extrapolation has to be asked for"
            )
            continue
        gains.append(GainAt(C, _gain(reference.fit, arm.fit, thetas, C, arm.draws), beyond))
        if C in stated:
            slopes.append(_slopes(reference.fit, arm.fit, thetas, C, arm.draws, beyond))
    shared, null = fit_shared(reference, arm, cells)
    permutation = sign_flips(null, cells, reference.resampling.seed) if cells else None
    free = None
    if "E" not in arm.fit.held:
        free = arm.draws.estimate(
            float(arm.fit.theta[2] - reference.fit.theta[2]), thetas[1][:, 2] - thetas[0][:, 2]
        )
    return Comparison(
        reference=reference.name,
        arm=arm.name,
        paired=cells is not None,
        loss_range=joint,
        flops_range=inside,
        gains=tuple(gains),
        slopes=tuple(slopes),
        shared=shared,
        permutation=permutation,
        free_E_difference=free,
        refused=tuple(refused),
        verdict=_verdict(reference.name, arm.name, slopes),
    )


def _paired_draws(
    reference: Contender, arm: Contender, cells: tuple[Labels, Labels]
) -> tuple[Draws, Draws] | None:
    """Draw errors in pairs, if both draw errors and a cell is one run of each; None otherwise."""
    if reference.draws.method != "errors" or arm.draws.method != "errors":
        return None
    if not reference.table.n == arm.table.n == len(set(cells[1])):
        return None
    first, second = _ordered(reference.fit, cells[0]), _ordered(arm.fit, cells[1])
    resampling = reference.resampling
    rng = np.random.default_rng(resampling.seed)
    of_first, of_second = paired_errors(first, second, resampling.resamples, rng)
    return (
        bootstrap(first, resampling, errors=of_first),
        bootstrap(second, resampling, errors=of_second),
    )


def _ordered(fit: LawFit, cells: Labels) -> LawFit:
    """Put the rows of a fit in the order of their cells' names."""
    order = np.argsort(cells.astype(str))
    return replace(fit, points=Points(fit.points.x[:, order], fit.points.log_loss[order]))


def _inside(arm: Contender, joint: tuple[float, float] | None) -> tuple[float, float] | None:
    """Find the arm's own FLOPs at which its law is within the joint range of losses."""
    if joint is None:
        return None
    centre = float(arm.fit.centre[0])
    ends = [
        float(log_flops_at(arm.fit.theta[None], np.log([loss]), centre)[0]) for loss in joint[::-1]
    ]
    flops = arm.table.values["flops"]
    low = max(math.exp(min(ends[0], 700)), float(flops.min()))
    high = min(math.exp(min(ends[1], 700)), float(flops.max()))
    return (low, high) if low < high else None


def _gain(
    reference: LawFit, arm: LawFit, thetas: tuple[Array, Array], C: float, draws: Draws
) -> Estimate:
    def gain(theta_r: Array, theta_a: Array) -> Array:
        x = np.array([[math.log(C) - arm.centre[0]]])
        loss = arm.law.log_loss(theta_a, x)[:, 0]
        with np.errstate(over="ignore"):
            return np.exp(log_flops_at(theta_r, loss, float(reference.centre[0])) - math.log(C))

    value = float(gain(reference.theta[None], arm.theta[None])[0])
    return draws.estimate(value, gain(*thetas))


def _slopes(
    reference: LawFit,
    arm: LawFit,
    thetas: tuple[Array, Array],
    C: float,
    draws: Draws,
    beyond: bool,
) -> SlopeAt:
    log_C = math.log(C)
    slopes, drawn = [], []
    for fit, theta in zip((reference, arm), thetas, strict=True):
        centre = float(fit.centre[0])
        slopes.append(float(local_slope(fit.theta[None], log_C, centre)[0]))
        drawn.append(local_slope(theta, log_C, centre))
    return SlopeAt(
        flops=C,
        reference=draws.estimate(slopes[0], drawn[0]),
        arm=draws.estimate(slopes[1], drawn[1]),
        difference=draws.estimate(slopes[1] - slopes[0], drawn[1] - drawn[0]),
        extrapolated=beyond,
    )


def _verdict(reference: str, arm: str, slopes: list[SlopeAt]) -> str:
    if not slopes:
        return f"{arm} and {reference} reached no common loss: their slopes are not compared"
    words = []
    for slope in slopes:
        d = slope.difference
        interval = (
            f"d ln L / d ln C is {slope.arm.value:.4f} against {slope.reference.value:.4f}, "
            f"difference {d.value:+.4f} [{d.low:+.4f}, {d.high:+.4f}]"
        )
        if d.high < 0:
            finding = f"{arm} is steeper than {reference}"
        elif d.low > 0:
            finding = f"{arm} is less steep than {reference}"
        else:
            finding = f"which of {arm} and {reference} is steeper is not settled"
        mark = ", extrapolated" if slope.extrapolated else ""
        words.append(f"at C = {slope.flops:.3g}{mark}, {finding}: {interval}")
    return "; ".join(words)
