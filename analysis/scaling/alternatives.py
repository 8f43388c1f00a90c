"""Fits of one arm's runs by other laws and by other estimators."""

from dataclasses import dataclass, replace

from analysis.fitting.fit import FitError, LawFit, Loss
from analysis.laws.registry import LAWS
from analysis.scaling.arm import FittedArm, HoldOut, Settings, fit_table

DELTAS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)


@dataclass(frozen=True)
class Candidate:
    """One law on the same runs; `held_out` is None where the smaller runs do not fit it."""

    law: str
    fit: LawFit | None
    held_out: HoldOut | None
    why_not: str = ""


def compare_laws(arm: FittedArm) -> list[Candidate]:
    """Fit every law whose variables are there; best AICc first, those that cannot be fitted last.

    All are fitted with the arm's loss and delta and a free E: AICc compares no other fits.
    """
    delta = arm.fit.delta if arm.fit.loss == "huber" else None
    found = []
    for name, law in LAWS.items():
        if not set(law.variables) <= set(arm.table.values):
            continue
        settings = Settings(law, arm.settings.loss, delta)
        try:
            one = _fitted(arm, settings)
        except FitError as error:
            found.append(Candidate(name, None, None, str(error)))
            continue
        held_out, why_not = one.hold_out
        found.append(Candidate(name, one.fit, held_out, why_not))
    return sorted(found, key=lambda c: c.fit.aicc if c.fit else float("inf"))


def _fitted(arm: FittedArm, settings: Settings) -> FittedArm:
    """Fit the arm under other settings; give the arm itself where its fit is the same."""
    rules = {"drop_highest": arm.settings.drop_highest, "outliers": arm.settings.outliers}
    if replace(settings, resampling=arm.settings.resampling, **rules) == arm.settings:
        return arm
    return FittedArm(arm.table, settings, fit_table(arm.table, settings))


def delta_path(arm: FittedArm) -> list[LawFit]:
    """Fit the arm's law with absolute deviations, with each of `DELTAS`, and with squares."""
    E = arm.fit.params["E"] if "E" in arm.fit.held else None

    def fitted(loss: Loss, delta: float | None = None) -> LawFit:
        return _fitted(arm, Settings(arm.fit.law, loss, delta, E)).fit

    return [fitted("l1"), *(fitted("huber", delta) for delta in DELTAS), fitted("l2")]
