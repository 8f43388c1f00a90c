"""The arms of a run table: slopes against least squares, intervals against Student's t."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.scaling.arms import Arm, Arms, fit_arms
from analysis.tables import published
from analysis.tables.runs import RUN_COLUMNS, run_table, split_usable
from analysis.uncertainty.bootstrap import Resampling

Row = Callable[..., dict[str, Any]]
MANY = Resampling(40_000)
NONE = run_table(pd.DataFrame(columns=list(RUN_COLUMNS)), "none").assign(reason="")


def one_arm(row: Row, flops: Any, losses: Any, resampling: Resampling | None = None) -> Arm:
    return fit_arms(runs_at(row, flops, losses), NONE, resampling).arms[0]


def runs_at(row: Row, flops: Any, losses: Any) -> pd.DataFrame:
    pairs = enumerate(zip(flops, losses, strict=True))
    rows = [row(f"size-{i}", train_flops=C, val_loss=L) for i, (C, L) in pairs]
    return run_table(pd.DataFrame(rows), "rows")


def line(n: int) -> tuple[np.ndarray, np.ndarray]:
    C = np.geomspace(1e11, 1e13, n)
    return C, 12.0 * C**-0.05 * np.exp(np.random.default_rng(0).normal(0, 0.01, n))


# Three standard errors of the quantile of |t| from 40,000 resamples, relative to it.
@pytest.mark.parametrize(("n", "tolerance"), [(3, 0.07), (4, 0.04), (7, 0.02)])
def test_few_sizes_have_the_line_and_the_interval_of_student(
    row: Row, n: int, tolerance: float
) -> None:
    C, L = line(n)
    arm = one_arm(row, C, L, MANY)
    slope, intercept = np.polyfit(np.log(C), np.log(L), 1)
    assert arm.fitted is not None and arm.interval is not None
    assert arm.fitted.fit.params["b"] == pytest.approx(-slope, rel=1e-9)
    x = np.log(C) - np.log(C).mean()
    residuals = np.log(L) - slope * np.log(C) - intercept
    se = np.sqrt(residuals @ residuals / (n - 2))
    half = stats.t.ppf(0.975, n - 2) * se / np.sqrt(x @ x)
    assert (arm.interval[1] - arm.interval[0]) / 2 == pytest.approx(half, rel=tolerance)
    grid = np.array([1e11, 1e12, 1e13])
    band = arm.band(grid)
    assert band is not None
    leverage = 1 / n + (np.log(grid) - np.log(C).mean()) ** 2 / (x @ x)
    width = 2 * stats.t.ppf(0.975, n - 2) * se * np.sqrt(leverage)
    assert np.log(band[1] / band[0]) == pytest.approx(width, rel=2 * tolerance)


def test_a_size_is_a_preset_and_its_width(row: Row) -> None:
    """Two widths of three presets pair across arms; presets alone would not tell six runs."""
    C, L = line(6)
    rows = [
        row(f"{i // 2}", arm, width=0.5 if i % 2 else 1, train_flops=c, val_loss=loss * factor)
        | {"point_id": f"{arm}-{i}"}
        for arm, factor in (("dense", 1.0), ("lowrank 31.25%", 1.02))
        for i, (c, loss) in enumerate(zip(C, L, strict=True))
    ]
    used = run_table(pd.DataFrame(rows), "rows")
    (found,) = fit_arms(used, NONE, Resampling(200)).comparisons
    assert found.paired
    (unpaired,) = fit_arms(used.assign(width=np.nan), NONE, Resampling(200)).comparisons
    assert not unpaired.paired


@pytest.mark.parametrize("flops", [[1e12], [1e12, 1e12, 1e12], [1e12, 1e13]])
def test_no_degree_of_freedom_no_interval(row: Row, flops: list[float]) -> None:
    arm = one_arm(row, flops, [2.5, 2.4, 2.45][: len(flops)])
    assert arm.interval is None and arm.band(np.array([1e12])) is None
    assert (arm.fitted is None) == (len(set(flops)) == 1)


def test_exact_runs_have_no_interval(row: Row) -> None:
    arm = one_arm(row, [1e11, 4e11, 16e11], [4.0, 2.0, 1.0])
    assert arm.is_exact and arm.interval is None and arm.fitted is not None
    assert arm.fitted.fit.params["b"] == pytest.approx(0.5, abs=1e-9)


def test_many_sizes_leave_E_free(row: Row) -> None:
    C = np.geomspace(1e17, 1e21, 12)
    L = 1.7 + 30 * C**-0.06 * np.exp(np.random.default_rng(0).normal(0, 1e-4, 12))
    arms = fit_arms(runs_at(row, C, L), NONE)
    assert arms.E is None and arms.loss == "huber"
    assert arms.arms[0].fitted is not None
    assert arms.arms[0].fitted.fit.params["E"] == pytest.approx(1.7, abs=0.05)


def with_and_without(row: Row, ladder: Callable[..., pd.DataFrame]) -> Arms:
    stopped = row("xl", status="interrupted", train_flops=1e14, val_loss=3.0)
    runs = run_table(pd.concat([ladder(), pd.DataFrame([stopped])]), "rows")
    return fit_arms(*split_usable(runs))


def test_runs_left_out_enter_the_second_fit_of_their_own_arm_only(
    row: Row, ladder: Callable[..., pd.DataFrame]
) -> None:
    dense, lowrank = with_and_without(row, ladder).arms
    assert dense.fitted is not None and lowrank.fitted is not None
    assert dense.fitted.fit.n == 3 and dense.fitted.with_left_out is not None
    assert dense.fitted.with_left_out.n == 4
    assert dense.fitted.with_left_out.params["b"] < dense.fitted.fit.params["b"]
    assert lowrank.fitted.with_left_out is None


def test_the_published_points_do_not_settle_which_kind_is_steeper() -> None:
    used, excluded = split_usable(published.scaling())
    arms = fit_arms(used, excluded)
    slopes = {}
    for arm in arms.arms:
        if arm.fitted is None:
            continue
        C, L = arm.table.values["flops"], arm.table.loss
        slopes[arm.name] = -np.polyfit(np.log(C), np.log(L), 1)[0]
        assert arm.fitted.fit.params["b"] == pytest.approx(slopes[arm.name], rel=1e-9)
    assert slopes["dense"] < slopes["lowrank 63%"] < slopes["lowrank 32%"]
    for found in arms.comparisons:
        assert found.paired and found.reference == "dense"
        low, high = found.slopes[0].difference.low, found.slopes[0].difference.high
        assert low < 0 < high and "not settled" in found.verdict
    gain = arms.comparisons[1].gains
    assert all(at.gain.value < 1 for at in gain) and gain[0].gain.value < gain[-1].gain.value
