"""The fit against known truth and against independent least squares."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.ladder import PowerLaw, fit_power_law

C = np.array([1e11, 1e12, 3e12, 1e13])


@pytest.mark.parametrize("E", [0.0, 1.69])
def test_exact_power_law_is_recovered(E: float) -> None:
    truth = PowerLaw(log_a=math.log(406.4), b=0.154, E=E)
    fit = fit_power_law(C, truth.predict(C), E=E)
    assert fit.law is not None and fit.residual_se is not None
    assert fit.law.a == pytest.approx(406.4, rel=1e-10)
    assert fit.law.b == pytest.approx(0.154, rel=1e-10)
    assert fit.law.E == E
    assert fit.residual_se < 1e-12


def test_agrees_with_linregress_and_lstsq() -> None:
    L = np.array([3.1, 2.2, 2.15, 1.7])
    fit = fit_power_law(C, L)
    assert fit.law is not None
    slope = np.asarray(stats.linregress(np.log(C), np.log(L)))[0]
    design = np.column_stack([np.ones(4), np.log(C)])
    solution, rss, *_ = np.linalg.lstsq(design, np.log(L), rcond=None)
    assert fit.law.b == pytest.approx(-slope, rel=1e-12)
    assert (fit.law.log_a, -fit.law.b) == pytest.approx(tuple(solution), rel=1e-10)
    assert fit.residual_se == pytest.approx(math.sqrt(rss[0] / 2), rel=1e-10)


def test_predict_keeps_the_shape() -> None:
    law = PowerLaw(log_a=math.log(8.0), b=0.5, E=1.0)
    assert law.predict([[4.0, 16.0]]) == pytest.approx(np.array([[5.0, 3.0]]))


@pytest.mark.parametrize(
    ("flops", "sizes", "dof", "words"),
    [
        ([1e12], 1, 0, "nothing: 1 run at 1 size"),
        ([1e12, 1e12, 1e12 * (1 + 1e-12)], 1, 0, "nothing: 3 runs at 1 size"),
        ([1e12, 1e13], 2, 0, "a point estimate only"),
        ([1e12, 1e12, 1e13], 2, 1, "slope and interval"),
        ([1e11, 1e12, 1e13], 3, 1, "3 sizes, 1 residual degree of freedom"),
    ],
)
def test_says_what_is_identified(flops: list[float], sizes: int, dof: int, words: str) -> None:
    fit = fit_power_law(flops, [2.5, 2.2, 2.1][: len(flops)])
    assert (fit.n_runs, fit.n_sizes, fit.dof) == (len(flops), sizes, dof)
    assert words in fit.identified
    assert (fit.law is None) == (sizes < 2)
    assert (fit.residual_se is None) == (dof == 0)


def test_nearly_equal_sizes_overflow_quietly() -> None:
    fit = fit_power_law([1e12, 1.00001e12], [2.5, 2.0])
    assert fit.law is not None
    assert fit.law.a == math.inf
    assert fit.law.predict([1e12]) == pytest.approx([2.5], rel=1e-6)


@pytest.mark.parametrize("loss", [math.nan, math.inf, 0.0, -1.0, 1.69])
def test_refuses_losses_outside_the_law(loss: float) -> None:
    with pytest.raises(ValueError, match=r"above E=1\.69"):
        fit_power_law([1e11, 1e12], [2.5, loss], E=1.69)


@pytest.mark.parametrize(("flops", "losses"), [([], []), ([1e11, 1e12], [2.5]), (1e11, 2.5)])
def test_refuses_other_shapes(flops: object, losses: object) -> None:
    with pytest.raises(ValueError, match="equal"):
        fit_power_law(flops, losses)  # pyright: ignore[reportArgumentType]: the mistake under test


def test_refuses_flops_that_are_not_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        fit_power_law([0.0, 1e12], [2.5, 2.0])
