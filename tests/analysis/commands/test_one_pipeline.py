"""No command fits or resamples the same runs twice in the same way."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

from analysis.commands.app import app
from analysis.fitting import fit as fitting
from analysis.uncertainty import bootstrap as resampling
from tests.analysis.known import noisy, surface

EXPORTED = Path(__file__).parents[1] / "exported" / "runs.csv"


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> tuple[list[object], list[object]]:
    """What was fitted and what was resampled while the test ran."""
    fits: list[object] = []
    draws: list[object] = []
    settle, bounded = fitting._settle_bounds, resampling._bounded

    def fitted(fit: fitting.LawFit) -> Any:
        data = fit.points.x.tobytes(), fit.points.log_loss.tobytes(), fit.free.tobytes()
        fits.append((fit.law, fit.loss, fit.delta, data))
        return settle(fit)

    def resampled(fit: fitting.LawFit, theta: Any) -> Any:
        draws.append((fit.law, theta.tobytes()))
        return bounded(fit, theta)

    monkeypatch.setattr(fitting, "_settle_bounds", fitted)
    monkeypatch.setattr(resampling, "_bounded", resampled)
    return fits, draws


@pytest.fixture
def points(tmp_path: Path) -> Path:
    columns, exact = surface(5, 5)
    frame = pd.DataFrame(columns).rename(columns={"flops": "train_flops"})
    frame.assign(val_loss=noisy(exact, 1)).to_csv(tmp_path / "points.csv", index=False)
    return tmp_path / "points.csv"


COMPARED = ("compare", EXPORTED, "--pair-col", "preset", "--bootstrap", 100)
FITTED = ("fit", "{points}", "--delta", 1e-3, "--alternatives", "--bootstrap", 100)
FORECAST = ("predict", "{points}", "--at", "params=1e11,tokens=1e12", "--bootstrap", 100)


@pytest.mark.parametrize(
    ("arguments", "fewest_fits"),
    [
        (("report", EXPORTED, "--out", "{out}"), 5),  # three arms, two laws over a shared E
        (COMPARED, 5),
        (FITTED, 4),  # a law each, and the hold-outs of those that are fitted
        (FORECAST, 6),  # the law, and the smallest runs of each of five backtests
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_nothing_is_done_twice(
    arguments: tuple[object, ...],
    fewest_fits: int,
    points: Path,
    tmp_path: Path,
    work: tuple[list[object], list[object]],
) -> None:
    places = {"{points}": points, "{out}": tmp_path / "out"}
    done = CliRunner().invoke(app, [str(places.get(str(one), one)) for one in arguments])
    assert done.exit_code == 0, done.output
    fits, draws = work
    assert len(fits) == len(set(fits)) >= fewest_fits
    assert len(draws) == len(set(draws)) >= 1
