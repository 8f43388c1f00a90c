"""Train one run: one plain loop from the first step to the result, resumable anywhere.

The data of a step is a pure function of (seed, step), and a checkpoint holds everything else. So a
run that is killed and resumed gives the losses of one that was not, bit for bit on CPU. The loop
knows neither Ray nor MLflow: the caller passes functions that it calls, and sets up the process
group where there are several workers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kernels.cross_entropy import Reduction
from workloads.config.fingerprint import IDENTITY_VERSION, fingerprint, trajectory
from workloads.config.phases import Phase, phase_at
from workloads.config.rates import learning_rate_at
from workloads.config.run import RunConfig
from workloads.cost.flops import train_flops_at
from workloads.data.dataset import OpenText, TokenDataset
from workloads.data.loader import BatchLoader, Read, ReadAhead
from workloads.errors import InputError, Misfit, Preempted, Refused
from workloads.files import exclusive
from workloads.nn.drawn_labels import label_draws
from workloads.nn.self_guided import MergedGuides
from workloads.optim.build import build_optimizer, set_learning_rate
from workloads.optim.update import layer_grad_norms, use_gradients
from workloads.run_dir.configuration import CONFIG_FILE, record_config
from workloads.run_dir.executed_flops import AttemptFlops
from workloads.run_dir.lock import claim
from workloads.run_dir.metrics_log import MetricsLog, Row
from workloads.run_dir.paths import CHECKPOINT_FOLDER
from workloads.run_dir.reading import record_reading
from workloads.run_dir.result import EndStatus, Result, read_result
from workloads.training import checkpoint, parallel, phases
from workloads.training.checkpoint import Progress, Stable, Tensors
from workloads.training.clock import Clock
from workloads.training.course import course_of
from workloads.training.evaluation import RunTexts, evaluated, loss_metrics
from workloads.training.hardware import environment, training_device
from workloads.training.learning import MultipliedOut
from workloads.training.records import pace, position

# Time in which the workers of a killed driver have to go, which Ray ends within a few seconds.
TAKEOVER_SECONDS = 60.0


def train(
    config: RunConfig,
    dataset: OpenText,
    run_dir: Path,
    on_evaluation: Callable[[Row], None] = lambda row: None,
    admit: Callable[[], None] = lambda: None,
    should_stop: Callable[[], bool] = lambda: False,
    eval_sets: Mapping[str, TokenDataset] | None = None,
) -> Result:
    """Train, or go on from the newest checkpoint in `run_dir`; return how the run ended.

    `eval_sets` are those of the configuration, opened; their validation splits are evaluated beside
    the dataset's own.

    Every worker calls `on_evaluation` after each evaluation, with a row that has step, tokens,
    train_flops and val_loss (nats per token). The first worker calls `admit` once the run's
    directory records the FLOPs that this attempt reserves, and again where a run that a clock ends
    outlasts them; it may raise Refused. Every worker calls `should_stop` at each step: when one
    answers True, all save that step and raise Preempted. The result of a run that has already ended
    is returned as it is. Raises InputError when the data does not fit the model or `run_dir`
    belongs to another run.
    """
    texts = RunTexts(dataset, eval_sets or {})
    run_id = fingerprint(texts.identity(config))
    if ended := read_result(run_dir, run_id):
        if not (run_dir / CONFIG_FILE).exists():  # Runs of before had none.
            record_config(run_dir, config)
        return ended
    writes = parallel.rank() == 0
    alone = exclusive(run_dir, TAKEOVER_SECONDS) if writes else nullcontext()
    with alone, parallel.group(config, training_device()):
        trainer = _Trainer(config, texts, run_dir, run_id, should_stop)
        result = trainer.attempt(on_evaluation, admit)
        # A scheduler may have stopped the run while its last steps ran.
        if stopped := read_result(run_dir, run_id):
            return stopped
        if writes:
            if config.clock and result.status == "finished":
                lasted = config.lasting(result.step)
                record_config(run_dir, lasted)
                record_reading(run_dir, lasted, dataset)
            result.write(run_dir)
    return result


class _Trainer:
    """One run's model, optimizer and data, and the loop over its steps."""

    def __init__(
        self,
        config: RunConfig,
        texts: RunTexts,
        run_dir: Path,
        run_id: str,
        should_stop: Callable[[], bool],
    ) -> None:
        try:
            texts.require(config)
            self.micro_batches = parallel.micro_batches(config)
        except Misfit as error:
            raise InputError(str(error)) from None
        self.config, self.run_id = config.without_end, run_id
        self.phases, self.should_stop, self.stop_asked = self.config.phases, should_stop, False
        shared = fingerprint(trajectory(texts.identity(config)))
        self.stable = Stable(shared, config.stable_steps) if config.stable_steps else None
        self.run_dir, self.checkpoints = run_dir, run_dir / CHECKPOINT_FOLDER
        if parallel.rank() == 0:
            claim(run_dir, run_id)
            record_config(run_dir, config)
            record_reading(run_dir, self.config, texts.data)
        self.log = MetricsLog(run_dir) if parallel.rank() == 0 else None
        self.device = training_device()
        # torch's default, whatever this process has had before: the lower precisions of float32
        # products round to bfloat16 on some CPUs, and make whole steps slower on others.
        torch.set_float32_matmul_precision("highest")
        loader = BatchLoader(
            texts.data.split("train"), config.model.block_size, config.batch_size, config.seed
        )
        self.batches = ReadAhead(loader.batch, pinned=self.device.type == "cuda")
        self.held_out = texts.held_out(config)
        self.start = self._build()
        self.clock = Clock(self.start)
        self.course = course_of(self.config, run_dir, self.start, self.device)
        # The FLOPs of so many steps are reserved. Nobody knows how many a clock lets be taken.
        self.reserved = max(config.total_steps, self.start.step + 1)

    def _build(self) -> Progress:
        """Make model and optimizer as they stand at the newest checkpoint, or at the start."""
        config = self.config
        saved = checkpoint.newest(self.checkpoints, self.run_id, self.stable)
        progress = saved.progress if saved else Progress()
        self.phase = phase_at(self.phases, progress.step)
        torch.manual_seed(config.seed)
        self.model = phases.build_model(self.phase)
        self.network = parallel.parallelize(self.model, config, self.device)
        self.trained = phases.trained_in(self.phase, self.model, config.seed)
        on_cpu, tokens = config.runtime.offload == "optimizer", config.tokens_per_step
        self.optimizer = build_optimizer(self.trained, config.optimizer, tokens, on_cpu)
        if saved:
            saved.load(self.trained, self.optimizer)
        return progress

    def attempt(self, on_evaluation: Callable[[Row], None], admit: Callable[[], None]) -> Result:
        """Train until the run ends, or until it is refused, stopped or killed."""
        began = train_flops_at(self.config, self.start.step)
        end = train_flops_at(self.config, self.reserved)
        self.flops = AttemptFlops(self.run_dir, began, end) if parallel.rank() == 0 else None
        self.admit = admit
        with self.flops or nullcontext():
            self._ask()
            return self.loop(on_evaluation)

    def _ask(self) -> None:
        """Raise Refused on every worker where the first one is refused."""
        refusal: Refused | None = None
        try:
            if self.flops:
                self.admit()
        except Refused as error:
            refusal = error
        refused = torch.tensor(float(refusal is not None), device=self.device)
        if float(parallel.sum_over_workers(refused)):
            raise refusal or Refused("the run's first worker was refused")

    def _reach(self, step: int) -> None:
        """Record, before it is executed, that the run comes to a step.

        Where it has no FLOPs reserved, a quarter more is reserved, and asked for; a run that is
        refused is saved first.
        """
        if step > self.reserved:
            self.reserved = step + step // 4
            if self.flops:
                self.flops.reserve(train_flops_at(self.config, self.reserved))
            try:
                self._ask()
            except Refused:
                self._save(step - 1)
                raise
        if self.flops:
            self.flops.reach(train_flops_at(self.config, step))

    def loop(self, on_evaluation: Callable[[Row], None]) -> Result:
        """Train from the step after `start` to the last; return how the run ended."""
        runtime, course = self.config.runtime, self.course
        evaluation: Row = {}
        step = self.start.step
        while turn := course.turn(step + 1):
            step += 1
            logging = turn.evaluates or step % runtime.log_interval == 0
            self._reach(step)
            began = time.perf_counter()
            with course.timed("step"):
                metrics = self.step(step - 1, turn.share, with_layers=logging)
            self.clock.count_step(time.perf_counter() - began, metrics["train_loss"])
            if not math.isfinite(metrics["train_loss"] + metrics["grad_norm"]):
                return self._result("diverged", step - 1, {})
            if logging:
                row = position(self.config, step) | metrics | self._pace(step)
                if turn.evaluates:
                    with course.timed("evaluation"):
                        evaluation = self.evaluate(step)
                    if not all(map(math.isfinite, evaluation.values())):
                        return self._result("diverged", step, {})
                    row |= evaluation
                if self.log:
                    self.log.append(row)
                if turn.evaluates:
                    on_evaluation(row)
            if (entered := phase_at(self.phases, step)) is not self.phase:
                self._enter(entered)
            elif self.stop_asked or turn.saves:
                with course.timed("checkpoint"):
                    self._save(step)
            if self.stop_asked and not turn.last:
                raise Preempted(f"stopped after step {step}, which is saved")
        # A run that was killed between its last checkpoint and its result has no step left.
        return self._result("finished", step, evaluation or self.evaluate(step))

    def step(self, index: int, share: float | None, with_layers: bool = False) -> Row:
        """Take the optimizer step of 0-based `index`; return loss (nats), gradient norms and rate.

        `share` is that of the budget at its end, where a clock ends the run. When the loss or the
        gradient is not finite, the weights are left as they were.
        """
        rate = learning_rate_at(self.config, self.phase, index, share)
        set_learning_rate(self.optimizer, rate)
        prepared = phases.prepare(self.model, self.config, self.phase, index)
        optimizer, most = self.config.optimizer, self.config.optimizer.max_grad_norm
        optimizer.before_step(self.optimizer, index, partial(self._with_sampled, index))
        loss = self._accumulate_gradients(index)
        layers = layer_grad_norms(self.model) if with_layers else {}
        norm = use_gradients(self.trained, self.optimizer.step, most, loss)
        metrics = {"train_loss": loss, "grad_norm": norm, "learning_rate": rate}
        return metrics | prepared | layers

    def _with_sampled(self, index: int, use: Callable[[], object]) -> None:
        """Have `use` take the gradients of the batch with labels that the model itself draws."""
        loss = self._accumulate_gradients(index, on_drawn_labels=True)
        use_gradients(self.trained, use, self.config.optimizer.max_grad_norm, loss)

    def _accumulate_gradients(self, index: int, on_drawn_labels: bool = False) -> float:
        """Run backward over this worker's micro-batches; return the mean loss over all workers.

        With `on_drawn_labels` the model itself draws the labels of the batch.
        """
        config = self.config
        _seed_step(config.seed, index)
        draws = None
        if on_drawn_labels:
            draws = label_draws(config.seed, index, config.batch_size, config.model.block_size)
        total = torch.zeros((), device=self.device)
        guides, learned = MergedGuides(self.model), MultipliedOut(self.model, self.trained)
        learned.begin()
        guides.begin(self._precision())
        reads = self._reads(index)
        upcoming = [*reads[1:], *self._reads(index if on_drawn_labels else index + 1)[:1], None]
        for read, following in zip(reads, upcoming, strict=False):
            last = read is reads[-1]
            if last:
                guides.before_last()
            with nullcontext() if last else parallel.accumulating(self.network):
                inputs, targets = self.batches.batch(read, following)
                if draws is not None:
                    targets = draws[read[1]]
                loss = self._loss(inputs, targets) / len(self.micro_batches)
                loss.backward()
            total += loss.detach()
        guides.end()
        learned.end()
        # Workers tell each other with the loss whether to stop, so that all stop after one step.
        stop = torch.full_like(total, self.should_stop())
        loss, stops = parallel.sum_over_workers(torch.stack([total, stop])).tolist()
        self.stop_asked |= stops > 0
        return loss / parallel.world_size()

    def _reads(self, index: int) -> list[Read]:
        """Return what this worker reads in a step, nothing beyond the last: steps of the text, and
        rows."""
        if index >= self.config.total_steps:
            return []
        step = self.config.text_step(index)
        return [(step, rows) for rows in self.micro_batches]

    def _loss(self, inputs: Tensor, targets: Tensor, reduction: Reduction = "mean") -> Tensor:
        inputs = inputs.to(self.device, non_blocking=True)
        targets = targets.to(self.device, non_blocking=True)
        with self._precision():
            return self.network(inputs, targets, reduction)

    def _precision(self) -> torch.autocast:
        """Return the context of passes: products in bf16 on CUDA devices, or in the weights' type
        where that is bf16 already, as it is on CPUs."""
        casts = self.device.type == "cuda" and self.config.runtime.parameters == "fp32"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=casts)

    @torch.no_grad()
    def evaluate(self, step: int) -> Row:
        """Return the losses on held-out text after `step` optimizer steps: val_loss in nats per
        token, and bits per byte where the bytes of the text are known.

        Where there are several texts, each has metrics of its own: `val_loss/NAME`. Each worker
        evaluates its part of the fixed validation tokens.
        """
        phases.prepare(self.model, self.config, self.phase, step)
        self.network.eval()
        guides = MergedGuides(self.model)
        MultipliedOut(self.model, self.trained).begin()
        guides.begin(self._precision())
        found = [evaluated(each, self.config, self._loss, self.device) for each in self.held_out]
        guides.end()
        self.network.train()
        return loss_metrics(found)

    def _pace(self, step: int) -> Row:
        row = pace(self.config, step, self.clock, self.device)
        if self.config.clock:
            row["clock_seconds"] = self.course.spent
        if self.flops:
            row["executed_flops"] = self.flops.executed
        return row

    def _enter(self, phase: Phase) -> None:
        """Go on in the phase as a run resumed at its start would.

        Building anew is what frees all that held parameters which the model has no more:
        optimizer, wrappers and compiled code.
        """
        seed = self.config.seed
        self._write(phase.start, phases.enter(phase, self.trained, self.optimizer, seed))
        parallel.wait_for_all()
        # Before the new ones take their memory.
        del self.model, self.network, self.trained, self.optimizer
        resumed = self._build().step
        if resumed != phase.start:
            raise OSError(
                f"{self.checkpoints}: the checkpoint of step {phase.start} cannot be read back"
            )

    def _save(self, step: int) -> None:
        self._write(step, checkpoint.collect(self.trained, self.optimizer))

    def _write(self, step: int, tensors: Tensors) -> None:
        if parallel.rank() == 0:
            progress = self.clock.progress(step, self.course.spent, self.course.share)
            checkpoint.save(self.checkpoints, tensors, progress, self.run_id, self.stable)

    def _result(self, status: EndStatus, step: int, evaluation: Row) -> Result:
        reached, course = position(self.config, step), self.course
        return Result(
            status=status,
            fingerprint=self.run_id,
            step=step,
            tokens=int(reached["tokens"]),
            train_flops=int(reached["train_flops"]),
            hardware_flops=int(reached["hardware_flops"]),
            executed_flops=self.flops.executed if self.flops else 0,
            train_seconds=self.clock.train_seconds(),
            clock_seconds=course.spent if self.config.clock else None,
            resumed_step=self.start.step,
            val_loss=evaluation.get("val_loss"),
            bits_per_byte=evaluation.get("bits_per_byte"),
            environment={
                **environment(self.device, self.config.runtime.parameters),
                **course.remarks,
            },
            identity_version=IDENTITY_VERSION,
        )


def _seed_step(seed: int, index: int) -> None:
    """Make dropout's draws a function of seed, step and worker, which resumed runs repeat."""
    words = np.random.SeedSequence([seed, index, parallel.rank()]).generate_state(1, np.uint64)
    torch.manual_seed(int(words[0]))
