"""Whether growing a small model into a larger one paid."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from analysis.growth.measure import Growth, measure_growth
from analysis.report.growth import break_even_section, gain_section, paid, sentences
from analysis.report.sections import Section
from analysis.report.shown import Shown
from analysis.tables.errors import RunTableError
from analysis.tables.runs import split_usable
from analysis.uncertainty.bootstrap import Resampling


@dataclass(frozen=True, repr=False)
class GrowthFound(Shown):
    """The gains of the grown arms of a study over those from scratch."""

    growth: Growth
    n_used: int
    excluded: pd.DataFrame

    @property
    def lines(self) -> list[str]:
        """What a terminal shows."""
        grown, out = self.growth.n_grown, len(self.excluded)
        counted = f"{self.n_used} runs entered, {grown} of them grown; {out} did not"
        return [paid(self.growth), *sentences(self.growth), counted]

    @property
    def sections(self) -> list[Section]:
        """The answer, the gains, and where growth breaks even."""
        answer = Section("paid", paid(self.growth), "", {}, [])
        return [answer, gain_section(self.growth), break_even_section(self.growth)]

    def document(self) -> dict[str, Any]:
        """Collect everything as JSON values."""
        listed = self.excluded.filter(["point_id", "arm", "status", "reason"])
        return asdict(self.growth) | {
            "paid": paid(self.growth),
            "excluded": listed.to_dict("records"),
        }


def growth_of(
    runs: pd.DataFrame, curves: pd.DataFrame | None, resampling: Resampling, source: str
) -> GrowthFound:
    """Measure the gain of every grown arm of a run table.

    Args:
        runs: the run table.
        curves: the training curves of its runs; None where there are none.
        resampling: of all intervals.
        source: where the runs come from, for error messages.

    Raises:
        RunTableError: none of the runs that enter grew.
    """
    used, excluded = split_usable(runs, source)
    growth = measure_growth(used, curves, resampling, source)
    if growth is None:
        raise RunTableError(
            f"{source}: column 'growth' is empty in all {len(used)} runs that entered: none grew; "
            "give the table of a study with `grow` in its points"
        )
    return GrowthFound(growth, len(used), excluded)
