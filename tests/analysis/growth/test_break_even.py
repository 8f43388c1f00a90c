"""Where growth breaks even, on tables of known truth."""

import math

import numpy as np
import pytest

from analysis.growth.break_even import BreakEven, RunGain, fit_surface
from analysis.growth.measure import SIZE, measure_growth
from analysis.tables.runs import split_usable
from analysis.uncertainty.bootstrap import Resampling
from tests.analysis.known_growth import grown_curves, grown_table

FEW = Resampling(500)
TRUTH = {"1": 0.5, "x": -0.4, "y": 0.1}


def true_gain(factor: float, tokens_per_param: float) -> float:
    x, y = math.log(factor), math.log(tokens_per_param)
    return math.exp(TRUTH["1"] + TRUTH["x"] * x + TRUTH["y"] * y)


def true_factor(tokens_per_param: float) -> float:
    """The factor of gain 1."""
    return math.exp((TRUTH["1"] + TRUTH["y"] * math.log(tokens_per_param)) / -TRUTH["x"])


def gains(
    log_gain: list[float], factors: list[float], ratios: list[float] | None = None
) -> list[RunGain]:
    ratios = ratios or [20.0] * len(factors)
    return [
        RunGain(value, factor, ratio, ratio, str(i), None)
        for i, (value, factor, ratio) in enumerate(zip(log_gain, factors, ratios, strict=True))
    ]


def covers(one: BreakEven, value: float) -> bool:
    """Whether a break-even's interval has the value; without one, whether it stays open."""
    if not one.crossings:
        return not one.settled
    return any(
        (c.low is None or c.low <= value) and (c.high is None or value <= c.high)
        for c in one.crossings
    )


@pytest.mark.parametrize("off", ["ends", "curves"])
def test_finds_the_surface_and_its_break_evens(off: str) -> None:
    lengths = (5, 10, 20, 40) if off == "ends" else (5, 10)
    runs = grown_table(true_gain, factors=(2, 8), tokens_per_param=lengths, noise=0.001)
    curves = grown_curves(runs, true_gain) if off == "curves" else None
    growth = measure_growth(split_usable(runs)[0], curves, FEW)
    assert growth is not None
    (way,) = growth.break_evens
    assert way.way == "stack at 0.3" and way.surface is not None
    counts = (way.from_ends, way.from_curves)
    assert counts == ((24, 0) if off == "ends" else counts)
    assert way.surface.terms == ("1", "x", "y")
    for value, name in zip(way.surface.coefficients, way.surface.terms, strict=True):
        assert value == pytest.approx(TRUTH[name], abs=0.06)
    at_ten = next(one for one in way.surface.break_evens if one.of == "factor" and one.at == 10)
    (crossing,) = at_ten.crossings
    assert crossing.pays == "below"
    assert crossing.value == pytest.approx(true_factor(10), rel=0.05)
    assert crossing.low and crossing.high and crossing.low < true_factor(10) < crossing.high


@pytest.mark.parametrize(
    "label, way",
    [
        ("stack x4 at 0.3", "stack at 0.3"),
        ("split x2 alpha 0.3 at 0.25", "split alpha 0.3 at 0.25"),
        ("stack from 1 layer at 0.8 continue", "stack at 0.8 continue"),
        ("learn 24 layers 512 wide at 0.3", "learn at 0.3"),
        ("stack x2 at 0.1, stack x2 at 0.3", "stack at 0.1, stack at 0.3"),
    ],
)
def test_a_way_to_grow_is_a_label_without_sizes(label: str, way: str) -> None:
    assert SIZE.sub("", label) == way


def test_says_who_wins_where_nothing_crosses() -> None:
    rng = np.random.default_rng(0)
    factors = [2.0, 4.0] * 6
    noise = rng.normal(0, 0.01, 12)
    for mean, winner in ((0.3, "growth"), (-0.3, "scratch")):
        surface, _ = fit_surface(gains((mean + noise).tolist(), factors), FEW)
        assert surface is not None
        (one,) = surface.break_evens
        assert (one.crossings, one.wins, one.settled, one.grid) == ((), winner, True, (2, 4))


def test_the_interval_is_open_at_an_edge_that_it_reaches() -> None:
    rng = np.random.default_rng(1)
    factors = np.repeat([2.0, 4.0], 3)
    log_gain = 0.4 - 0.3 * np.log(factors) + rng.normal(0, 0.1, 6)
    surface, _ = fit_surface(gains(log_gain.tolist(), factors.tolist()), FEW)
    assert surface is not None
    (one,) = surface.break_evens
    assert one.crossings and one.crossings[0].high is None and not one.settled


def test_growth_may_pay_between_two_factors() -> None:
    factors = np.repeat([1.5, 4.0, 12.0], 3)
    log_gain = 0.2 - (np.log(factors) - math.log(4)) ** 2
    noise = np.random.default_rng(2).normal(0, 0.01, 9)
    surface, _ = fit_surface(gains((log_gain + noise).tolist(), factors.tolist()), FEW)
    assert surface is not None and surface.terms == ("1", "x", "x^2")
    first, last = surface.break_evens[0].crossings
    assert (first.pays, last.pays) == ("above", "below")
    assert first.value == pytest.approx(4 * math.exp(-math.sqrt(0.2)), rel=0.02)
    assert last.value == pytest.approx(4 * math.exp(math.sqrt(0.2)), rel=0.02)


def test_says_why_there_is_no_fit() -> None:
    assert "needs a grid" in fit_surface(gains([0.1, 0.2], [2, 2]), FEW)[1]
    assert "2 grown runs do not determine 2" in fit_surface(gains([0.1, 0.2], [2, 4]), FEW)[1]
    # Factor and tokens vary together: their effects cannot be told apart.
    together = gains([0.1, 0.2, 0.1, 0.2], [2, 4, 2, 4], [10, 20, 10, 20])
    assert "do not determine 3 coefficients" in fit_surface(together, FEW)[1]


def test_runs_that_share_a_scratch_run_share_its_chance() -> None:
    """Errors common to all runs of one scratch run widen the interval of the level."""
    rng = np.random.default_rng(3)
    shared = np.repeat(rng.normal(0, 0.2, 6), 4)
    factors = [2.0, 2.0, 4.0, 4.0] * 6
    own = rng.normal(0, 0.02, 24)
    apart = gains((shared + own).tolist(), factors)
    together = [
        RunGain(one.log_gain, one.factor, 20.0, 20.0, str(i // 4), None)
        for i, one in enumerate(apart)
    ]
    widths = []
    for runs in (apart, together):
        surface, _ = fit_surface(runs, Resampling(2000))
        assert surface is not None
        slope, level = surface.intervals[1], surface.intervals[0]
        widths.append((level[1] - level[0], slope[1] - slope[0]))
    assert widths[1][1] < 0.5 * widths[0][1]  # the slope is within scratch runs


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 3])
def test_intervals_cover_the_truth(seeds: int) -> None:
    """Of 100 tables, about 95 intervals of a break-even have the true factor in them."""
    hits = {5: 0, 10: 0, 20: 0}
    for seed in range(100):
        runs = grown_table(true_gain, seeds=seeds, seed=seed)
        growth = measure_growth(split_usable(runs)[0], resampling=Resampling(400))
        assert growth is not None and growth.break_evens[0].surface is not None
        for one in growth.break_evens[0].surface.break_evens:
            if one.of == "factor" and one.at in hits:
                hits[int(one.at)] += covers(one, true_factor(one.at))
    assert all(count >= 89 for count in hits.values()), hits
