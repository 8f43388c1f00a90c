"""What a run table says of growth, in sentences and tables made by rule from the numbers."""

import math

import numpy as np

from analysis.figures.style import short_count
from analysis.growth.break_even import BreakEven, Crossing
from analysis.growth.ends import EndsGain
from analysis.growth.measure import Growth, WayBreakEven
from analysis.growth.pairs import PairsGain
from analysis.report.findings import interval, three_digits
from analysis.report.sections import Section
from analysis.uncertainty.bootstrap import Estimate

PAYS, LOSES, VARIES, OPEN = "pays", "does not pay", "pays in some places only", "not settled"
ONE_SEED = "one seed: no interval"
READ = {
    "grown": "at most: the scratch runs are read before their end",
    "scratch": "at least: the grown runs are read before their end",
    "either": "some at most, some at least",
}
BOUND = {"grown": "at most", "scratch": "at least", "either": "either"}
# What is said of all arms, and of some.
FOUND = {
    PAYS: ("Growth paid here", "paid in"),
    LOSES: ("Growth did not pay here", "did not pay in"),
    VARIES: ("Growth paid in some places and not in others", "paid in places only in"),
    OPEN: ("Whether growth paid here is not settled", "is not settled in"),
}
MOST_NAMED = 3  # arms that the first sentence names; of more it gives the number alone
COUNTS = (
    "The whole bill has the FLOPs of the base on it; the target phase alone leaves them out, as "
    "papers on growth count, and is the gain of a base that was free. "
)


def paid(growth: Growth) -> str:
    """Say in a sentence or two whether growth paid, on the whole bill, and of which arm the gain is
    largest."""
    scratch = {one.arm: one.scratch for one in (*growth.ends, *growth.pairs_gains)}
    gains = {arm: growth.best(arm) for arm in scratch if growth.best(arm)}
    if not gains:
        return f"Whether growth paid cannot be told here: {_why_nothing(growth)}."
    verdicts: dict[str, list[str]] = {}
    for arm, own in gains.items():
        verdicts.setdefault(_verdict(own), []).append(_short(arm, scratch))
    told = [_finding(verdicts)]
    for name in dict.fromkeys(scratch[arm] for arm in gains):
        own = [arm for arm in gains if scratch[arm] == name]
        first = max(own, key=lambda arm: np.mean([math.log(one.value) for one in gains[arm]]))
        who = _short(first, scratch)
        said = f"The largest gain over {name} is that of {who}: " if len(own) > 1 else f"{who}: "
        told.append(
            f"{said}for the same loss, {name} needs {_times(gains[first], growth.level)} times its "
            "training FLOPs, the base's included"
        )
    return ". ".join(told) + "."


def _short(arm: str, scratch: dict[str, str]) -> str:
    """Name a grown arm without its scratch arm, where all have the same one."""
    if len(set(scratch.values())) > 1:
        return arm
    return arm.removeprefix(f"{scratch[arm]}, ")


def _finding(verdicts: dict[str, list[str]]) -> str:
    """Sum up the arms of each verdict, and name the few that did not plainly pay."""
    if len(verdicts) == 1:
        return FOUND[next(iter(verdicts))][0]
    parts = []
    for verdict, (_, few) in FOUND.items():
        if arms := verdicts.get(verdict):
            named = verdict != PAYS and len(arms) <= MOST_NAMED
            names = f" ({'; '.join(arms)})" if named else ""
            parts.append(f"{few} {len(arms)}{names}")
    return f"Of {sum(map(len, verdicts.values()))} grown arms, growth {', '.join(parts)}"


def gain_section(growth: Growth) -> Section:
    """Tabulate the gain of every grown arm, counted twice."""
    scratch = {one.scratch for one in (*growth.ends, *growth.pairs_gains)}
    columns = {
        "arm": False,
        **({"scratch arm": False} if len(scratch) > 1 else {}),
        "runs compared": False,
        "runs": True,
        "loss": True,
        "gain, whole bill": True,
        "gain, target phase alone": True,
        "bound": False,
        "growth": False,
    }
    rows = [_ends_row(one) for one in growth.ends]
    rows += [_pairs_row(one) for one in growth.pairs_gains]
    rows += [{"arm": arm, "growth": why} for arm, why in growth.alone.items()]
    note = (
        "The gain is how many times a grown arm's training FLOPs the scratch arm needs for the "
        f"same loss. {COUNTS}Ends: the final losses of runs, a line for each arm, at the middle of "
        "the losses that both reached. Curves: pairs of one size and seed, at the higher of their "
        "two final losses, the grown run after it grew; the run that is read before its end has "
        "not decayed its rate yet and looks slower than one planned for those FLOPs, which is why "
        "such a gain is a bound: at most, where that is the scratch run, at least, where it is the "
        "grown one, and either, where it differs by seed. "
        f"Intervals are at {growth.level:.0%}, each at its own level: of ends by the bootstrap of "
        "all comparisons, of curves Student's t over seeds."
    )
    return Section(
        "growth", "Did growth pay?", " ".join([note, *unpaired(growth)]), columns, []
    ).with_rows(rows)


