"""Fits of every law: known truth, derivatives, and minima that other optimizers do not beat."""

import math
from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import huber, logsumexp

from analysis.fitting.certificate import certify
from analysis.fitting.derivatives import Points, derivatives, pose
from analysis.fitting.fit import FitError, LawFit, fit_law
from analysis.laws.law import Law
from analysis.laws.registry import LAWS
from analysis.laws.shared_e import SharedE
from tests.analysis.known import TRUTH, noisy, surface

ALL_LAWS = [*LAWS.values(), SharedE(LAWS["compute"], 2)]  # type: ignore[arg-type]  # a PowerSum


def columns_for(law: Law, n: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    N, D = np.exp(rng.uniform(17, 23, n)), np.exp(rng.uniform(20, 27, n))
    U = D / np.exp(rng.uniform(0, 3, n))
    all_ = {"params": N, "tokens": D, "flops": 6 * N * D, "unique_tokens": U}
    return {**{name: all_[name] for name in all_}, "arm": (np.arange(n) % 2).astype(float)}


@pytest.mark.parametrize("law", ALL_LAWS, ids=lambda law: law.name)
@pytest.mark.parametrize("delta", [1e-3, 0.05, math.inf])
def test_derivatives_are_those_of_the_objective(law: Law, delta: float) -> None:
    columns = columns_for(law)
    x = np.array([columns[v] if v == "arm" else np.log(columns[v]) for v in law.variables])
    is_log = np.array([[v != "arm"] for v in law.variables])
    points = Points(np.where(is_log, x - x.mean(axis=1, keepdims=True), x), np.full(40, 1.0))
    rng = np.random.default_rng(2)
    theta = np.concatenate(
        [rng.normal(0, 0.3, law.n_coefficients), rng.uniform(0.2, 0.5, len(law.exponents))]
    )
    weights = rng.integers(0, 4, 40).astype(float)
    free = np.ones(theta.size, bool)

    def at(t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
        s = derivatives(pose(law, points, delta, weights=weights, free=free), t[None])
        return float(s.objective[0]), s.g[0], s.H[0]

    value, g, H = at(theta)
    r = law.log_loss(theta[None], points.x)[0] - 1.0
    expected = weights @ (r**2 / 2 if math.isinf(delta) else huber(delta, r))
    assert value == pytest.approx(expected, rel=1e-12)
    for a in range(theta.size):
        h = 1e-6 * np.eye(theta.size)[a]
        up, down = at(theta + h), at(theta - h)
        assert g[a] == pytest.approx((up[0] - down[0]) / 2e-6, rel=1e-4, abs=1e-6 * abs(g).max())
        if delta != 1e-3:  # with so small a delta the second derivative jumps at every residual
            slope = (up[1] - down[1]) / 2e-6
            assert H[a] == pytest.approx(slope, rel=2e-3, abs=2e-3 * abs(H).max())


def test_exact_surface_is_recovered_whatever_the_loss() -> None:
    columns, loss = surface()
    for options in ({"loss": "l1"}, {"loss": "l2"}, {"delta": 1e-3}, {}):
        fit = fit_law(LAWS["chinchilla"], columns, loss, **options)  # type: ignore[arg-type]
        assert fit.converged
        assert fit.params == pytest.approx(TRUTH, rel=1e-5)
        assert fit.predict({"params": 7e9, "tokens": 1e12}) == pytest.approx(
            [1.8 + 480 * 7e9**-0.35 + 2100 * 1e12**-0.37], rel=1e-7
        )


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("compute", {"E": 1.7, "a": 2000.0, "b": 0.16}),
        ("kaplan", {"A": 14.0, "B": 11.0, "alpha": 0.076, "beta": 0.095}),
        ("gamma", {"E": 1.7, "A": 400.0, "B": 1200.0, "alpha": 0.33, "beta": 0.35, "gamma": 0.7}),
    ],
)
def test_other_laws_are_recovered(name: str, truth: dict[str, float]) -> None:
    columns, _ = surface(8, 8)
    N, D, C = columns["params"], columns["tokens"], columns["flops"]
    if name == "compute":
        loss = truth["E"] + truth["a"] * C ** -truth["b"]
    else:
        gamma = truth.get("gamma", truth["beta"])
        terms = (truth["A"] * N ** -truth["alpha"]) ** (1 / gamma)
        loss = (
            truth.get("E", 0) + (terms + (truth["B"] * D ** -truth["beta"]) ** (1 / gamma)) ** gamma
        )
    fit = fit_law(LAWS[name], columns, loss, loss="l2")  # type: ignore[index]
    assert fit.params == pytest.approx(truth, rel=1e-3)


def test_repeated_tokens_and_breaks_are_fitted() -> None:
    columns = columns_for(LAWS["data-constrained"], 80)
    U, D = columns["unique_tokens"], columns["tokens"]
    worth = U * (1 + 15 * -np.expm1(-(D / U - 1) / 15))
    loss = 1.8 + 480 * columns["params"] ** -0.35 + 2100 * worth**-0.37
    fit = fit_law(LAWS["data-constrained"], columns, loss, loss="l2")
    assert fit.params["R_star"] == pytest.approx(15, rel=1e-3)

    C = np.geomspace(1e15, 1e23, 60)
    loss = 1.5 + 300 * C**-0.12 * (1 + (C / 1e19) ** (1 / 0.5)) ** (-0.1 * 0.5)
    fit = fit_law(LAWS["broken"], {"flops": C}, loss, loss="l2")
    assert np.abs(fit.residuals).max() < 1e-6
    assert fit.params["C_break"] == pytest.approx(1e19, rel=0.02)


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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("delta", [1e-4, 1e-3, 1e-2])
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


def test_unidentified_parameters_are_called_so() -> None:
    """At 20 tokens a parameter throughout, N and D cannot be told apart."""
    N = np.geomspace(1e8, 1e10, 30)
    loss = noisy(1.8 + 480 * N**-0.35 + 2100 * (20 * N) ** -0.37, 0, 0.003)
    certificate = certify(fit_law(LAWS["chinchilla"], {"params": N, "tokens": 20 * N}, loss))
    assert {"alpha", "beta"} & set(certificate.unidentified)
    assert certificate.condition_number > 1e4
    columns, exact = surface()
    good = certify(fit_law(LAWS["chinchilla"], columns, noisy(exact, 0)))
    assert good.unidentified == () and good.bounds_hit == ()
    low, high = good.profile["alpha"]
    assert low < 0.35 < high and high - low < 0.2


def test_as_many_runs_as_parameters_say_nothing_of_themselves() -> None:
    fit = fit_law(LAWS["compute"], {"flops": [1e18, 1e19, 1e20]}, [3.0, 2.6, 2.3])
    assert any("passes through all 3 runs" in note for note in certify(fit).notes)


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

    def fitted(name: str) -> LawFit:
        return fit_law(LAWS[name], columns, loss, delta=0.004)  # type: ignore[index]

    assert fitted("chinchilla").aicc < fitted("compute").aicc - 50
    assert fitted("chinchilla").aicc < fitted("kaplan").aicc - 50
