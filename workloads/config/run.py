"""One run, fully resolved: everything that determines its result, and how it executes.

`RunConfig` is what the trainer takes. Nothing here imports torch, so that planning works on any
laptop.
"""

from __future__ import annotations

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from workloads.config.clock import ClockConfig
from workloads.config.model import GrowthConfig, ModelConfig
from workloads.config.phases import Phase, phases_of, text_step
from workloads.config.runtime import RuntimeConfig
from workloads.data.config import AnyTextField, EvalSets, MixtureConfig
from workloads.data.dataset import rows_too_short
from workloads.data.manifest import SPLITS, SplitName, TextSize, too_short
from workloads.errors import Misfit
from workloads.optim.kinds import AnyOptimizerConfig
from workloads.schema.base import BatchSize, Config, Seed
from workloads.schema.rounding import rounded_up

# More steps than any clock lets be taken.
ENDLESS = 2**40


class RunConfig(Config):
    """One training run. `batch_size` is in sequences per optimizer step, over all workers."""

    model: ModelConfig
    data: AnyTextField
    optimizer: AnyOptimizerConfig
    batch_size: BatchSize
    steps: PositiveInt
    """Fresh steps: optimizer steps that read text for the first time. The run's phases may add
    steps that read the first text again (`total_steps`). Where a clock ends the run, those
    that are expected of it, or that it took."""
    seed: Seed
    eval_tokens: PositiveInt
    runtime: RuntimeConfig = RuntimeConfig()
    eval_sets: EvalSets = Field(default_factory=dict)
    """Texts whose validation splits are evaluated beside the data's own."""
    clock: ClockConfig | None = None
    """What ends the run in place of a number of steps."""

    def lasting(self, steps: int) -> RunConfig:
        """Return the run with so many fresh steps."""
        return self.model_copy(update={"steps": steps})

    @property
    def without_end(self) -> RunConfig:
        """The run as it is trained: where a clock ends it, no number of steps does."""
        return self.lasting(ENDLESS) if self.clock else self

    @property
    def phases(self) -> tuple[Phase, ...]:
        """The run's phases, in order, with which model trains in each."""
        return phases_of(self.model, self.steps)

    @property
    def tokens_per_step(self) -> int:
        """Tokens of one optimizer step, over all workers."""
        return self.batch_size * self.model.block_size

    @property
    def tokens(self) -> int:
        """Tokens of text trained on, exactly; tokens that are read again count once."""
        return self.tokens_at(self.total_steps)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of all phases; schedules run over these."""
        return self.phases[-1].end

    @property
    def stable_steps(self) -> int:
        """Number of first steps that are the same whatever the length of the run.

        Under `constant` and `inverse_sqrt` these are all steps, under `wsd` those before the decay,
        under `cosine` and `onecycle` none. Nor has a run a phase of which begins earlier or later
        in a longer run, because it is guided, or grows at a fraction of its steps; nor one that a
        clock ends, whose steps no other run repeats.
        """
        if self.clock:
            return 0
        if any(phase.entry and not phase.fixed for phase in self.phases):
            return 0
        for phase in self.phases:
            if (start := phase.schedule_start) is not None:
                stable = start + self.optimizer.stable_steps(self.total_steps - start)
                if stable < phase.end:
                    return max(stable, phase.start)
        return self.total_steps

    def cannot_offload(self, offload: str) -> str:
        """Return why the run cannot have this `runtime.offload`, and the remedy; empty where it
        can."""
        if offload != "none" and not self.optimizer.steps_on_cpu:
            kind = self.optimizer.written_words()[0]
            return (
                f"offload: {offload} has the CPU take the optimizer's step, and that of {kind} is "
                "products of matrices, which need the device; set offload: none, or another "
                "optimizer.kind"
            )
        if offload == "all" and any(phase.learned_growth for phase in self.phases):
            return (
                "offload: all keeps the weights in CPU memory, and a growth with learn_steps "
                "multiplies them out on the device; set offload: optimizer"
            )
        return ""

    def micro_batch(self, workers: int) -> int | None:
        """Return how many sequences one forward pass takes on each of `workers` workers.

        None where a worker's part of the batch is not a whole number of equal micro-batches.
        """
        rows, remainder = divmod(self.batch_size, workers)
        micro = min(self.runtime.micro_batch_size, rows)
        return None if remainder or rows % micro else micro

    def require_micro_batch(self, workers: int) -> int:
        """Return `micro_batch`. Raises Misfit, with the remedy, where there is none."""
        micro = self.micro_batch(workers)
        if micro is None:
            raise Misfit(
                f"batch_size {self.batch_size} must divide evenly into {workers} workers' "
                f"micro-batches of {self.runtime.micro_batch_size}; change batch_size, "
                "runtime.micro_batch_size or the number of workers",
                *("batch_size", "runtime.micro_batch_size", "resources.num_workers"),
            )
        return micro

    def require_text(
        self,
        text: TextSize,
        row_tokens: int | None = None,
        splits: tuple[SplitName, ...] = SPLITS,
        name: str = "data",
    ) -> None:
        """Raise Misfit, with the remedy, where the model cannot read these splits of a text of this
        size, whose rows have `row_tokens` where it has rows. `name` is its place in the file."""
        subject = "the data has" if name == "data" else f"{name} has"
        if text.vocab_size > self.model.vocab_size:
            raise Misfit(
                f"{subject} {text.vocab_size} token ids and the model's vocab_size is "
                f"{self.model.vocab_size}; choose {text.vocab_size} or more: "
                f"model: {{vocab_size: {text.vocab_size}}}",
                *("model.vocab_size", "model", name),
            )
        block_size = self.model.block_size
        if row_tokens and row_tokens <= block_size:
            raise Misfit(rows_too_short(row_tokens, block_size), "model.block_size", name)
        for split in splits:
            if (tokens := text.tokens(split)) <= block_size:
                problem = too_short(split, tokens, block_size)
                within = [f"{name}.val_fraction", f"{name}.path", name]
                fields = ["model.block_size", *within] if tokens else within
                raise Misfit(problem if name == "data" else f"{name}: {problem}", *fields)

    def tokens_at(self, step: int) -> int:
        """Return the tokens of text trained on after `step` optimizer steps, those that are read
        again counted once."""
        starts = [0, *(start for start in self.text_starts if start < step)]
        most = max(end - start for start, end in zip(starts, [*starts[1:], step], strict=True))
        return min(most, self.steps) * self.tokens_per_step

    @property
    def text_starts(self) -> tuple[int, ...]:
        """The steps, counted from 0, that read the text from its start again after a growth."""
        growths = [growth for growth in self.model.growths if growth.data == "restart"]
        return tuple(growth.start(self.steps) for growth in growths)

    def text_step(self, step: int) -> int:
        """Return the step of the text's order that the 0-based optimizer `step` reads."""
        return text_step(step, self.steps, self.text_starts)

    @model_validator(mode="after")
    def _has_one_phase_by_the_clock(self) -> Self:
        if self.clock and (self.model.guide or self.model.growth):
            part, verb = ("guide", "guided") if self.model.guide else ("grow", "grown")
            raise Misfit(
                f"a model is {verb} for a part of the run's steps, and nobody knows ahead how many "
                f"a budget of wall_seconds has; give it in tokens, steps or train_flops, or remove "
                f"{part}",
                *(part, "budget.wall_seconds", "budget"),
            )
        return self

    @model_validator(mode="after")
    def _evaluates_something(self) -> Self:
        parts = len(self.data.weights) if isinstance(self.data, MixtureConfig) else 1
        if self.eval_tokens < parts * self.model.block_size:
            each = " of each source" if parts > 1 else ""
            raise Misfit(
                f"eval_tokens {self.eval_tokens} is less than one sequence of "
                f"{self.model.block_size} tokens{each}; raise it",
                *("eval_tokens", "model.block_size"),
            )
        return self

    @model_validator(mode="after")
    def _offloads_what_it_can(self) -> Self:
        if problem := self.cannot_offload(self.runtime.offload):
            raise Misfit(problem, "runtime.offload")
        return self

    @model_validator(mode="after")
    def _warms_up_before_it_decays(self) -> Self:
        warmup = self.optimizer.warmup_steps or 0
        for phase in () if self.clock else self.phases:
            if phase.schedule_start is None:
                continue
            steps = self.total_steps - phase.schedule_start
            if warmup > (start := self.optimizer.decay_start(steps)):
                raise Misfit(
                    f"optimizer.warmup_steps {warmup} is more than the first {start} of {steps} "
                    "steps, when the rate decays or the run ends; lower it, or raise the budget",
                    "optimizer.warmup_steps",
                )
        return self

    @model_validator(mode="after")
    def _grows_within_its_steps(self) -> Self:
        growth, before = self.model.growth, self.steps
        index = len(self.model.growths)
        while growth is not None:
            index -= 1
            start = growth.start(self.steps)
            if 0 < start < before <= growth.end(self.steps):
                works = before - start - 1
                raise Misfit(
                    f"learn_steps {growth.learn_steps} after step {start} leave the grown model no "
                    f"step of the first {before}; "
                    + (f"the most that do are {works}" if works else "grow earlier"),
                    *(f"grow.{index}.learn_steps", "grow.learn_steps", "grow"),
                )
            if not 0 < start < before:
                raise Misfit(
                    f"grow.at is after {start} steps, and the model has to grow within the first "
                    f"{before - 1} of them; {self._growing_works(growth, start, before)}",
                    *(f"grow.{index}.at", "grow.at", "grow"),
                )
            growth, before = growth.base.growth, start
        return self

    def _growing_works(self, growth: GrowthConfig, start: int, before: int) -> str:
        """Return the time nearest to `start`, before the step `before`, at which the model can
        grow, as a remedy."""
        works = min(max(start, 1), before - 1)
        if not works:
            return "raise the budget"
        said = f"the nearest that works is {works}, after {works * self.tokens_per_step} tokens"
        if growth.at_fraction is None:
            return said
        written = (rounded_up(works / self.steps, digits) for digits in range(1, 17))
        fraction = next((x for x in written if int(x * self.steps) == works), works / self.steps)
        return f"{said}: fraction {fraction:.16g}"

    @model_validator(mode="after")
    def _guides_a_step(self) -> Self:
        if self.model.guide and not self.phases[0].steps:
            raise Misfit(
                f"guide.ratio {self.model.guide.ratio:g} of {self.steps} steps is less than one "
                f"step; use {rounded_up(1 / self.steps, 2):g} or more, or a larger budget",
                "guide.ratio",
            )
        return self
