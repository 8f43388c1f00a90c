"""What a run's schedules give at each of its steps: the learning rate and the guide weight."""

from __future__ import annotations

import math

from workloads.config.model import GuideConfig
from workloads.config.phases import Phase
from workloads.config.run import RunConfig
from workloads.optim.schedules import learning_rate


def learning_rate_at(
    config: RunConfig, phase: Phase, step: int, share: float | None = None
) -> float:
    """Return the learning rate of the 0-based `step`, which lies in the phase.

    `share` is that of the budget which is spent at its end, where a clock ends the run.
    """
    optimizer = config.optimizer
    if phase.schedule_start is None:
        return optimizer.learning_rate
    if phase.learning_rate is not None:
        optimizer = optimizer.model_copy(update={"learning_rate": phase.learning_rate})
    start = phase.schedule_start
    scheduled = learning_rate(step - start, config.total_steps - start, optimizer, share)
    done = step - phase.start + 1
    return scheduled * min(1.0, done / phase.rewarmup_steps) if phase.rewarmup_steps else scheduled


def guide_weight(step: int, guided_steps: int, guide: GuideConfig) -> float:
    """Return the guide weight a after `step` optimizer steps, from 1 to 0.

    It is (1 + cos(pi step/guided_steps))/2 (arXiv 2406.16450, section 4), or linear.
    """
    progress = min(1.0, step / guided_steps)
    if guide.schedule == "linear":
        return 1 - progress
    return (1 + math.cos(math.pi * progress)) / 2
