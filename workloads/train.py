"""Train one run: one plain loop from the first step to the result, resumable anywhere.

The data of a step is a pure function of (seed, step), and a checkpoint holds everything else, so
a run killed and resumed gives the losses of one that was not, bit for bit on CPU. Knows nothing
of Ray or MLflow: the caller passes `report`, and sets up the process group if there are workers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel

from workloads import checkpoint
from workloads.checkpoint import Progress
from workloads.config import RunConfig, fingerprint, identity
from workloads.data.loader import BatchLoader, eval_batches
from workloads.data.shards import TokenDataset
from workloads.errors import InputError
from workloads.flops import train_flops_per_token
from workloads.hardware import environment, training_device
from workloads.model import Transformer, next_token_loss
from workloads.optim import build_optimizer, learning_rate
from workloads.record import (
    EndStatus,
    MetricsLog,
    Result,
    Row,
    claim,
    exclusive,
    read_result,
)

CHECKPOINT_FOLDER = "checkpoints"
# How long a successor waits for the workers of a killed driver to go; Ray takes a few seconds.
TAKEOVER_SECONDS = 60.0


def train(
    config: RunConfig,
    dataset: TokenDataset,
    run_dir: Path,
    report: Callable[[Row], None] = lambda row: None,
) -> Result:
    """Train, or go on from the latest checkpoint in `run_dir`; return how the run ended.

    `report` gets each evaluation on every worker, as a row with step, tokens, train_flops and
    val_loss (nats per token). A run that has already ended is returned as it ended. Raises
    InputError when the data does not fit the model or `run_dir` belongs to another run.
    """
    run_id = fingerprint(identity(config, dataset.fingerprint))
    if ended := read_result(run_dir, run_id):
        return ended
    with exclusive(run_dir, TAKEOVER_SECONDS) if _rank() == 0 else nullcontext():
        result = _Trainer(config, dataset, run_dir, run_id).loop(report)
        if _rank() == 0:
            result.write(run_dir)
    return result


class _Trainer:
    """One run's model, optimizer and data, and the loop over its steps."""

    def __init__(
        self, config: RunConfig, dataset: TokenDataset, run_dir: Path, run_id: str
    ) -> None:
        if dataset.vocab_size > config.model.vocab_size:
            raise InputError(
                f"the data has {dataset.vocab_size} token ids and the model's vocab_size is "
                f"{config.model.vocab_size}; choose a preset with at least as many"
            )
        self.config, self.dataset, self.run_dir, self.run_id = config, dataset, run_dir, run_id
        self.micro_batches = _micro_batches(config)
        self.device = training_device()
        torch.manual_seed(config.seed)
        self.model = Transformer(config.model).to(self.device)
        self.optimizer = build_optimizer(self.model, config.optimizer)
        self.parallel = DistributedDataParallel(self.model) if _world_size() > 1 else None
        self.loader = BatchLoader(
            dataset.split("train"), config.model.block_size, config.batch_size, config.seed
        )

    def loop(self, report: Callable[[Row], None]) -> Result:
        runtime, steps = self.config.runtime, self.config.steps
        if _rank() == 0:
            claim(self.run_dir, self.run_id)
        start = checkpoint.restore(
            self.run_dir / CHECKPOINT_FOLDER, self.model, self.optimizer, self.run_id
        )
        self.resumed_step = start.step
        log = MetricsLog(self.run_dir) if _rank() == 0 else None
        clock = _Clock(self.config.tokens_per_step, start.train_seconds)
        evaluation: Row = {}
        for step in range(start.step + 1, steps + 1):
            metrics = self.step(step - 1)
            clock.count_step()
            if not math.isfinite(metrics["train_loss"] + metrics["grad_norm"]):
                return self._result("diverged", step - 1, clock, {})
            evaluating = step % runtime.eval_interval == 0 or step == steps
            if evaluating or step % runtime.log_interval == 0:
                row = self._position(step) | metrics | clock.read()
                if evaluating:
                    evaluation = self.evaluate()
                    if not math.isfinite(evaluation["val_loss"]):
                        return self._result("diverged", step, clock, {})
                    row |= evaluation
                if log:
                    log.append(row)
                if evaluating:
                    report(row)
                clock.start_interval()
            if step % runtime.checkpoint_interval == 0 or step == steps:
                self._save(Progress(step, clock.train_seconds()))
        # Killed between the last checkpoint and the result, a run resumes with no step left.
        return self._result("finished", steps, clock, evaluation or self.evaluate())

    def step(self, index: int) -> Row:
        """One optimizer step on batch `index`; returns loss (nats), gradient norm and rate.

        When the loss or the gradient is not finite, the weights are left as they were.
        """
        rate = learning_rate(index, self.config.steps, self.config.optimizer)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self._accumulate_gradients(index)
        norm = float(
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optimizer.max_grad_norm)
        )
        if math.isfinite(loss) and math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return {"train_loss": loss, "grad_norm": norm, "learning_rate": rate}

    def _accumulate_gradients(self, index: int) -> float:
        """Backward over this worker's micro-batches; the mean loss over all workers."""
        model = self.parallel or self.model
        total = torch.zeros((), device=self.device)
        for position, rows in enumerate(self.micro_batches, start=1):
            partial = self.parallel is not None and position < len(self.micro_batches)
            with self.parallel.no_sync() if self.parallel and partial else nullcontext():
                loss = self._loss(model, *self.loader.batch(index, rows)) / len(self.micro_batches)
                loss.backward()
            total += loss.detach()
        if self.parallel:
            dist.all_reduce(total)
            total /= _world_size()
        return float(total)

    def _loss(self, model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        inputs, targets = inputs.to(self.device), targets.to(self.device)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return next_token_loss(model(inputs), targets)

    @torch.no_grad()
    def evaluate(self) -> Row:
        """val_loss (nats per token) over the fixed validation slice, and bits per byte."""
        total, count = 0.0, 0
        for inputs, targets in eval_batches(
            self.dataset.split("val"),
            self.config.model.block_size,
            self.config.runtime.micro_batch_size,
            self.config.eval_tokens,
        ):
            total += float(self._loss(self.model, inputs, targets)) * targets.numel()
            count += targets.numel()
        val_loss = total / count
        bits = val_loss / math.log(2) / self.dataset.bytes_per_token
        return {"val_loss": val_loss, "bits_per_byte": bits}

    def _position(self, step: int) -> Row:
        tokens = step * self.config.tokens_per_step
        flops = tokens * train_flops_per_token(self.config.model)
        return {"step": step, "tokens": tokens, "train_flops": flops}

    def _save(self, progress: Progress) -> None:
        if _rank() == 0:
            directory = self.run_dir / CHECKPOINT_FOLDER
            checkpoint.save(directory, self.model, self.optimizer, progress, self.run_id)

    def _result(self, status: EndStatus, step: int, clock: _Clock, evaluation: Row) -> Result:
        position = self._position(step)
        return Result(
            status=status,
            fingerprint=self.run_id,
            step=step,
            tokens=int(position["tokens"]),
            train_flops=int(position["train_flops"]),
            train_seconds=clock.train_seconds(),
            resumed_step=self.resumed_step,
            val_loss=evaluation.get("val_loss"),
            bits_per_byte=evaluation.get("bits_per_byte"),
            environment=environment(self.device),
        )


class _Clock:
    """Seconds of the loop over all its lives, and tokens per second since the last interval."""

    def __init__(self, tokens_per_step: int, earlier_seconds: float) -> None:
        self._tokens_per_step = tokens_per_step
        self._origin = time.perf_counter() - earlier_seconds
        self.start_interval()

    def start_interval(self) -> None:
        self._interval, self._steps = time.perf_counter(), 0

    def count_step(self) -> None:
        self._steps += 1

    def read(self) -> Row:
        speed = self._steps * self._tokens_per_step / (time.perf_counter() - self._interval)
        return {"tokens_per_second": speed, "train_seconds": self.train_seconds()}

    def train_seconds(self) -> float:
        return time.perf_counter() - self._origin


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _world_size() -> int:
    return dist.get_world_size() if dist.is_initialized() else 1


def _micro_batches(config: RunConfig) -> list[range]:
    """This worker's rows of each global batch, in micro-batches of equal size."""
    rows, remainder = divmod(config.batch_size, _world_size())
    micro = min(config.runtime.micro_batch_size, rows)
    if remainder or rows % micro:
        raise InputError(
            f"batch_size {config.batch_size} must divide evenly into {_world_size()} workers' "
            f"micro-batches of {config.runtime.micro_batch_size}; change micro_batch_size or the "
            "number of workers"
        )
    first = _rank() * rows
    return [range(start, start + micro) for start in range(first, first + rows, micro)]
