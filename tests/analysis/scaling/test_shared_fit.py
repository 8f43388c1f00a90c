"""The test of equal exponents against the textbook's F test, by least squares in logs."""

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.laws.power import ComputeLaw
from analysis.scaling.arm import Settings, fit_arm
from analysis.scaling.compare import compare
from analysis.tables.table import Columns, table_of
from analysis.uncertainty.bootstrap import Resampling


def squares(design: NDArray[np.float64], y: NDArray[np.float64]) -> float:
    return float(np.sum((y - design @ np.linalg.lstsq(design, y, rcond=None)[0]) ** 2))


@pytest.mark.parametrize(("sizes", "difference"), [(3, 0.02), (6, 0.0), (12, 0.004)])
def test_equal_exponents_are_tested_by_f(sizes: int, difference: float) -> None:
    rng = np.random.default_rng(sizes)
    C = np.tile(np.geomspace(1e18, 1e20, sizes), 2)
    second = np.repeat([0.0, 1.0], sizes)
    y = 2.5 - (0.05 + difference * second) * np.log(C) + 0.01 * second
    y += 0.002 * rng.standard_normal(2 * sizes)
    frame = pd.DataFrame({"arm": np.where(second, "b", "a"), "train_flops": C})
    frame["val_loss"] = np.exp(y)
    table = table_of(frame, "made", Columns(by="arm"), ("flops",))
    settings = Settings(ComputeLaw(), "l2", E=0.0, resampling=Resampling(100))
    arms = {name: fit_arm(rows, settings) for name, rows in table.arms().items()}
    _, (found,) = compare(arms, "a", (), None, False)
    x = np.log(C) - np.log(C).mean()
    common = np.stack([1 - second, second, x], axis=1)
    own = np.stack([1 - second, second, x * (1 - second), x * second], axis=1)
    dof = 2 * sizes - 4
    F = (squares(common, y) / squares(own, y) - 1) * dof
    assert found.shared.p_likelihood == pytest.approx(stats.f.sf(F, 1, dof), rel=1e-4)