def break_even_section(growth: Growth) -> Section:
    """Tabulate where growth breaks even."""
    columns = {"growth": False, "runs": True, "at": False, "break-even": False}
    rows = []
    for way in growth.break_evens:
        row = {"growth": way.way, "runs": str(way.from_ends + way.from_curves)}
        if way.surface is None:
            rows.append(row | {"break-even": f"no fit: {way.why_not}"})
            continue
        rows += [
            row | {"at": _held(one), "break-even": _said(one)} for one in way.surface.break_evens
        ]
    told = " ".join(_surface(way) for way in growth.break_evens if way.surface)
    note = (
        "ln(gain) on the whole bill, run by run, as a plane in x = ln(factor) and y = ln(tokens a "
        "parameter), with x^2 from three factors on; a gain of 1 is break-even. Factor: layers "
        "times width over those of the first base. Tokens a parameter: what the model gets from "
        "scratch for the run's FLOPs. Nothing is said beyond the grid. "
    )
    return Section("break_even", "Where growth breaks even", note + told, columns, []).with_rows(
        rows
    )


def sentences(growth: Growth) -> list[str]:
    """Say the gains and the break-evens, a line each, as a terminal shows them."""
    lines = []
    for one in growth.ends:
        where = f"{one.arm} against {one.scratch}{f', {one.over}' if one.over else ''}"
        if one.whole is None:
            lines.append(f"{where}: no gain from ends; {one.why_not}")
            continue
        alone = _estimate(one.target) if one.target else f"not known ({one.why_no_target})"
        lines.append(
            f"{where}, ends of {one.runs} runs, at loss {one.loss:.4g}: gain "
            f"{_estimate(one.whole)} on the whole bill, {alone} of the target phase alone"
            f"{'; one seed a budget' if one.one_seed else ''}"
        )
    for one in growth.pairs_gains:
        row = _pairs_row(one)
        lines.append(
            f"{one.arm} against {one.scratch}, {row['runs compared']}, at loss {one.loss:.4g}: "
            f"gain {_estimate(one.whole)} on the whole bill, {row['gain, target phase alone']} of "
            f"the target phase alone ({READ[one.read_at_end]})"
        )
    lines += [f"{arm}: no gain; {why}" for arm, why in growth.alone.items()]
    lines += unpaired(growth)
    for way in growth.break_evens:
        if way.surface is None:
            lines.append(f"{way.way}: no break-even; {way.why_not}")
            continue
        lines += [_surface(way)]
        lines += [f"  {_held(one)}: {_said(one)}" for one in way.surface.break_evens]
    return lines


def unpaired(growth: Growth) -> list[str]:
    """Say how many grown runs have no gain from curves, and why, in one sentence or none."""
    if not growth.has_curves:
        return ["No training curves were given, so only ends are compared."]
    losses: dict[str, list[float]] = {}
    for pair in growth.pairs:
        if pair.why_not:
            losses.setdefault(pair.why_not, []).append(pair.loss)
    told = "; ".join(f"{len(at)}{_span(at)} ({why})" for why, at in losses.items())
    return [f"Grown runs without a gain from curves: {told}."] if told else []


def _span(losses: list[float]) -> str:
    """Say at which losses runs were to be compared; nothing where none is known."""
    if math.isnan(losses[0]):
        return ""
    low, high = f"{min(losses):.3g}", f"{max(losses):.3g}"
    return f" at loss {low}" if low == high else f" at losses {low} to {high}"


def _why_nothing(growth: Growth) -> str:
    reasons = [one.why_not for one in growth.ends] + [*growth.alone.values()]
    reasons += [one.why_not for one in growth.pairs]
    return next(filter(None, reasons), "nothing to compare") + (
        "" if growth.has_curves else "; training curves may tell, see --curves"
    )


