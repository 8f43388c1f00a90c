"""Fitting a law to each arm of a table."""

from dataclasses import dataclass

import numpy as np

from analysis.fitting.fit import FitError
from analysis.report.arm_document import sentences
from analysis.report.findings import interval, three_digits
from analysis.report.sections import Section
from analysis.report.shown import Shown
from analysis.scaling.arm import FittedArm, Settings, fit_arm
from analysis.scaling.arms import Arm
from analysis.tables.errors import nearest
from analysis.tables.table import Table
from analysis.verbs.choices import naming

HELD, UNIDENTIFIED = "(held)", "not identified"


@dataclass(frozen=True, repr=False)
class Fits(Shown):
    """One law, fitted to each arm: `fits["dense"]` is a `FittedArm`, with `fit.params`."""

    table: Table
    settings: Settings
    arms: tuple[Arm, ...]

    def __getitem__(self, name: str) -> FittedArm:
        known = {arm.name: arm for arm in self.arms}
        if name not in known:
            raise FitError(f"no arm {name!r}{nearest(name, known)}; one of {', '.join(known)}")
        arm = known[name]
        if arm.fitted is None:
            raise FitError(f"not fitted: {arm.why_not}")
        return arm.fitted

    @property
    def lines(self) -> list[str]:
        """What a terminal shows: each arm's fit in words."""
        return [line for arm in self.arms for line in arm_lines(arm)]

    @property
    def cautions(self) -> list[str]:
        """What makes the arms' fits doubtful."""
        return [
            f"{arm.name}: {text}"
            for arm in self.arms
            if arm.fitted is not None
            for text in arm.fitted.cautions(arm.fitted.draws)
        ]

    @property
    def sections(self) -> list[Section]:
        """A row an arm: the parameters with their intervals."""
        law, drawn = self.settings.law, self.settings.resampling
        loss = {"huber": "Huber's loss", "l1": "absolute deviations", "l2": "least squares"}
        spread = f" with {drawn.level:.0%} intervals" if drawn else ""
        note = (
            f"{law.formula}, fitted by {loss[self.settings.loss]} of log loss; parameters{spread}."
            " The residual rms is relative to the loss."
        )
        names = next((list(a.fitted.fit.params) for a in self.arms if a.fitted), [])
        columns = {"arm": False, **dict.fromkeys(names, True)}
        columns |= {"residual rms": True, "runs": True, "converged": True}
        if any(arm.fitted is None for arm in self.arms):
            columns["not fitted"] = False
        rows = [_row(arm) for arm in self.arms]
        title = f"Fits of {law.formula}"
        return [Section("fits", title, note, columns, []).with_rows(rows)]


def fit_each(table: Table, settings: Settings) -> Fits:
    """Fit each arm of a table by the same law.

    Raises:
        FitError: the rows of a table without arms, or those of every arm, do not carry the law.
    """
    found = []
    for name, rows in table.arms().items():
        place = table.source if table.arm is None else name
        try:
            with naming(place, rows):
                found.append(Arm(name, rows, fit_arm(rows, settings)))
        except FitError as error:
            if table.arm is None:
                raise
            found.append(Arm(name, rows, None, str(error)))
    if not any(arm.fitted for arm in found):
        raise FitError(f"{table.source}: no arm can be fitted; {found[0].why_not}")
    return Fits(table, settings, tuple(found))


def arm_lines(arm: Arm) -> list[str]:
    """Tell an arm's fit in words, or why there is none."""
    if arm.fitted is None:
        return [f"not fitted: {arm.why_not}"]
    return sentences(arm.name, arm.fitted)


def _row(arm: Arm) -> dict[str, str]:
    row = {"arm": arm.name, "runs": str(arm.table.n)}
    if arm.fitted is None:
        return row | {"not fitted": arm.why_not}
    fit, certificate = arm.fitted.fit, arm.fitted.certificate
    intervals = arm.fitted.draws.intervals if arm.fitted.draws else {}
    for name, value in fit.params.items():
        if name in certificate.unidentified:
            row[name] = UNIDENTIFIED
        elif name in fit.held:
            row[name] = f"{value:g} {HELD}"
        else:
            spread = f" {interval(*intervals[name])}" if name in intervals else ""
            row[name] = three_digits(value) + spread
    row["residual rms"] = f"{float(np.sqrt((fit.residuals**2).mean())):.2%}"
    row["converged"] = "yes" if certificate.converged else "NO"
    return row
