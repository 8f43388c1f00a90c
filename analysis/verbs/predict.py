"""Predicting losses at targets, and the best split of budgets, of each arm of a table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from analysis.fitting.fit import FitError
from analysis.report.arm_document import document
from analysis.report.findings import interval, three_digits
from analysis.report.sections import Section
from analysis.report.shown import Shown
from analysis.scaling.arm import FittedArm, Settings, fit_arm
from analysis.scaling.backtest import Backtest, backtest
from analysis.scaling.forecast import Allocation, Forecast, allocate, flops_factor, forecast
from analysis.tables.table import Table
from analysis.uncertainty.bootstrap import Estimate
from analysis.verbs.choices import naming

MARK = "EXTRAPOLATED"


@dataclass(frozen=True)
class ArmPredictions:
    """What one arm's law says of the targets and budgets, and how it would have done before."""

    name: str
    arm: FittedArm
    factor: float  # k of C = k N D
    forecasts: tuple[Forecast, ...]
    allocations: tuple[Allocation, ...]
    backtests: tuple[Backtest, ...]

    def document(self) -> dict[str, Any]:
        """Collect everything as JSON values."""
        return {
            "fit": document(self.arm),
            "predictions": [asdict(one) for one in self.forecasts],
            "flops_per_param_token": self.factor,
            "allocations": [asdict(one) for one in self.allocations],
            "rollout": [asdict(one) for one in self.backtests],
        }


@dataclass(frozen=True, repr=False)
class Predictions(Shown):
    """The losses of each arm at targets, and its best parameters and tokens for budgets."""

    settings: Settings
    arms: tuple[ArmPredictions, ...]

    @property
    def lines(self) -> list[str]:
        """What a terminal shows."""
        return [line for one in self.arms for line in self._of_arm(one)]

    def _of_arm(self, one: ArmPredictions) -> list[str]:
        arm = one.arm
        lines = [f"{one.name}: {arm.fit.law.formula}, {arm.fit.n} runs"]
        if lost := arm.certificate.unidentified:
            lines.append(f"  not identified by these runs: {', '.join(lost)}")
        lines += [f"  caution: {text}" for text in arm.cautions(arm.draws)]
        lines += [_forecast(two, self._level) for two in one.forecasts]
        lines += [_split(two, one.factor, arm.table.convention) for two in one.allocations]
        return lines + [_past(two) for two in one.backtests]

    @property
    def _level(self) -> float:
        assert self.settings.resampling is not None
        return self.settings.resampling.level

    @property
    def cautions(self) -> list[str]:
        """What makes the arms' laws doubtful."""
        return [
            f"{one.name}: {text}" for one in self.arms for text in one.arm.cautions(one.arm.draws)
        ]

    @property
    def sections(self) -> list[Section]:
        """A row an arm and target, a row an arm and budget; those beyond the runs are marked."""
        past = [f"{one.name}: {_past(two).strip()}." for one in self.arms for two in one.backtests]
        note = f"{self.settings.law.formula}. Beyond the runs a prediction is marked with how far. "
        level = f"{self._level:.0%}"
        columns = {"arm": False, "at": False, "loss": True, f"{level} interval": True}
        columns |= {f"one new run, {level}": True, "beyond the runs": False}
        rows = [
            {"arm": one.name, "at": _named(two.target), "loss": f"{two.loss.value:.4f}"}
            | {f"{level} interval": _bounds(two.loss, ".4f")}
            | {f"one new run, {level}": _bounds(two.new_run, ".4f")}
            | _beyond(two.extrapolated)
            for one in self.arms
            for two in one.forecasts
        ]
        found = [Section("predictions", "Predictions", note + " ".join(past), columns, [])]
        found = [found[0].with_rows(rows)] if rows else []
        splits = [
            {"arm": one.name, "FLOPs": f"{two.flops:.3g}", "N*": _range3(two.params)}
            | {"D*": _range3(two.tokens), "D/N": _range3(two.tokens_per_param)}
            | {"loss": _range(two.loss, ".4f")}
            | _beyond(two.extrapolated)
            for one in self.arms
            for two in one.allocations
        ]
        if splits:
            columns = {"arm": False} | dict.fromkeys(("FLOPs", "N*", "D*", "D/N", "loss"), True)
            columns |= {"beyond the runs": False}
            split = Section("allocations", "Best split of a budget", note, columns, [])
            found.append(split.with_rows(splits))
        return found


