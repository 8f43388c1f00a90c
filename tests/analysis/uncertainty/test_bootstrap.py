"""Intervals: reproducible, honest about failures, and covering at their nominal level."""

from typing import get_args

import numpy as np
import pytest

from analysis.fitting.derivatives import at_one_place, derivatives, pose
from analysis.fitting.fit import fit_law
from analysis.laws.law import Law
from analysis.laws.registry import LAWS
from analysis.uncertainty.bootstrap import (
    Draws,
    Method,
    Resampling,
    bootstrap,
    choose_method,
    variance_components,
)
from tests.analysis.known import TRUTH, noisy, surface

LAW = LAWS["chinchilla"]


def draws_of(n: int = 6, seed: int = 0, **options: object) -> Draws:
    columns, exact = surface(n, n)
    fit = fit_law(LAW, columns, noisy(exact, seed))
    return bootstrap(fit, Resampling(200, **options))  # type: ignore[arg-type]  # fields of Resampling


@pytest.mark.parametrize("method", get_args(Method))
def test_same_seed_same_interval(method: Method) -> None:
    columns, exact = surface()
    fit = fit_law(LAW, columns, noisy(exact, 0))
    first, again, moved = (
        bootstrap(fit, Resampling(200, seed=seed, method=method)) for seed in (0, 0, 1)
    )
    assert first.intervals == again.intervals
    assert moved.intervals != first.intervals
    low, high = first.intervals["alpha"]
    assert low < fit.params["alpha"] < high


def test_batched_resamples_are_what_single_refits_give() -> None:
    columns, exact = surface(8, 8)
    fit = fit_law(LAW, columns, noisy(exact, 0), delta=1e-2)
    draws = bootstrap(fit, Resampling(5, method="pairs"))
    rng = np.random.default_rng(0)
    weights = rng.multinomial(64, np.full(64, 1 / 64), 5)
    for row, counts in zip(draws.theta, weights, strict=True):
        taken = np.repeat(np.arange(64), counts)
        alone = fit_law(
            LAW,
            {name: values[taken] for name, values in columns.items()},
            noisy(exact, 0)[taken],
            delta=1e-2,
        )
        slopes = row[3:]
        assert slopes == pytest.approx([alone.params["alpha"], alone.params["beta"]], rel=1e-5)


@pytest.mark.parametrize("law", [LAW, LAWS["kaplan"]], ids=lambda law: law.name)
def test_resamples_at_one_place_are_found_at_once(law: Law) -> None:
    """From the runs' own shares, and however many problems are worked on together."""
    columns, exact = surface(8, 8)
    fit = fit_law(law, columns, noisy(exact, 0), delta=1e-2)
    weights = np.random.default_rng(0).multinomial(64, np.full(64, 1 / 64), 700).astype(float)
    problems = pose(fit.law, fit.points, fit.delta, weights=weights)
    theta = np.repeat(fit.theta[None] + 0.01, 700, axis=0)
    at_once = at_one_place(problems, theta[0])
    each = derivatives(problems, theta)
    few = derivatives(problems.of(slice(3)), theta[:3])
    # The Hessian of a curved law has differences of width 1e-5, which magnify rounding.
    for field in ("objective", "g", "H", "M", "scale"):
        wanted = getattr(each, field)
        np.testing.assert_allclose(getattr(at_once, field), wanted, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(getattr(few, field), wanted[:3], rtol=1e-9, atol=1e-10)


def test_methods_agree_where_runs_are_many() -> None:
    bounds = [
        draws_of(14, method=method).intervals["alpha"] for method in ("pairs", "errors", "sandwich")
    ]
    widths = [high - low for low, high in bounds]
    assert max(widths) < 1.6 * min(widths)
    assert choose_method(240, 5) == "pairs" and choose_method(9, 5) == "errors"


def test_clusters_widen_the_interval() -> None:
    columns, exact = surface(6, 10)
    run = np.searchsorted(np.unique(columns["params"]), columns["params"])
    offsets = np.random.default_rng(0).normal(0, 0.01, 6)[run]
    fit = fit_law(LAW, columns, noisy(exact, 0, 0.001) * np.exp(offsets))
    rows = bootstrap(fit, Resampling(300)).intervals["alpha"]
    runs = bootstrap(fit, Resampling(300), run).intervals["alpha"]
    assert runs[1] - runs[0] > 1.5 * (rows[1] - rows[0])


def test_variance_components_of_known_truth() -> None:
    rng = np.random.default_rng(0)
    member = np.repeat(np.arange(400), 5)
    residuals = rng.normal(0, 2, 400)[member] + rng.normal(0, 1, 2000)
    between, within, _, _ = variance_components(residuals, member, 5)
    assert (between, within) == pytest.approx((4, 1), rel=0.15)


def test_bounded_and_failed_shares_are_said() -> None:
    C = np.geomspace(1e17, 1e20, 14)
    loss = noisy(30 * C**-0.06, 2, 0.01)
    draws = bootstrap(fit_law(LAWS["compute"], {"flops": C}, loss), Resampling(300))
    assert draws.bounded.mean() > 0.1  # E is often zero when the truth has none
    assert draws.failed.mean() < 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("sizes", "lengths"), [(3, 3), (6, 6), (15, 16)])
def test_coverage_of_independent_runs(sizes: int, lengths: int) -> None:
    columns, exact = surface(sizes, lengths)
    trials, hits = 300, dict.fromkeys(TRUTH, 0)
    for seed in range(trials):
        fit = fit_law(LAW, columns, noisy(exact, seed))
        intervals = bootstrap(fit, Resampling(500, seed=seed)).intervals
        for name, (low, high) in intervals.items():
            hits[name] += low <= TRUTH[name] <= high
    for name, hit in hits.items():
        assert 0.90 <= hit / trials <= 0.99, (name, hit / trials)


@pytest.mark.slow
def test_clusters_keep_coverage_where_rows_fail() -> None:
    """40 runs of 12 checkpoints, each run with an error of its own that all of them share."""
    rng = np.random.default_rng(0)
    N = np.repeat(np.exp(rng.uniform(np.log(5e7), np.log(1e10), 40)), 12)
    D = np.tile(np.geomspace(1e9, 1e12, 12), 40)
    run = np.repeat(np.arange(40), 12)
    exact = 1.8 + 480 * N**-0.35 + 2100 * D**-0.37
    trials, by_run, by_row = 200, 0, 0
    for seed in range(trials):
        own = np.random.default_rng(1000 + seed).normal(0, 0.01, 40)[run]
        fit = fit_law(LAW, {"params": N, "tokens": D}, noisy(exact, seed, 0.002) * np.exp(own))
        for clusters in (run, None):
            low, high = bootstrap(fit, Resampling(300, seed=seed), clusters).intervals["alpha"]
            if clusters is None:
                by_row += low <= 0.35 <= high
            else:
                by_run += low <= 0.35 <= high
    assert 0.90 <= by_run / trials <= 0.99
    assert by_row / trials < 0.80
