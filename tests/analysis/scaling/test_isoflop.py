"""IsoFLOP minima by both methods, against scipy and against known truth."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.interpolate import Akima1DInterpolator

from analysis.scaling.budget_minimum import AKIMA, PARABOLA, spline_minimum
from analysis.scaling.isoflop import IsoFlop, isoflop
from analysis.tables.table import Columns, table_of
from analysis.uncertainty.bootstrap import Resampling


def test_splines_are_scipys() -> None:
    rng = np.random.default_rng(0)
    for knots in (3, 4, 9):
        x = np.sort(rng.uniform(0, 5, (50, knots)), axis=1)
        y = (x - 2.5) ** 2 + rng.normal(0, 0.3, x.shape)
        y[0] = 1.0  # flat, where Akima's weights have no value
        for own_x, own_y, where, lowest in zip(x, y, *spline_minimum(x, y), strict=True):
            spline = Akima1DInterpolator(own_x, own_y)
            fine = np.linspace(own_x[0], own_x[-1], 20_001)
            assert spline(where) == pytest.approx(lowest, abs=1e-12)
            assert lowest == pytest.approx(spline(fine).min(), abs=0.01)


def test_each_method_refuses_for_itself() -> None:
    x = np.log([1e7, 2e7, 4e7, 8e7, 16e7])
    falling = np.array([3.0, 2.9, 2.8, 2.7, 2.6])
    for method, words in ((PARABOLA, "lowest loss is"), (AKIMA, "spline is lowest at")):
        refused = method.find(x, falling)
        assert refused.params is None and f"{words} the largest model's" in refused.refused
        assert "smallest model's" in method.find(x, falling[::-1]).refused
    three = slice(1, 4)
    bowl = (x - x[2]) ** 2 + 2
    assert "3 sizes; a minimum needs 4" in PARABOLA.find(x[three], bowl[three]).refused
    found = AKIMA.find(x[three], bowl[three])
    assert found.params == pytest.approx(4e7, rel=0.05) and not found.refused


def design(sizes: tuple[int, ...] = (9, 9, 3, 9), a: float = 0.6) -> IsoFlop:
    """Bowls whose lowest point is at N* = C^a, one budget of which has three sizes."""
    rng = np.random.default_rng(0)
    rows = []
    for C, count in zip((1e18, 1e19, 1e20, 1e21), sizes, strict=True):
        best = 0.02 * C**a
        for factor in np.geomspace(0.2, 6, count):
            loss = 2 + C**-0.03 + 0.05 * math.log(factor) ** 2
            N = best * factor
            rows.append((N, C / 6 / N, C, loss * math.exp(rng.normal(0, 1e-4))))
    frame = pd.DataFrame(rows, columns=["params", "tokens", "train_flops", "val_loss"])
    table = table_of(frame, "made", Columns(), ("params", "tokens", "flops"))
    return isoflop(table, 6.0, None, Resampling(300))


def test_each_method_has_its_own_exponents_and_budgets() -> None:
    found = design()
    assert found.budgets == pytest.approx((1e18, 1e19, 1e21))
    assert found.budgets_akima == pytest.approx((1e18, 1e19, 1e20, 1e21))
    pairs = (
        (found.params_exponent, found.tokens_exponent),
        (found.params_exponent_akima, found.tokens_exponent_akima),
    )
    for of_params, of_tokens in pairs:
        assert of_params is not None and of_tokens is not None
        assert of_params.value == pytest.approx(0.6, abs=0.02)
        assert of_params.value + of_tokens.value == pytest.approx(1)
        assert of_params.low <= of_params.value <= of_params.high
        assert of_tokens.low <= of_tokens.value <= of_tokens.high
    third = found.minima[2]
    assert third.refused and third.parabola_params is None and third.tokens is None
    assert third.akima_params is not None and third.akima_tokens is not None
    assert third.akima_params * third.akima_tokens * 6 == pytest.approx(third.flops)


def test_a_published_design_is_reproduced() -> None:
    """Porian et al. 2024 (arXiv 2406.19146): N*(C) of 121 tuned runs on RefinedWeb, unweighted.

    Their runs and exponents: github.com/formll/resolving-scaling-law-discrepancies (MIT).
    """
    frame = pd.read_csv(Path(__file__).with_name("porian_tuned_runs.csv"))
    columns = Columns(flops="flops", loss="loss")
    table = table_of(frame, "published", columns, ("params", "tokens", "flops"))
    found = isoflop(table, 6.0, None, Resampling(200))
    assert found.params_exponent_akima is not None and len(found.budgets_akima) == 12
    assert found.params_exponent_akima.value == pytest.approx(0.497029, abs=0.006)


def test_one_budget_has_a_minimum_and_no_exponent() -> None:
    found = design((9, 2, 2, 2))
    assert found.params_exponent is None and found.params_exponent_akima is None
    assert found.budgets == found.budgets_akima == pytest.approx((1e18,))
