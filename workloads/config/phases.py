"""The phases of a run: which model trains in which of its optimizer steps.

A plain run has one phase. A self-guided run has two: the model with its guide, then the model
alone. A grown run has one for each of its models. Planning, budgets, training and resuming read
this list, and know no method by name; a method that trains one model after another is one more list
in `phases_of`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from workloads.config.model import GrowthConfig, ModelConfig

# What turns the model of one phase into the model of the next (`workloads.training.phases`).
Entry = Literal["drop_guide", "grow", "learn", "multiply_out"]


@dataclass(frozen=True)
class Phase:
    """Consecutive optimizer steps in which one model trains; `start` counts the steps before them.

    `model` has its guide where the phase is guided, and what one of its tokens costs follows from
    it. `entry` is None in the first phase. After `drop_guide` the optimizer keeps its state of
    every parameter that both models have; after `grow` the model's `growth` says what it keeps.
    The phase of `learn` trains matrices by the loss of the model that they make of the frozen base;
    `multiply_out` makes them that model's weights, and the optimizer starts anew in both.

    The learning rate follows the schedule of the steps from `schedule_start` to the run's end, with
    the peak `learning_rate`, or the run's; it rises to it in the first `rewarmup_steps` of the
    phase. Without a `schedule_start` it is the peak. A phase is `fixed` where its start does not
    depend on how long the run is.
    """

    model: ModelConfig
    start: int
    steps: int
    entry: Entry | None = None
    schedule_start: int | None = 0
    rewarmup_steps: int = 0
    learning_rate: float | None = None
    fixed: bool = False

    @property
    def end(self) -> int:
        """Steps of the run up to the end of the phase."""
        return self.start + self.steps

    @property
    def learned_growth(self) -> GrowthConfig | None:
        """The growth whose matrices the phase trains; None where it trains a model's weights."""
        return self.model.growth if self.entry == "learn" else None

    def steps_among(self, first: int) -> int:
        """Count the steps of the phase among the `first` steps of the run."""
        return min(max(first - self.start, 0), self.steps)


def phases_of(model: ModelConfig, fresh_steps: int) -> tuple[Phase, ...]:
    """Return the phases of a run with so many fresh steps, steps that read text for the first time.

    A guide in mode `fixed_flops` adds as many steps at the end as it guides. The last phase has no
    step where a guide stays to the end.
    """
    if model.growth is not None:
        return _grown_phases(model, model.growth, fresh_steps)
    guide = model.guide
    if guide is None:
        return (Phase(model, start=0, steps=fresh_steps),)
    guided = int(guide.ratio * fresh_steps)
    repeated = guided if guide.mode == "fixed_flops" else 0
    alone = model.model_copy(update={"guide": None})
    return (
        Phase(model, start=0, steps=guided),
        Phase(alone, start=guided, steps=fresh_steps - guided + repeated, entry="drop_guide"),
    )


def _grown_phases(model: ModelConfig, growth: GrowthConfig, fresh_steps: int) -> tuple[Phase, ...]:
    """Return the phases of the base up to the growth, that of the growth's matrices if it has any,
    and that of the grown model."""
    start = min(growth.start(fresh_steps), fresh_steps)
    before = [
        replace(
            phase,
            steps=phase.steps_among(start),
            learning_rate=phase.learning_rate or growth.base_learning_rate,
        )
        for phase in phases_of(growth.base, fresh_steps)
        if phase.start < start
    ]
    fixed = growth.at_step is not None
    learned = min(growth.learn_steps or 0, fresh_steps - start)
    if learned:
        before.append(Phase(model, start, learned, entry="learn", schedule_start=None, fixed=fixed))
        start += learned
    grown = Phase(
        model,
        start=start,
        steps=fresh_steps - start,
        entry="multiply_out" if learned else "grow",
        schedule_start=start if growth.schedule == "restart" else 0,
        rewarmup_steps=growth.rewarmup_steps,
        fixed=fixed,
    )
    return (*before, grown)


def text_step(step: int, fresh_steps: int, text_starts: Sequence[int] = ()) -> int:
    """Return the step of the text's order that the 0-based optimizer `step` of a run reads.

    From each of `text_starts` on the run reads the text from its start; steps beyond the fresh ones
    read the first text again.
    """
    start = max((start for start in text_starts if start <= step), default=0)
    return (step - start) % fresh_steps


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """Return the phase that trains on after `step` steps; at the end of the run the last one."""
    return [phase for phase in phases if phase.start <= step][-1]
