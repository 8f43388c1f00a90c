"""Whether growth paid in a run table: the gains of its grown arms, and where they break even."""

import math
import re
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.growth.break_even import RunGain, Surface, fit_surface
from analysis.growth.ends import EndsGain, FittedSeries, fit_series
from analysis.growth.pairs import Pair, PairsGain, over_seeds, pairs_of
from analysis.growth.series import (
    Family,
    families,
    is_grown,
    scratch_tokens_per_param,
    series_of,
)
from analysis.tables.frames import texts, where
from analysis.uncertainty.bootstrap import Estimate, Resampling

# The sizes in a label of growth, such as `x4`, `24 layers`, `512 wide` or `from 1 layer`.
SIZE = re.compile(r" (x[\d.]+|(from )?\d+ (layers?|wide))(?=[ ,]|$)")
TOKENS = re.compile(r" at \d+ tokens")


@dataclass(frozen=True)
class WayBreakEven:
    """The break-even of one way to grow: an operator at one time, over all its sizes."""

    way: str
    scratch: str
    from_ends: int  # grown runs whose gain is read off the scratch runs' line
    from_curves: int
    surface: Surface | None
    why_not: str = ""


@dataclass(frozen=True)
class Growth:
    """What a run table says of growth."""

    level: float
    ends: tuple[EndsGain, ...]
    pairs: tuple[Pair, ...]
    pairs_gains: tuple[PairsGain, ...]
    break_evens: tuple[WayBreakEven, ...]
    alone: dict[str, str]  # why grown arms, or runs of theirs, are measured against nothing
    n_grown: int  # runs
    has_curves: bool

    def best(self, arm: str) -> list[Estimate]:
        """Give the gains of an arm on the whole bill: of ends, or else of curves."""
        ends = [one.whole for one in self.ends if one.arm == arm and one.whole]
        return ends or [one.whole for one in self.pairs_gains if one.arm == arm]


def measure_growth(
    used: pd.DataFrame,
    curves: pd.DataFrame | None = None,
    resampling: Resampling | None = None,
    source: str = "run table",
) -> Growth | None:
    """Measure the gain of every grown arm over its scratch arm; None where no run grew.

    Args:
        used: the runs that enter, as `split_usable` gives them.
        curves: training curves with `CURVE_COLUMNS`; without, only the runs' ends are compared.
        resampling: of all intervals; the defaults when absent.
        source: where the runs come from, for error messages.

    Raises:
        RunTableError: FLOPs before a growth are not between 0 and those of the whole run.
    """
    if not is_grown(used).any():
        return None
    resampling = resampling or Resampling()
    found, alone = families(used, source)
    ends: list[EndsGain] = []
    pairs: list[Pair] = []
    ways: list[WayBreakEven] = []
    for family in found:
        # Lines of different runs are drawn apart.
        fitted = [
            fit_series(family, series, replace(resampling, seed=resampling.seed + 104_729 * i))
            for i, series in enumerate(series_of(family))
        ]
        alone |= _in_no_series(family, fitted)
        own = [] if curves is None else pairs_of(family, curves)
        ends += [gain for one in fitted for gain in one.gains]
        pairs += own
        ways += _break_evens(family, fitted, own, resampling)
    return Growth(
        level=resampling.level,
        ends=tuple(ends),
        pairs=tuple(pairs),
        pairs_gains=tuple(over_seeds(pairs, resampling.level)),
        break_evens=tuple(ways),
        alone=alone,
        n_grown=int(is_grown(used).sum()),
        has_curves=curves is not None,
    )


def _in_no_series(family: Family, fitted: list[FittedSeries]) -> dict[str, str]:
    """Say of which arms runs are in no series, and why."""
    inside = {point for one in fitted for point in one.series.runs["point_id"]}
    left = where(family.runs, ~np.isin(family.runs["point_id"], list(inside)))
    return {
        str(arm): f"{len(rows)} of its runs have a size that {family.scratch} lacks"
        for arm, rows in left.groupby("arm", sort=False)
    }


def _break_evens(
    family: Family, fitted: list[FittedSeries], pairs: list[Pair], resampling: Resampling
) -> list[WayBreakEven]:
    grown = where(family.runs, is_grown(family.runs))
    ways = _ways(grown)
    by_pair = {pair.point_id: pair for pair in pairs if not pair.why_not}
    found = []
    for way in dict.fromkeys(ways):
        gains = _run_gains(family, where(grown, ways == way), fitted, by_pair)
        from_ends = sum(gain.shared is not None for gain in gains)
        surface, why = None, "no gain of a single run; give training curves, or longer runs"
        if gains:
            surface, why = fit_surface(gains, resampling)
        found.append(
            WayBreakEven(str(way), family.scratch, from_ends, len(gains) - from_ends, surface, why)
        )
    return found


def _ways(grown: pd.DataFrame) -> NDArray[np.object_]:
    """Name how each run grew, without sizes, [n]; where one arm grows after other tokens at each
    size, without these too."""
    pairs = [*zip(texts(grown, "arm"), texts(grown, "growth"), strict=True)]
    labels_of = Counter(arm for arm, _ in {*pairs})
    ways = [SIZE.sub("", label) for _, label in pairs]
    for i, (arm, _) in enumerate(pairs):
        if labels_of[arm] > 1:
            ways[i] = TOKENS.sub("", ways[i])
    return np.array(ways, dtype=object)


def _run_gains(
    family: Family, runs: pd.DataFrame, fitted: list[FittedSeries], pairs: dict[str, Pair]
) -> list[RunGain]:
    """Give the gain of each run: off the lines of its series, or else off its pair of curves."""
    found = []
    ratios = scratch_tokens_per_param(family, runs)
    for run, ratio in zip(runs.to_dict("records"), ratios, strict=True):
        factor, point = float(run["growth_factor"]), str(run["point_id"])
        if not (factor > 0 and ratio > 0):
            continue
        series = next(one for one in fitted if point in set(one.series.runs["point_id"]))
        if read := series.run_gain(family.scratch, run):
            log_gain, log_longer, shared = read
            # Along a series of sizes a longer run is a larger model, of the same ratio.
            at = ratio * math.exp(log_longer) if series.at_one_size else ratio
            found.append(RunGain(log_gain, factor, at, ratio, point, shared))
        elif point in pairs:
            pair = pairs[point]
            found.append(RunGain(pair.log_whole, factor, ratio, ratio, pair.scratch_id, None))
    return found
