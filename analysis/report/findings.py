"""Sentences about the fits of the arms, made by rule from the numbers.

No arm is called steeper than the reference without the interval of the difference, and a sentence
says what the runs leave open.
"""

from collections.abc import Sequence

import pandas as pd
from scipy.special import stdtrit

from analysis.scaling.arms import FREE_E_FROM, Arm, Arms
from analysis.scaling.compare import Comparison, GainAt
from analysis.scaling.isoflop import IsoFlop


def answer(comparisons: Sequence[Comparison], but: frozenset[str] = frozenset()) -> str:
    """Say in one sentence what each arm's loss costs the reference; empty without comparisons.

    Nothing is said of the arms named in `but`.
    """
    told = [found for found in comparisons if found.arm not in but]
    gains = [(found, at.gain) for found in told for at in _stated(found)]
    if not gains:
        return ""
    reference = gains[0][0].reference
    settled, unsettled = [], []
    for found, gain in gains:
        times = f"{three_digits(gain.value)} {interval(gain.low, gain.high)} times"
        if gain.low > 1 or gain.high < 1:
            settled.append(f"{times} the training FLOPs of {found.arm}")
        else:
            unsettled.append(f"{found.arm} ({times})")
    parts = [f"{reference} needs {' and '.join(settled)}"] if settled else []
    if unsettled:
        parts.append(
            f"whether {reference} needs more or fewer training FLOPs than "
            f"{' or '.join(unsettled)} is not settled"
        )
    return f"For the same loss, {'; '.join(parts)} (inside the losses that both reached)."


def headlines(arms: Arms, excluded: pd.DataFrame) -> tuple[str, ...]:
    """Say one sentence an arm, or one that says why there is none."""
    if arms.arms:
        return tuple(headline(arm, arms) for arm in arms.arms)
    if excluded.empty:
        return ("The table holds no run: there is nothing to fit.",)
    return ("No run has finished with a usable loss: there is nothing to fit yet.",)


def headline(arm: Arm, arms: Arms) -> str:
    """Say the arm's slope, its interval, and how it compares with the reference."""
    if arm.isoflop is not None:
        return f"{arm.name}: {_minima(arm.isoflop)}; {arm.why_not}."
    name, sizes = arm.name, f"{_count(arm.table.n, 'run')} at {_sizes(arm)}"
    if arm.fitted is None:
        why = "a slope needs runs of two different training FLOPs"
        return f"{name}: no slope from {sizes}: {why if arm.n_flops == 1 else arm.why_not}."
    b = arm.fitted.fit.params["b"]
    if arms.E is None and "b" in arm.fitted.certificate.unidentified:
        return f"{name}: beside a free E, b is not identified by {sizes}."
    above = ""
    if arms.E is None:
        above = f" above E = {fitted_E(arm)} {parameter_interval(arm, 'E')}".rstrip()
    slope = f"{name}: loss{above} {'falls' if b >= 0 else 'rises'} as C^{three_digits(-b)}"
    if arm.is_exact:
        return f"{slope}; the runs lie on the line to rounding: an interval would say nothing."
    if arm.interval is None:
        return (
            f"{slope}; the runs determine a point estimate only: {sizes} leave no residual degree "
            "of freedom, and an interval needs one more run."
        )
    low, high = arm.interval
    degrees = _count(arm.dof, "residual degree")
    return (
        f"{slope}; {arms.resampling.level:.0%} interval of b {interval(low, high)} from "
        f"{_sizes(arm)} ({degrees} of freedom); {_verdict(arm, arms)}."
    )


def fitted_E(arm: Arm) -> str:
    """Write the fitted E; say if it is at its bound."""
    assert arm.fitted is not None
    if "E" in arm.fitted.certificate.bounds_hit:
        return "0 (its bound)"
    return three_digits(arm.fitted.fit.params["E"])


def parameter_interval(arm: Arm, name: str) -> str:
    """Write the interval of a free parameter in brackets; nothing where there is none."""
    if arm.fitted is None or arm.interval is None or name in arm.fitted.fit.held:
        return ""
    assert arm.fitted.draws is not None
    if name != "E" and name in arm.fitted.certificate.unidentified:
        return ""
    return interval(*arm.fitted.draws.intervals[name])


def _sizes(arm: Arm) -> str:
    """Count the sizes of an arm, and its training FLOPs where a size has several."""
    sizes = _count(arm.n_sizes, "size")
    return sizes if arm.n_flops <= arm.n_sizes else f"{sizes} and {arm.n_flops} training FLOPs"


def _minima(isoflop: IsoFlop) -> str:
    """Say the best split of the largest budget that has one, and how the best size grows.

    By the parabola; by the Akima spline where the parabola refuses every budget.
    """
    by_akima = not isoflop.budgets
    found = [
        (one.flops, one.akima_params, one.akima_tokens, one.akima_loss)
        if by_akima
        else (one.flops, one.parabola_params, one.tokens, one.loss)
        for one in isoflop.minima
    ]
    found = [(C, N, D, L) for C, N, D, L in found if N and D and L]
    if not found:
        return f"no budget has a minimum inside its sizes ({isoflop.minima[0].refused})"
    C, N, D, L = found[-1]
    text = (
        f"loss is lowest at {three_digits(N)} parameters and {three_digits(D)} tokens for "
        f"C = {three_digits(C)} (loss {L:.4f}), one of {_count(len(found), 'budget')} with a "
        f"minimum inside the sizes{' by Akima spline' if by_akima else ''}"
    )
    grows = isoflop.params_exponent_akima if by_akima else isoflop.params_exponent
    if grows is None:
        return f"{text}; how the best size grows needs two such budgets"
    return f"{text}; N* grows as C^{three_digits(grows.value)} {interval(grows.low, grows.high)}"


