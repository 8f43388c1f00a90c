"""One run, fully resolved: everything that determines its result, and how it executes.

`RunConfig` is what the trainer takes. Nothing here imports torch, so that planning works on any
laptop.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import (
    NonNegativeInt,
    PositiveInt,
    model_validator,
)

from workloads.config.model import ModelConfig
from workloads.data.config import DataConfig
from workloads.optim.config import OptimizerConfig
from workloads.schema.base import Config


class RuntimeConfig(Config):
    """How a run executes; nothing here changes its result beyond floating-point rounding."""

    micro_batch_size: PositiveInt = 16
    """Sequences of one forward pass, per worker."""
    log_interval: PositiveInt = 10
    """Optimizer steps between recorded rows."""
    eval_interval: PositiveInt = 100
    """Optimizer steps between evaluations."""
    checkpoint_interval: PositiveInt = 100
    """Optimizer steps between checkpoints."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Several workers hold a copy of the model each (`ddp`) or a shard (`fsdp`)."""
    compile: bool | None = None
    """Compile the model; left out, on CUDA devices only."""
    activation_checkpointing: NonNegativeInt = 0
    """Recompute the activations of every k-th layer in the backward pass; of none at 0."""

    def recomputed_layers(self, num_layers: int) -> range:
        """Return the indices of the layers whose activations the backward pass recomputes."""
        every = self.activation_checkpointing
        return range(0, num_layers, every) if every else range(0)


class RunConfig(Config):
    """One training run. `batch_size` is in sequences per optimizer step, over all workers.

    `steps` read fresh tokens; a guide in mode `fixed_flops` adds steps that read some again.
    """

    model: ModelConfig
    data: DataConfig
    optimizer: OptimizerConfig
    batch_size: PositiveInt
    steps: PositiveInt
    seed: NonNegativeInt
    eval_tokens: PositiveInt
    runtime: RuntimeConfig = RuntimeConfig()

    @property
    def tokens_per_step(self) -> int:
        return self.batch_size * self.model.block_size

    @property
    def tokens(self) -> int:
        """Tokens of text trained on, exactly; those that are read again count once."""
        return self.tokens_at(self.total_steps)

    @property
    def guided_steps(self) -> int:
        """Optimizer steps with the guide, the first of the run; 0 without one."""
        return int(self.model.guide.ratio * self.steps) if self.model.guide else 0

    @property
    def total_steps(self) -> int:
        """Optimizer steps, with those that read tokens again; schedules run over these."""
        guide = self.model.guide
        repeated = self.guided_steps if guide and guide.mode == "fixed_flops" else 0
        return self.steps + repeated

    @property
    def stable_steps(self) -> int:
        """Steps, the first of the run, that do not depend on how many there are in all.

        Under `constant` all, under `wsd` those before the decay, under cosine none. A guide's
        share falls over a part of all steps: there are none with it.
        """
        shared = self.optimizer.schedule != "cosine" and not self.model.guide
        return self.optimizer.decay_start(self.total_steps) if shared else 0

    def micro_batch(self, workers: int) -> int | None:
        """Return how many sequences one forward pass takes on each of `workers` workers.

        None where a worker's share of the batch is not a whole number of equal micro-batches.
        """
        rows, remainder = divmod(self.batch_size, workers)
        micro = min(self.runtime.micro_batch_size, rows)
        return None if remainder or rows % micro else micro

    def tokens_at(self, step: int) -> int:
        """Tokens of text trained on after `step` optimizer steps."""
        return min(step, self.steps) * self.tokens_per_step

    @model_validator(mode="after")
    def _evaluates_something(self) -> Self:
        if self.eval_tokens < self.model.block_size:
            raise ValueError(
                f"eval_tokens {self.eval_tokens} is less than one sequence of "
                f"{self.model.block_size} tokens; raise it"
            )
        return self

    @model_validator(mode="after")
    def _warms_up_before_it_decays(self) -> Self:
        warmup, steps = self.optimizer.warmup_steps or 0, self.total_steps
        if warmup > (start := self.optimizer.decay_start(steps)):
            raise ValueError(
                f"optimizer.warmup_steps {warmup} is more than the first {start} of {steps} steps, "
                "when the rate decays or the run ends; lower it, or raise the budget"
            )
        return self

    @model_validator(mode="after")
    def _guides_a_step(self) -> Self:
        if self.model.guide and not self.guided_steps:
            raise ValueError(
                f"guide.ratio {self.model.guide.ratio:g} of {self.steps} steps is less than one "
                f"step; use {1 / self.steps:.2g} or more, or a larger budget"
            )
        return self
