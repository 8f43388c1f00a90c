"""Learning-rate schedules. A new one is a function and a row of `SCHEDULES`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from workloads.optim.config import OptimizerConfig


class Place(NamedTuple):
    """The place of a step in its run: the 0-based `step`, and how far the run is, `at` of `length`.

    Where a number of steps ends the run, `at` is the step and `length` the number. Where a clock
    does, they are parts of its time: a schedule so has as many as it would have steps, and the last
    of them is the last step.
    """

    step: int
    at: float
    length: int


# Parts of a clock's time: so many that a schedule has no steps to be seen.
PARTS = 2**40


class Schedule(NamedTuple):
    """One schedule: the fields of an optimizer that it takes, and the rate at a place of the run.

    `opening` names the schedule whose rates its first steps have, however many steps follow before
    a decay: a longer run continues a shorter one there. None where the first steps depend on the
    length.
    """

    fields: frozenset[str]
    rate: Callable[[Place, OptimizerConfig], float]
    opening: str | None = None


def learning_rate(
    step: int, steps: int, config: OptimizerConfig, share: float | None = None
) -> float:
    """Return the rate of 0-based `step` under the schedule of the configuration.

    The run has so many `steps`; where a clock ends it, `share` of its time is spent at the step's
    end, from 0 to 1 at the last step. A warm-up in steps is in steps under a clock, too.
    """
    if share is None:
        place = Place(step, step, steps)
    else:
        place = Place(step, max(0.0, share * PARTS - 1), PARTS)
    return SCHEDULES[config.schedule].rate(place, config)


def _cosine(place: Place, config: OptimizerConfig) -> float:
    """With W = int(warmup_fraction S): peak (step + 1)/W, then min + (peak - min)(1 + cos(pi
    (step - W)/(S - W)))/2 (arXiv 2406.16450, experimental setup)."""
    peak, floor = config.learning_rate, config.floor
    warmup = int(config.warmup_fraction * place.length)
    if place.at < warmup:
        return peak * (place.at + 1) / warmup
    progress = (place.at - warmup) / (place.length - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def _constant(place: Place, config: OptimizerConfig) -> float:
    """With W = warmup_steps: peak (step + 1)/W, then the peak."""
    warmup = config.warmup_steps or 0
    if place.step < warmup:
        return config.learning_rate * (place.step + 1) / warmup
    return config.learning_rate


def _wsd(place: Place, config: OptimizerConfig) -> float:
    """As `constant` before D = S - max(1, round(decay_fraction S)), then min + (peak - min)(1 -
    (step - D)/(S - D)): warm-up, stable, decay (Hu et al. 2024, arXiv 2404.06395, section 4, with
    a linear decay)."""
    start = config.decay_start(place.length)
    if place.at < start:
        return _constant(place, config)
    progress = (place.at - start) / (place.length - start)
    return config.floor + (config.learning_rate - config.floor) * (1 - progress)


def _inverse_sqrt(place: Place, config: OptimizerConfig) -> float:
    """With W = warmup_steps: peak (step + 1)/W, then peak sqrt(W/(step + 1)) (Vaswani et al. 2017,
    arXiv 1706.03762, section 5.3); without a warm-up as after one of 1 step."""
    warmup = max(config.warmup_steps or 0, 1)
    done = place.step + 1
    return config.learning_rate * min(done / warmup, math.sqrt(warmup / done))


def _onecycle(place: Place, config: OptimizerConfig) -> float:
    """With P = warmup_fraction S - 1: half a cosine from the initial rate at step 0 to the peak at
    step P, and half a cosine from there to the lowest rate at the last step (Smith and Topin 2017,
    arXiv 1708.07120, in the annealing of torch's OneCycleLR)."""
    peak, last = config.learning_rate, place.length - 1
    peak_at = config.warmup_fraction * place.length - 1
    if place.at <= peak_at:
        start, end = config.initial_learning_rate_ratio * peak, peak
        progress = place.at / peak_at if peak_at else 1.0
    else:
        start, end = peak, config.floor
        progress = (place.at - peak_at) / (last - peak_at)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * progress))


# A warm-up in steps is the same for longer runs that continue shorter ones.
SCHEDULES: dict[str, Schedule] = {
    "cosine": Schedule(frozenset({"warmup_fraction", "min_learning_rate_ratio"}), _cosine),
    "constant": Schedule(frozenset({"warmup_steps"}), _constant, opening="constant"),
    "wsd": Schedule(
        frozenset({"warmup_steps", "decay_fraction", "min_learning_rate_ratio"}),
        _wsd,
        opening="constant",
    ),
    "inverse_sqrt": Schedule(frozenset({"warmup_steps"}), _inverse_sqrt, opening="inverse_sqrt"),
    "onecycle": Schedule(
        frozenset({"warmup_fraction", "initial_learning_rate_ratio", "min_learning_rate_ratio"}),
        _onecycle,
    ),
}
SCHEDULE_FIELDS = frozenset[str]().union(*(row.fields for row in SCHEDULES.values()))
