"""The course of a run: what its budget says of each step before the step is taken.

Most budgets are a number of steps. A budget in seconds is spent by a clock, and the schedule goes
by the share of it that is spent at a step's end, as the steps before let expect. The step after
which there is no time for another is the last one: it is taken at share 1, whatever its true end.
So a run ends at the final rate of its schedule, less than a step before the time is up, or up to a
step after it where the machine was slower than it had been.

The first worker holds the clock and tells the others, so that all take the same rate and end
together. The first step of an attempt loads kernels and compiles; that time counts, because it is a
part of what training takes. What passes between two attempts does not count.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch

from workloads.config.clock import ClockConfig
from workloads.config.run import RunConfig
from workloads.run_dir.spent_seconds import record_spent, spent_seconds
from workloads.training import parallel
from workloads.training.checkpoint import Progress

Activity = Literal["step", "evaluation", "checkpoint"]
# How many of the last steps say how long the next one takes: their median.
RECENT = 5
# What an evaluation takes for each token, over what a training step does: a forward pass alone.
EVALUATION_SHARE = 1 / 3


class Turn(NamedTuple):
    """What the budget says of a step: whether it is the last one, is evaluated and is saved.

    `share` is the part of a budget in seconds that is spent at its end; None where the schedule
    goes by the number of steps.
    """

    share: float | None
    last: bool
    evaluates: bool
    saves: bool


class Course:
    """The course of a run that ends after a number of steps."""

    share = 0.0
    """The share of the budget in seconds at which the last step was taken."""
    remarks: Mapping[str, Any] = MappingProxyType({})
    """What the record of the run says of its budget."""

    def __init__(self, config: RunConfig) -> None:
        self._runtime = config.runtime
        # One is the step from which a longer run may go on.
        self._steps, self._stable_steps = config.total_steps, config.stable_steps

    def turn(self, step: int) -> Turn | None:
        """Return what the budget says of a step, counted from 1; None where the run has ended."""
        if step > self._steps:
            return None
        last = step == self._steps
        evaluates = last or step % self._runtime.eval_interval == 0
        return Turn(None, last, evaluates, last or step == self._stable_steps or self._saves(step))

    @contextmanager
    def timed(self, activity: Activity) -> Iterator[None]:
        """Return a context in which an activity of the run is timed."""
        yield

    @property
    def spent(self) -> float:
        """Seconds of the budget that all attempts have spent; 0 where no clock ends the run."""
        return 0.0

    def _saves(self, step: int) -> bool:
        return step % self._runtime.checkpoint_interval == 0


class TimedCourse(Course):
    """The course of a run that a clock ends."""

    remarks = MappingProxyType(
        {"repeatable": "no: a clock ends the run, and how many steps fit depends on the machine"}
    )

    def __init__(
        self,
        config: RunConfig,
        clock: ClockConfig,
        run_dir: Path,
        start: Progress,
        device: torch.device,
    ) -> None:
        super().__init__(config)
        self._clock, self._run_dir, self._device = clock, run_dir, device
        self.share = start.share
        spent = max(start.spent_seconds, spent_seconds(run_dir))
        self._of_steps, self._origin = spent, time.perf_counter() - spent
        self._recent: dict[Activity, deque[float]] = {
            "step": deque(maxlen=RECENT),
            "evaluation": deque(maxlen=1),
            "checkpoint": deque(maxlen=1),
        }
        self._usual_step = spent / start.step if start.step else 0.0
        evaluated = config.eval_tokens * (1 + len(config.eval_sets))
        self._steps_of_evaluation = EVALUATION_SHARE * evaluated / config.tokens_per_step

    def turn(self, step: int) -> Turn | None:
        if self.share == 1.0:
            return None
        decided = self._decide(step) if parallel.rank() == 0 else Turn(0.0, False, False, False)
        numbers = [float(value or 0) for value in decided]
        self.share, *flags = parallel.from_first(numbers, self._device)
        return Turn(self.share, *map(bool, flags))

    @contextmanager
    def timed(self, activity: Activity) -> Iterator[None]:
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self._recent[activity].append(seconds)
        if activity == "step":
            self._of_steps += seconds
            if parallel.rank() == 0:
                record_spent(self._run_dir, self.spent)

    @property
    def spent(self) -> float:
        everything = self._clock.counts == "everything"
        return time.perf_counter() - self._origin if everything else self._of_steps

    def _decide(self, step: int) -> Turn:
        """Return the turn of a step by this worker's clock."""
        one = self._expected("step")
        evaluation, saving = self._counted("evaluation"), self._counted("checkpoint")
        ends = self.spent + one
        # Until when steps have time: the last one is evaluated and saved.
        limit = self._clock.seconds - evaluation - saving
        last = ends + one >= limit
        # Nor is there an evaluation or a checkpoint that the last one would have no time after.
        evaluates = last or (
            step % self._runtime.eval_interval == 0 and ends + evaluation + one < limit
        )
        saves = last or (self._saves(step) and ends + evaluates * evaluation + saving + one < limit)
        # A step that was expected to take longer than it did takes the schedule no step back.
        return Turn(1.0 if last else max(self.share, ends / limit), last, evaluates, saves)

    def _counted(self, activity: Activity) -> float:
        """Return the seconds that an activity is expected to take of the budget."""
        return self._expected(activity) if self._clock.counts == "everything" else 0.0

    def _expected(self, activity: Activity) -> float:
        """Return the seconds that an activity is expected to take; 0 where nothing is known."""
        if recent := self._recent[activity]:
            return statistics.median(recent)
        if activity == "evaluation":
            return self._steps_of_evaluation * self._expected("step")
        return self._usual_step if activity == "step" else 0.0


def course_of(config: RunConfig, run_dir: Path, start: Progress, device: torch.device) -> Course:
    """Return the course of a run that goes on from `start`."""
    if config.clock is None:
        return Course(config)
    return TimedCourse(config, config.clock, run_dir, start, device)
