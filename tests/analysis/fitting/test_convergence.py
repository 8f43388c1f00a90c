"""Convergence: tables of true laws are never called unconverged, and what is unconverged is."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.fitting.certificate import certify
from analysis.fitting.derivatives import Points, pose
from analysis.fitting.fit import FitError, LawFit, Loss, fit_law, logs_of
from analysis.fitting.minimize import minimize
from analysis.fitting.starting_points import points_on_grid
from analysis.laws.law import Law
from analysis.laws.registry import LAWS, LawName

Array = np.ndarray
Table = tuple[Law, dict[str, Array], Array, Loss, float | None]


def random_table(seed: int) -> Table:
    """A few runs of a true law: exact, rounded as tables print them, or with noise."""
    rng = np.random.default_rng(seed)
    names: tuple[LawName, ...] = ("compute", "chinchilla", "kaplan")
    law = LAWS[names[rng.choice(3, p=(0.5, 0.4, 0.1))]]
    size = int(rng.integers(2 if law.name == "compute" else 6, 16))
    N = np.exp(rng.uniform(np.log(1e5), np.log(1e10), size))
    D = N * np.exp(rng.uniform(np.log(2), np.log(500), size))
    C = 6 * N * D
    alpha, beta, b = rng.uniform(0.05, 0.6, 3)
    E = float(rng.choice([0.0, rng.uniform(0.3, 2.5)]))
    powers = {
        "compute": rng.uniform(0.3, 4) * (C / C.mean()) ** -b,
        "chinchilla": rng.uniform(0.2, 3) * (N / N.mean()) ** -alpha
        + rng.uniform(0.2, 3) * (D / D.mean()) ** -beta,
        "kaplan": ((N / N.mean()) ** (-alpha / beta) + rng.uniform(0.1, 9) * D.mean() / D) ** beta,
    }
    loss = (0.0 if law.name == "kaplan" else E) + powers[law.name]
    kind = rng.integers(3)
    if kind == 1:
        digits = int(rng.integers(4, 13))
        loss = np.array([float(f"{value:.{digits}g}") for value in loss])
    if kind == 2:
        loss = loss * np.exp(rng.normal(0, 10.0 ** rng.uniform(-9, -2), size))
    estimator: Loss = ("huber", "huber", "l2")[rng.integers(3)]  # type: ignore[assignment]  # of three
    held = 0.0 if law.name == "compute" and (E == 0 or size < 3) else None
    return law, {"params": N, "tokens": D, "flops": C}, loss, estimator, held


def fitted(table: Table) -> LawFit | None:
    law, columns, loss, estimator, held = table
    try:
        return fit_law(law, columns, loss, loss=estimator, E=held)
    except FitError:
        return None


def check_no_false_alarm(seeds: range) -> None:
    fits = {seed: fitted(random_table(seed)) for seed in seeds}
    found = {seed: fit for seed, fit in fits.items() if fit is not None}
    assert len(found) > 0.9 * len(fits)
    assert not [seed for seed, fit in found.items() if not fit.converged]


def test_tables_of_true_laws_converge() -> None:
    check_no_false_alarm(range(150))


@pytest.mark.slow
def test_ten_thousand_tables_of_true_laws_converge() -> None:
    check_no_false_alarm(range(1_000, 11_000))


@pytest.mark.parametrize("seed", [1331, 3062, 6956, 7291, 8443, 9552])
def test_a_very_small_E_beside_a_shallow_power_is_reached(seed: int) -> None:
    law, columns, loss, estimator, _ = random_table(seed)
    found = fit_law(law, columns, loss, loss=estimator)
    assert found.converged
    delta = found.delta if estimator == "huber" else None
    for E in (0.0, *np.geomspace(1e-10, 1e-2, 9)):
        held = fit_law(law, columns, loss, loss=estimator, delta=delta, E=E)
        assert found.objective <= held.objective * (1 + 1e-6) + 1e-24, E


@pytest.mark.parametrize("steps", [0, 2, 6, 40])
def test_what_is_unconverged_never_passes(steps: int) -> None:
    """Whatever stops early and passes has nothing left to gain but rounding."""
    passed = stopped = 0
    for seed in range(30):
        law, columns, loss, estimator, _ = random_table(seed)
        logs = logs_of(law, columns)
        points = Points(logs - law.centre(logs)[:, None], np.log(loss))
        problems = pose(law, points, 1e-3 if estimator == "huber" else np.inf)
        theta = points_on_grid(law, points, 4)
        early = minimize(problems, theta, max_steps=steps)
        late = minimize(problems, early.theta, max_steps=300, tol=1e-13)
        gain = early.objective - late.objective
        left = gain > 1e-6 * early.objective + early.rounding
        assert not (early.converged & left).any(), seed
        passed, stopped = passed + early.converged.sum(), stopped + left.sum()
    assert stopped > 20 if steps < 40 else passed > 50


def test_an_exact_fit_is_at_rest_at_rounding() -> None:
    C = np.array([7.85e11, 2.78e12, 1.1e13])
    loss = 30 * C**-0.1 * (1 + np.array([1, -2, 1]) * 1e-9)
    fit = fit_law(LAWS["compute"], {"flops": C}, loss, loss="l2", E=0.0)
    certificate = certify(fit)
    assert certificate.converged and certificate.starts_agreeing == certificate.starts
    assert certificate.gradient_norm <= certificate.gradient_tolerance
    moved = replace(fit, theta=fit.theta + 1e-6)
    problems = moved.pose(moved.free)
    assert not minimize(problems, moved.theta[None], max_steps=0).converged


def test_a_step_that_overflows_is_no_error() -> None:
    """Least absolute deviations once stepped from these runs to where the law overflows."""
    runs = np.genfromtxt(
        Path(__file__).with_name("steps_that_overflow.csv"), delimiter=",", names=True
    )
    columns = {"params": runs["params"], "tokens": runs["tokens"]}
    found = fit_law(LAWS["gamma"], columns, runs["val_loss"], loss="l1")
    assert found.converged and np.isfinite(found.objective)


def test_absolute_deviations_of_several_losses_are_those_of_each() -> None:
    law, columns, loss, _, _ = random_table(4)
    x = logs_of(law, columns)
    x = x - law.centre(x)[:, None]
    noise = np.random.default_rng(1).normal(0, 1e-2, (3, loss.size))
    log_losses = np.log(loss) + noise
    starts = points_on_grid(law, Points(x, np.log(loss)), 3)[:1].repeat(3, axis=0)
    together = minimize(pose(law, Points(x, log_losses), 0.0), starts)
    for row, own in enumerate(log_losses):
        alone = minimize(pose(law, Points(x, own), 0.0), starts[:1])
        assert together.converged[row] and alone.converged[0]
        assert together.objective[row] == pytest.approx(alone.objective[0], rel=1e-9)


def test_a_parameter_without_effect_leaves_absolute_deviations_converged() -> None:
    """Where no token is read twice, R_star says nothing of the loss."""
    rng = np.random.default_rng(3)
    N, D = np.exp(rng.uniform(np.log(1e6), np.log(1e9), (2, 12)))
    loss = (1.7 + 400 * N**-0.34 + 410 * D**-0.28) * np.exp(rng.normal(0, 1e-2, 12))
    columns = {"params": N, "tokens": D, "unique_tokens": D}
    found = fit_law(LAWS["data-constrained"], columns, loss, loss="l1")
    assert found.converged
    assert "R_star" in certify(found).unidentified
