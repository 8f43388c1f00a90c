"""Derivatives of the objective under every law, against finite differences and scipy."""

import math

import numpy as np
import pytest
from scipy.special import huber

from analysis.fitting.derivatives import Points, derivatives, pose
from analysis.laws.law import Law
from analysis.laws.power import ComputeLaw
from analysis.laws.registry import LAWS
from analysis.laws.shared_e import SharedE
from tests.analysis.known import every_variable

ALL_LAWS = [*LAWS.values(), SharedE(ComputeLaw(), 2)]


# Every law at one delta, and of the pure and of the curved laws one at the other deltas.
DERIVED = [(law, 0.05) for law in ALL_LAWS]
DERIVED += [(LAWS[name], delta) for name in ("chinchilla", "gamma") for delta in (1e-3, math.inf)]


@pytest.mark.parametrize(("law", "delta"), DERIVED, ids=lambda v: getattr(v, "name", v))
def test_derivatives_are_those_of_the_objective(law: Law, delta: float) -> None:
    columns = every_variable()
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