def check_budgets(at: list[dict[str, float]], optimal_at: list[float]) -> None:
    """Raise a FitError where there is nothing to predict, or a budget is no number of FLOPs."""
    if not at and not optimal_at:
        raise FitError("nothing to predict; give --at NAME=NUMBER,... or --optimal-at FLOPS")
    if bad := [C for C in optimal_at if not 0 < C < float("inf")]:
        raise FitError(f"--optimal-at {bad[0]:g}: give a positive number of FLOPs")


def predict(
    table: Table,
    settings: Settings,
    at: list[dict[str, float]],
    optimal_at: list[float],
) -> Predictions:
    """Fit each arm, and predict the loss at targets and the best split of budgets.

    Args:
        table: the runs.
        settings: of the law, with resampling.
        at: targets, values of the law's variables by name.
        optimal_at: budgets of FLOPs.

    Raises:
        FitError: an arm cannot be fitted, or a target lacks a variable.
    """
    resampling = settings.resampling
    assert resampling is not None
    found = []
    for name, rows in table.arms().items():
        with naming(f"{table.source}, {name}", rows):
            arm = fit_arm(rows, settings)
            factor = flops_factor(arm.table.values)
            forecasts = forecast(arm, at, resampling.seed)
            splits = allocate(arm, optimal_at, factor) if optimal_at else []
            past = backtest(arm, resampling)
        found.append(
            ArmPredictions(name, arm, factor, tuple(forecasts), tuple(splits), tuple(past))
        )
    return Predictions(settings, tuple(found))


def _named(target: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in target.items())


def _beyond(extrapolated: tuple[str, ...]) -> dict[str, str]:
    far = ", ".join(extrapolated)
    return {"beyond the runs": f"{MARK}: {far}"} if far else {}


def _bounds(one: Estimate, form: str) -> str:
    return f"[{one.low:{form}}, {one.high:{form}}]"


def _range3(one: Estimate) -> str:
    return f"{three_digits(one.value)} {interval(one.low, one.high)}"


def _forecast(one: Forecast, level: float) -> str:
    text = (
        f"  at {_named(one.target)}: loss {_range(one.loss, '.4f')} ({level:.0%}); "
        f"one new run [{one.new_run.low:.4f}, {one.new_run.high:.4f}]"
    )
    return text + _mark(one.extrapolated)


def _split(one: Allocation, factor: float, convention: str | None) -> str:
    counted = f" ({convention} convention)" if convention else ""
    return (
        f"  C = {one.flops:.3g}{counted}, C = {factor:.3g} N D: N* {_range(one.params, '.3g')}, "
        f"D* {_range(one.tokens, '.3g')}, D/N {_range(one.tokens_per_param, '.3g')}, "
        f"loss {_range(one.loss, '.4f')}{_mark(one.extrapolated)}"
    )


def _mark(extrapolated: tuple[str, ...]) -> str:
    return f"; {MARK}: {', '.join(extrapolated)}" if extrapolated else ""


def _past(one: Backtest) -> str:
    return (
        f"  from the {one.n_fitted} smallest runs the other {one.n_foretold} were missed by "
        f"{one.rms:.2%} (bias {one.bias:+.2%}); {one.coverage:.0%} fell in their {one.level:.0%} "
        "intervals"
    )


def _range(one: Estimate, form: str) -> str:
    return f"{one.value:{form}} {_bounds(one, form)}"
