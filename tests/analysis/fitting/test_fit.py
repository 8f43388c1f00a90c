"""Fits: known truth, units, bounds, and minima that other optimizers do not beat."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import huber, logsumexp

from analysis.fitting.certificate import certify
from analysis.fitting.fit import FitError, LawFit, Loss, fit_law
from analysis.laws.registry import LAWS, LawName
from tests.analysis.known import TRUTH, noisy, surface


def test_exact_surface_is_recovered_whatever_the_loss() -> None:
    columns, loss = surface()
    estimators: list[tuple[Loss, float | None]] = [("l1", None), ("l2", None)]
    for name, delta in [*estimators, ("huber", 1e-3), ("huber", None)]:
        fit = fit_law(LAWS["chinchilla"], columns, loss, loss=name, delta=delta)
        assert fit.converged
        assert fit.params == pytest.approx(TRUTH, rel=1e-5)
        assert fit.predict({"params": 7e9, "tokens": 1e12}) == pytest.approx(
            [1.8 + 480 * 7e9**-0.35 + 2100 * 1e12**-0.37], rel=1e-7
        )


def usual_minimum(columns: dict[str, np.ndarray], loss: np.ndarray, delta: float) -> float:
    N, D, y = np.log(columns["params"]), np.log(columns["tokens"]), np.log(loss)

    def objective(t: np.ndarray) -> tuple[float, np.ndarray]:
        terms = np.stack([t[0] - t[3] * N, t[1] - t[4] * D, np.full(N.size, t[2])])
        total = logsumexp(terms, axis=0)
        share, psi = np.exp(terms - total), np.clip(total - y, -delta, delta)
        g = [*(share @ psi), -(share[0] * N) @ psi, -(share[1] * D) @ psi]
        return float(huber(delta, total - y).sum()) / delta, np.array(g) / delta

    starts = list(product((3.0, 8.0), (5.0, 10.0), (-0.5, 0.5), (0.2, 0.5), (0.2, 0.5)))
    return min(minimize(objective, s, jac=True, method="BFGS").fun for s in starts) * delta


@pytest.mark.parametrize(
    ("seed", "delta"), [(0, 1e-4), (0, 1e-2), (0, 1e-3), (1, 1e-3), (2, 1e-3), (3, 1e-2)]
)
def test_no_other_optimizer_goes_lower(seed: int, delta: float) -> None:
    columns, exact = surface(7, 6)
    loss = noisy(exact, seed, 0.02)
    fit = fit_law(LAWS["chinchilla"], columns, loss, delta=delta)
    assert fit.converged and fit.gradient <= 1e-9
    assert fit.objective <= usual_minimum(columns, loss, delta) * (1 + 1e-9)


def test_absolute_deviations_end_at_a_vertex_with_dual_certificate() -> None:
    columns, exact = surface()
    loss = noisy(exact, 3)
    fit = fit_law(LAWS["chinchilla"], columns, loss, loss="l1")
    assert fit.converged and fit.gradient == 0
    assert (np.abs(fit.residuals) < 1e-9).sum() >= 5
    near = fit_law(LAWS["chinchilla"], columns, loss, delta=1e-6)
    assert fit.objective == pytest.approx(near.objective / 1e-6, rel=1e-3)
    assert fit.objective <= np.abs(near.residuals).sum()


def test_units_do_not_matter() -> None:
    columns, exact = surface()
    loss = noisy(exact, 0)
    fit = fit_law(LAWS["chinchilla"], columns, loss, delta=1e-3)
    scaled = fit_law(
        LAWS["chinchilla"],
        {"params": columns["params"] * 1e30, "tokens": columns["tokens"] * 1e-9},
        loss,
        delta=1e-3,
    )
    assert scaled.objective == pytest.approx(fit.objective, rel=1e-10)
    assert scaled.params["alpha"] == pytest.approx(fit.params["alpha"], rel=1e-6)


def test_default_delta_follows_the_residuals() -> None:
    columns, exact = surface(12, 12)
    deltas = [
        fit_law(LAWS["chinchilla"], columns, noisy(exact, 0, sd)).delta for sd in (0.002, 0.02)
    ]
    assert deltas[0] == pytest.approx(1.345 * 0.002, rel=0.3)
    assert deltas[1] == pytest.approx(1.345 * 0.02, rel=0.3)


def test_held_E_and_E_at_its_bound() -> None:
    C = np.geomspace(1e17, 1e21, 12)
    loss = noisy(30 * C**-0.06, 1, 0.002)
    held = fit_law(LAWS["compute"], {"flops": C}, loss, E=0.0)
    assert held.params["E"] == 0 and held.held == ("E",) and held.n_free == 2
    line = np.polyfit(np.log(C), np.log(loss), 1)
    squares = fit_law(LAWS["compute"], {"flops": C}, loss, E=0.0, loss="l2")
    assert squares.params["b"] == pytest.approx(-line[0], rel=1e-8)
    concave = 30 * C**-0.06 * np.exp(-0.01 * (np.log(C) - 43) ** 2)
    free = fit_law(LAWS["compute"], {"flops": C}, concave)
    assert free.at_bound == ("E",) and free.params["E"] == 0
    assert "E" in certify(free).bounds_hit


@pytest.mark.parametrize(
    ("columns", "loss", "words"),
    [
        ({"flops": [1e18]}, [3.0], "1 runs at 1 distinct"),
        ({"flops": [1e18] * 5}, [3.0, 3.1, 3.0, 3.1, 3.0], "1 distinct"),
        ({"flops": [1e18, -1.0, 2.0]}, [3.0, 3.1, 3.0], "not finite and positive"),
        ({"flops": [1e18, 1e19, 1e20]}, [3.0, math.nan, 3.0], "not a finite positive"),
        ({"flops": [1e18, 1e19, 1e20]}, [3.0, 0.0, 3.0], "not a finite positive"),
        ({"flops": [1e18, 1e19]}, [3.0], "one a run"),
        ({"params": [1e8, 1e9, 1e10]}, [3.0, 2.0, 1.0], "flops is absent"),
    ],
)
def test_refusals_say_why(columns: dict, loss: list[float], words: str) -> None:
    with pytest.raises(FitError, match=words):
        fit_law(LAWS["compute"], columns, loss)


def test_aicc_prefers_the_law_that_made_the_runs() -> None:
    columns, exact = surface(8, 8)
    loss = noisy(exact, 0, 0.003)

    def fitted(name: LawName) -> LawFit:
        return fit_law(LAWS[name], columns, loss, delta=0.004)

    assert fitted("chinchilla").aicc < fitted("compute").aicc - 50
    assert fitted("chinchilla").aicc < fitted("kaplan").aicc - 50