def growths(isoflop: IsoFlop) -> list[str]:
    """Say how N* and D* grow by each method, and on which budgets that rests."""
    total, lines = len(isoflop.minima), []
    for name, one, budgets in (
        ("N* grows as C^a, parabola", isoflop.params_exponent, isoflop.budgets),
        ("D* grows as C^b, parabola", isoflop.tokens_exponent, isoflop.budgets),
        ("N* grows as C^a, Akima", isoflop.params_exponent_akima, isoflop.budgets_akima),
        ("D* grows as C^b, Akima", isoflop.tokens_exponent_akima, isoflop.budgets_akima),
    ):
        if one is None:
            lines.append(f"{name}: needs two budgets with a minimum")
            continue
        rests = f"on {len(budgets)} of {total} budgets, {budgets[0]:.3g} to {budgets[-1]:.3g} FLOPs"
        lines.append(f"{name}: {one.value:.4f} [{one.low:.4f}, {one.high:.4f}] {rests}")
    return lines


def _verdict(arm: Arm, arms: Arms) -> str:
    findings = []
    assert arm.interval is not None
    if arm.interval[0] <= 0 <= arm.interval[1]:
        findings.append("it includes 0, so the runs do not settle that loss falls")
    found = arms.comparison(arm.name)
    if found:
        findings.append(found.verdict)
    elif arms.comparisons:
        findings.append("the others are compared with it")
    else:
        findings.append("there is no other arm with an interval to compare with")
    return "; ".join(findings)


def _stated(found: Comparison) -> list[GainAt]:
    """Return the gains at the FLOPs where the slopes are stated."""
    flops = {slope.flops for slope in found.slopes}
    return [at for at in found.gains if at.flops in flops]


def limits(arms: Arms) -> str:
    """Say what so many runs an arm can support, and what they cannot."""
    spread = [arm for arm in arms.arms if arm.is_uncertain]
    if arms.arms and all(arm.isoflop for arm in arms.arms):
        return (
            "What isoFLOP budgets can support: the best size at each budget, where its sizes reach "
            "beyond it on both sides, and how it grows over the budgets. What they cannot: a slope "
            "of loss against FLOPs, because every run's loss also depends on how far its size is "
            "from the best."
        )
    if not spread:
        return "No arm has a residual degree of freedom: slopes, if any, stand without intervals."
    dof = min(arm.dof for arm in spread)
    fewest = min(spread, key=lambda arm: (arm.n_sizes, arm.n_flops))
    if arms.E is None:
        return (
            f"With {_sizes(fewest)} an arm or more, E is free; the intervals say how far each "
            "parameter is determined, and what is said beyond the losses reached is an "
            "extrapolation of the law."
        )
    quantile = float(stdtrit(dof, 0.5 + arms.resampling.level / 2))
    degrees = f"{_count(dof, 'residual degree')} of freedom"
    seeds = ""
    if all(arm.table.n == arm.n_flops for arm in spread):
        seeds = (
            " One run a size also leaves the spread of seeds unknown: a miss of the line counts as "
            "chance."
        )
    return (
        f"What {_sizes(fewest)} an arm can support: the slope of log loss in log FLOPs over the "
        "range that the runs span, differences of slopes, and the compute-equivalent gain inside "
        "the losses that both arms reached. What they cannot: E, which is held at 0 because fewer "
        "than "
        f"{FREE_E_FROM} training FLOPs do not tell it from b, so b is a local slope and not the "
        "exponent that remains at large compute; a bend of the curve, which appears as residual "
        f"and not as a parameter; and any extrapolation. With {degrees} an interval is "
        f"{quantile:.1f} standard errors each side.{seeds}"
    )


def multiplicity(comparisons: Sequence[Comparison], why_not: str = "") -> str:
    """Say how several comparisons are to be read; `why_not` says why there are none."""
    if not comparisons:
        return f"Nothing is compared: {why_not}."
    first = comparisons[0]
    paired = "Runs of equal preset are paired. " if first.paired else ""
    several = (
        f"{len(comparisons)} comparisons: each interval is at its own level, and p-values "
        "are adjusted by Holm's method."
        if len(comparisons) > 1
        else "One comparison: its interval stands as it is."
    )
    return (
        f"Each arm against {first.reference}, inside the losses that both reached. Slopes are "
        "d ln L / d ln C, negative where loss falls: the difference is the arm's less that of "
        f"{first.reference}, and below 0 where the arm is steeper. The gain is how many times the "
        f"arm's FLOPs {first.reference} needs for the same loss. p (slopes equal): of the "
        "likelihood ratio of one exponent for both arms over one E"
        "; p, Holm: the same, adjusted for the number of comparisons; p, sign flips: by exchanging "
        f"the two arms within pairs, where runs are paired. {paired}{several}"
    )


def three_digits(value: float) -> str:
    """Write three significant digits, keeping trailing zeros: a column compares at a glance."""
    return f"{value:#.3g}".rstrip(".")


def interval(low: float, high: float) -> str:
    """Write an interval in brackets, three significant digits each."""
    return f"[{three_digits(low)}, {three_digits(high)}]"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
