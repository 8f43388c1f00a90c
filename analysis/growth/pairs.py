"""The gain of grown runs over scratch runs of their size and seed, from training curves.

Two runs are compared at the lowest loss that both reached: the higher of their two final losses.
One of them is read at its end, the other where its curve first came down to that loss. Of a grown
run, only what comes after the growth is read: its base is another model.

A curve before its end is that of a schedule that has not yet decayed, so the run read there looks
slower than one planned for those FLOPs. The gain is too high where that is the scratch run, and too
low where it is the grown one. Of runs of equal FLOPs this never changes which of them won.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from analysis.growth.series import Family, is_grown, scratch_tokens_per_param
from analysis.laws.law import Array
from analysis.tables.frames import numbers, where
from analysis.uncertainty.bootstrap import Estimate

Curve = tuple[Array, Array]  # FLOPs and validation losses, [n] each, in the order of the steps
NO_CURVE: Curve = (np.array([]), np.array([]))


@dataclass(frozen=True)
class Pair:
    """A grown run and its scratch run at one loss; no gains where `why_not` says why."""

    scratch: str  # arm
    arm: str
    point_id: str
    scratch_id: str
    params: float
    tokens_per_param: float  # that the scratch model gets for the grown run's FLOPs
    loss: float = math.nan
    read_at_end: str = ""  # which of the two: `grown` or `scratch`
    log_whole: float = math.nan
    log_target: float = math.nan  # NaN where the FLOPs of the base are not known
    why_not: str = ""


@dataclass(frozen=True)
class PairsGain:
    """The gain of one grown arm at one size and length, over seeds.

    The value is the geometric mean of the pairs, the interval Student's t on logs; one pair has
    none (NaN).
    """

    scratch: str
    arm: str
    params: float
    tokens_per_param: float
    n: int
    read_at_end: str  # `grown`, `scratch` or `either`
    loss: float  # mean over the pairs
    whole: Estimate
    target: Estimate | None


def pairs_of(family: Family, curves: pd.DataFrame) -> list[Pair]:
    """Pair every grown run with the scratch run of its size and seed that is nearest in FLOPs.

    Args:
        family: the arms.
        curves: a table with `CURVE_COLUMNS`.
    """
    by_point = {
        str(name): _validated(rows) for name, rows in curves.groupby("point_id", sort=False)
    }
    rows = family.runs.assign(
        tokens_per_param=scratch_tokens_per_param(family, family.runs),
        has_curve=[by_point.get(name, NO_CURVE)[0].size > 0 for name in family.runs["point_id"]],
    )
    grown = where(rows, is_grown(rows))
    scratch = where(rows, ~is_grown(rows))
    return [_pair(family.scratch, run, scratch, by_point) for run in grown.to_dict("records")]


def over_seeds(pairs: list[Pair], level: float) -> list[PairsGain]:
    """Average the pairs of each arm, size and length; those without a gain are left out."""
    found: dict[tuple[str, float, float], list[Pair]] = {}
    for pair in pairs:
        if not pair.why_not:
            # Equal plans give equal numbers; the rounding is that of a table's decimals.
            ratio = float(f"{pair.tokens_per_param:.3g}")
            found.setdefault((pair.arm, pair.params, ratio), []).append(pair)
    return [_mean(own, level) for own in found.values()]


def first_reach(flops: Array, losses: Array, target: float) -> float | None:
    """Find the FLOPs at which a curve first came down to a loss, on a straight line in log FLOPs
    between the steps around it; None where its first step lies below already, or it never does.

    Args:
        flops: [n], ascending.
        losses: [n] validation losses.
        target: the loss.
    """
    below = np.flatnonzero(losses <= target)
    if not below.size or below[0] == 0:
        return None
    i = int(below[0])
    part = (losses[i - 1] - target) / (losses[i - 1] - losses[i])
    return math.exp(np.log(flops[i - 1]) + part * np.log(flops[i] / flops[i - 1]))


def _validated(curve: pd.DataFrame) -> Curve:
    """Give the FLOPs and validation losses of a curve in the order of its steps."""
    rows = where(curve, np.isfinite(numbers(curve, "val_loss"))).sort_values("step", kind="stable")
    return numbers(rows, "train_flops"), numbers(rows, "val_loss")


def _pair(arm: str, run: dict[str, Any], scratch: pd.DataFrame, curves: dict[str, Curve]) -> Pair:
    same_seed = np.asarray(scratch["seed"] == run["seed"])
    if math.isnan(run["seed"]):
        same_seed = np.asarray(scratch["seed"].isna())
    twins = where(scratch, same_seed & np.asarray(scratch["params"] == run["params"]))
    drawn = where(twins, twins["has_curve"])
    found = Pair(
        arm, run["arm"], run["point_id"], "", float(run["params"]), float(run["tokens_per_param"])
    )
    if twins.empty:
        return replace(found, why_not="no run from scratch of its size and seed")
    if drawn.empty or not run["has_curve"]:
        whose = "its scratch run" if run["has_curve"] else "it"
        return replace(found, why_not=f"no training curve of {whose}")
    apart = np.abs(np.log(numbers(drawn, "train_flops") / run["train_flops"]))
    twin = str(drawn["point_id"].iloc[int(apart.argmin())])
    base = float(run["base_train_flops"])
    return _at_one_loss(
        replace(found, scratch_id=twin), curves[run["point_id"]], curves[twin], base
    )


def _at_one_loss(pair: Pair, grown: Curve, scratch: Curve, base: float) -> Pair:
    """Compare the two curves at the higher of their final losses, the grown one after it grew."""
    after = ~(grown[0] <= base)  # all steps where the base is not known
    if not after.any():
        return replace(pair, why_not="it was not validated after it grew")
    grown = grown[0][after], grown[1][after]
    at_end = "grown" if grown[1][-1] >= scratch[1][-1] else "scratch"
    loss = float(max(grown[1][-1], scratch[1][-1]))
    ours = float(grown[0][-1]) if at_end == "grown" else first_reach(*grown, loss)
    theirs = float(scratch[0][-1]) if at_end == "scratch" else first_reach(*scratch, loss)
    pair = replace(pair, loss=loss, read_at_end=at_end)
    if ours is None or theirs is None:
        began = "its scratch run began" if at_end == "grown" else "it began, once grown,"
        return replace(pair, why_not=f"{began} below that loss; validate more often")
    return replace(
        pair, log_whole=math.log(theirs / ours), log_target=math.log(theirs / (ours - base))
    )


def _mean(pairs: list[Pair], level: float) -> PairsGain:
    first = pairs[0]
    ends = {pair.read_at_end for pair in pairs}
    target = np.array([pair.log_target for pair in pairs])
    return PairsGain(
        scratch=first.scratch,
        arm=first.arm,
        params=first.params,
        tokens_per_param=first.tokens_per_param,
        n=len(pairs),
        read_at_end=ends.pop() if len(ends) == 1 else "either",
        loss=float(np.mean([pair.loss for pair in pairs])),
        whole=_over(np.array([pair.log_whole for pair in pairs]), level),
        target=_over(target, level) if np.isfinite(target).all() else None,
    )


def _over(logs: Array, level: float) -> Estimate:
    """Compute the geometric mean and Student's interval of it; NaN for the interval of one."""
    mean = float(logs.mean())
    if logs.size == 1:
        return Estimate(math.exp(mean), math.nan, math.nan)
    half = float(stdtrit(logs.size - 1, 0.5 + level / 2) * logs.std(ddof=1) / math.sqrt(logs.size))
    return Estimate(math.exp(mean), math.exp(mean - half), math.exp(mean + half))
