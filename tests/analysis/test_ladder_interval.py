"""The bootstrap-t against Student's t, which is its exact answer here, and by its coverage."""

import numpy as np
import pytest
from scipy import stats

from analysis.ladder import Fit, Interval, Resampling, curve_band, fit_power_law, slope_interval

MANY = Resampling(resamples=100_000)


def noisy_fit(n: int, seed: int = 0, noise: float = 0.01) -> Fit:
    C = np.geomspace(1e11, 1e13, n)
    errors = np.random.default_rng(seed).normal(0, noise, n)
    return fit_power_law(C, 12.0 * C**-0.05 * np.exp(errors))


def student_half_width(fit: Fit) -> float:
    x = np.log(fit.train_flops)
    assert fit.residual_se is not None
    spread = np.sqrt(((x - x.mean()) ** 2).sum())
    return float(stats.t.ppf(0.975, fit.dof) * fit.residual_se / spread)


# Three standard errors of the quantile of |t| from 100,000 resamples, relative to it.
@pytest.mark.parametrize(("n", "tolerance"), [(3, 0.046), (4, 0.026), (9, 0.011)])
def test_slope_interval_is_students(n: int, tolerance: float) -> None:
    fit = noisy_fit(n)
    interval = slope_interval(fit, MANY)
    assert interval is not None and fit.law is not None
    assert (interval.low + interval.high) / 2 == pytest.approx(fit.law.b)
    half = (interval.high - interval.low) / 2
    assert half == pytest.approx(student_half_width(fit), rel=tolerance)


def test_curve_band_is_students() -> None:
    fit = noisy_fit(9)
    assert fit.law is not None and fit.residual_se is not None
    grid = np.array([1e11, 1e12, 1e14])
    band = curve_band(fit, grid, MANY)
    assert band is not None
    x = np.log(fit.train_flops)
    leverage = 1 / 9 + (np.log(grid) - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum()
    half = stats.t.ppf(0.975, 7) * fit.residual_se * np.sqrt(leverage)
    curve = fit.law.predict(grid)
    assert np.log(band[1] / curve) == pytest.approx(half, rel=0.01)
    assert np.log(curve / band[0]) == pytest.approx(half, rel=0.01)


@pytest.mark.parametrize("n", [3, 4, 9])
def test_coverage(n: int) -> None:
    trials = 400
    settings = Resampling()
    hits = 0
    for seed in range(trials):
        interval = slope_interval(noisy_fit(n, seed), settings)
        assert interval is not None
        hits += interval.low <= 0.05 <= interval.high
    # Three binomial standard errors, and what 4,000 resamples leave of the nominal level.
    assert hits / trials == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / trials) + 0.011)


@pytest.mark.parametrize("flops", [[1e12], [1e12, 1e12, 1e12], [1e12, 1e13]])
def test_no_degree_of_freedom_no_interval(flops: list[float]) -> None:
    fit = fit_power_law(flops, [2.5, 2.4, 2.45][: len(flops)])
    assert slope_interval(fit, Resampling()) is None
    assert curve_band(fit, [1e12], Resampling()) is None


def test_exact_line_has_an_interval_without_width() -> None:
    fit = fit_power_law([1.0, 4.0, 16.0], [4.0, 2.0, 1.0])
    interval = slope_interval(fit, Resampling())
    assert interval is not None
    assert (interval.low, interval.high) == pytest.approx((0.5, 0.5), abs=1e-12)


def test_wild_runs_give_an_infinite_band_not_an_error() -> None:
    fit = fit_power_law([1e11, 1e12, 1e13], [1e-200, 1e200, 1e-200])
    band = curve_band(fit, [1e12], Resampling())
    assert band is not None
    assert band[0][0] == 0 and band[1][0] == np.inf


def test_same_settings_same_interval() -> None:
    fit = noisy_fit(4)
    assert slope_interval(fit, Resampling()) == slope_interval(fit, Resampling())
    assert slope_interval(fit, Resampling(seed=1)) != slope_interval(fit, Resampling())


def test_intervals_that_touch_do_not_rank() -> None:
    assert Interval(0.2, 0.3, 0.95).is_above(Interval(0.0, 0.1, 0.95))
    assert not Interval(0.1, 0.3, 0.95).is_above(Interval(0.0, 0.1, 0.95))
