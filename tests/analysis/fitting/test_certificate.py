"""The certificate: what the runs determine, and what they leave open."""

import numpy as np

from analysis.fitting.certificate import certify
from analysis.fitting.fit import fit_law
from analysis.laws.registry import LAWS
from tests.analysis.known import noisy, surface


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