def _verdict(gains: list[Estimate]) -> str:
    pays, loses = [one.low > 1 for one in gains], [one.high < 1 for one in gains]
    if all(pays):
        return PAYS
    if all(loses):
        return LOSES
    return VARIES if any(pays) and any(loses) else OPEN


def _times(gains: list[Estimate], level: float) -> str:
    """Write one gain with its interval, or the range of several."""
    if len(gains) == 1:
        (one,) = gains
        spread = f"{level:.0%} interval {three_digits(one.low)} to {three_digits(one.high)}"
        return f"{three_digits(one.value)} ({ONE_SEED if math.isnan(one.low) else spread})"
    values = [one.value for one in gains]
    span = f"{three_digits(min(values))} to {three_digits(max(values))}"
    return f"{span} ({len(gains)} places, each with its interval below)"


def _estimate(one: Estimate) -> str:
    spread = ONE_SEED if math.isnan(one.low) else interval(one.low, one.high)
    return f"{three_digits(one.value)} {f'({spread})' if spread == ONE_SEED else spread}"


def _ends_row(one: EndsGain) -> dict[str, str]:
    row = {
        "arm": one.arm,
        "scratch arm": one.scratch,
        "runs compared": f"ends{f', {one.over}' if one.over else ''}",
        "runs": str(one.runs),
    }
    if one.whole is None or one.loss is None:
        return row | {"growth": one.why_not}
    row |= {"loss": f"{one.loss:.4f}", "gain, whole bill": _estimate(one.whole)}
    row["gain, target phase alone"] = _estimate(one.target) if one.target else one.why_no_target
    seeds = "; one seed a budget" if one.one_seed else ""
    return row | {"growth": f"{_verdict([one.whole])}{seeds}"}


def _pairs_row(one: PairsGain) -> dict[str, str]:
    place = f"{short_count(one.params)} parameters, {one.tokens_per_param:.3g} tokens a parameter"
    return {
        "arm": one.arm,
        "scratch arm": one.scratch,
        "runs compared": f"curves, {place}",
        "runs": str(one.n),
        "loss": f"{one.loss:.4f}",
        "gain, whole bill": _estimate(one.whole),
        "gain, target phase alone": _estimate(one.target) if one.target else "not known",
        "bound": BOUND[one.read_at_end],
        "growth": _verdict([one.whole]),
    }


def _surface(way: WayBreakEven) -> str:
    """Say what the break-evens of a way to grow rest on."""
    surface = way.surface
    assert surface is not None
    terms = [
        f"{value:+.3g} {interval(*spread)}{'' if term == '1' else f' {term}'}"
        for term, value, spread in zip(
            surface.terms, surface.coefficients, surface.intervals, strict=True
        )
    ]
    return (
        f"{way.way}: ln(gain) = {' '.join(terms)} from {surface.n} grown runs ({way.from_ends} "
        f"off ends, {way.from_curves} off curves), residual rms {three_digits(surface.rms)}."
    )


def _held(one: BreakEven) -> str:
    if one.at is None:
        return "all runs"
    if one.of == "factor":
        return f"{one.at:.3g} tokens a parameter"
    return f"factor {one.at:.3g}"


def _said(one: BreakEven) -> str:
    """Say where growth pays along one variable."""
    low, high = one.grid
    what = "factor" if one.of == "factor" else "number of tokens a parameter"
    if not one.crossings:
        open_ = "" if one.settled else ", though some of it is not settled"
        return (
            f"none: {'growth' if one.wins == 'growth' else 'scratch'} wins at every {what} of the "
            f"grid, {low:.3g} to {high:.3g}{open_}"
        )
    crossed = [_crossing(crossing, one) for crossing in one.crossings]
    return f"{'; '.join(crossed)}; grid {low:.3g} to {high:.3g}"


def _crossing(crossing: Crossing, one: BreakEven) -> str:
    low = f"below {one.grid[0]:.3g}" if crossing.low is None else three_digits(crossing.low)
    high = f"beyond {one.grid[1]:.3g}" if crossing.high is None else three_digits(crossing.high)
    if one.of == "factor":
        what = f"a factor of {three_digits(crossing.value)} [{low}, {high}]"
    else:
        what = f"{three_digits(crossing.value)} [{low}, {high}] tokens a parameter"
    return f"growth pays {crossing.pays} {what}"
