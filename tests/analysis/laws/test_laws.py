"""Every law: runs that it made give its parameters back."""

import numpy as np
import pytest

from analysis.fitting.fit import fit_law, logs_of
from analysis.laws.law import is_scaling
from analysis.laws.power import ComputeLaw
from analysis.laws.registry import LAWS, LawName
from analysis.laws.shared_e import SharedE
from tests.analysis.known import every_variable, surface


@pytest.mark.parametrize(
    ("name", "truth"),
    [
        ("compute", {"E": 1.7, "a": 2000.0, "b": 0.16}),
        ("kaplan", {"A": 14.0, "B": 11.0, "alpha": 0.076, "beta": 0.095}),
        ("gamma", {"E": 1.7, "A": 400.0, "B": 1200.0, "alpha": 0.33, "beta": 0.35, "gamma": 0.7}),
    ],
)
def test_other_laws_are_recovered(name: LawName, truth: dict[str, float]) -> None:
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
    fit = fit_law(LAWS[name], columns, loss, loss="l2")
    assert fit.params == pytest.approx(truth, rel=1e-3)


def test_repeated_tokens_and_breaks_are_fitted() -> None:
    columns = every_variable(80)
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


def test_tokens_and_unique_tokens_keep_their_ratio_when_centred() -> None:
    law, columns = LAWS["data-constrained"], every_variable()
    logs = np.log([columns[name] for name in law.variables])
    centred = logs - law.centre(logs)[:, None]
    ratio = columns["tokens"] / columns["unique_tokens"]
    assert centred[1] - centred[2] == pytest.approx(np.log(ratio))


def test_the_number_of_an_arm_is_neither_logged_nor_centred() -> None:
    law, columns = SharedE(ComputeLaw(), 2), every_variable()
    rows = logs_of(law, columns)
    assert np.array_equal(rows[-1], columns["arm"]) and law.centre(rows)[-1] == 0
    assert rows[0] == pytest.approx(np.log(columns["flops"]))


def test_scaling_exponents_lie_above_zero_and_up_to_five() -> None:
    values = np.array([-0.1, 0.0, 1e-9, 5.0, 5.1, np.inf])
    assert list(is_scaling(values)) == [False, False, True, True, False, False]
