"""From a Tune trial by way of Ray Train workers to `workloads.training.trainer`.

A point with `num_workers: 0` trains in the trial's own process, which Tune reuses for the next
point. With 1 or more, the trial starts a Ray Train `TorchTrainer`. Either way the same function
trains, resumes from the point's own directory, and leaves there its result, or its failure.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray import train as ray_train
from ray import tune

from kernels.files import write_atomically
from study.running import attempts, failures
from study.running.failure_reason import RAN_OUT, describe
from study.running.flops_cap import admission_check
from study.running.graceful_stop import GracefulStop
from study.spec.study_file import Resources
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.data.config import PathConfig, PlacedTextField
from workloads.data.texts import opened, opened_one
from workloads.errors import Preempted, Refused
from workloads.run_dir.metrics_log import Row
from workloads.schema.base import Config
from workloads.training import parallel
from workloads.training.trainer import train

# How often Ray Train may fail to start its workers.
START_ATTEMPTS = 10
# In a run's folder: with which settings it went on after it had run out of memory, and the cause.
NEXT_RUNTIME_FILE = "next_runtime.json"
logger = logging.getLogger(__name__)


class Task(Config):
    """All that a trial needs to train one point; paths are absolute and shared by nodes.

    The point trains while `stop_file` is absent and within the study's `max_total_flops`, of which
    the directories beside `run_dir` say what is spent. Once an attempt has run out of memory, the
    point trains with `next_runtime`, where it has one.
    """

    point_id: str
    run: RunConfig
    next_runtime: RuntimeConfig | None = None
    run_dir: Path
    data: PlacedTextField
    eval_sets: dict[str, PathConfig]
    resources: Resources
    max_total_flops: float
    stop_file: Path


def run_point(config: dict[str, Any]) -> None:
    """Make one attempt at a point. Tune calls this; `config["task"]` is a Task as JSON."""
    task = Task.model_validate_json(config["task"])
    if task.stop_file.exists():
        return
    attempt = attempts.start(task.run_dir)
    if not attempt:
        return
    if task.resources.num_workers == 0:
        _train(task, attempt, 0, tune.report)
    else:
        _train_on_workers(task, attempt)


def _train_on_workers(task: Task, attempt: int) -> None:
    from ray.train.torch import TorchConfig, TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    resources = task.resources
    per_worker = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    TorchTrainer(
        _train_worker,
        train_loop_config={"task": task.model_dump_json(), "attempt": attempt},
        scaling_config=ray_train.ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.gpus_per_worker > 0,
            accelerator_type=resources.accelerator_type,
            resources_per_worker={name: count for name, count in per_worker.items() if count},
        ),
        # What lies in CPU memory is gathered there (`runtime.offload`).
        torch_config=TorchConfig(parallel.BACKENDS) if resources.gpus_per_worker else None,
        run_config=ray_train.RunConfig(
            name="train",
            storage_path=str(task.run_dir / "ray"),
            callbacks=[TuneReportCallback()],
            # Tune retries a failed point; Train would wait for a place on the cluster for ever.
            failure_config=ray_train.FailureConfig(controller_failure_limit=START_ATTEMPTS),
        ),
    ).fit()


def _train_worker(config: dict[str, Any]) -> None:
    logging.getLogger().setLevel(logging.WARNING)  # at INFO, Ray Train prints every report
    task, rank = Task.model_validate_json(config["task"]), ray_train.get_context().get_world_rank()
    _train(task, config["attempt"], rank, ray_train.report)


def _train(task: Task, attempt: int, rank: int, send: Callable[[Row], None]) -> None:
    """Train in this process, which is the worker of this rank; record an exception and raise it."""
    run_dir = task.run_dir
    # The sum over threads depends on their number: fix it, so that numbers repeat.
    torch.set_num_threads(task.resources.cpus_per_worker)
    check = admission_check(run_dir.parent, run_dir, task.max_total_flops)
    with failures.captured_output(run_dir, attempt, rank), GracefulStop(task.stop_file) as stop:
        try:
            train(
                _run_of(task, attempt, rank),
                opened(task.data),
                run_dir,
                eval_sets={name: opened_one(text) for name, text in task.eval_sets.items()},
                on_evaluation=partial(stop.report, send),
                admit=check,
                should_stop=stop.is_requested,
            )
        except Refused as error:  # another attempt would be refused, too
            failures.record_exception(run_dir, attempt, rank, str(error), error)
        except Exception as error:
            if isinstance(error, Preempted) and task.stop_file.exists():
                return
            failures.record_exception(run_dir, attempt, rank, describe(error), error)
            raise


def _run_of(task: Task, attempt: int, rank: int) -> RunConfig:
    """Return the run as planned, or with its next settings where memory has not sufficed; the log
    of the attempt and a file of the run's folder say so."""
    causes = (failures.first_cause(task.run_dir, earlier) for earlier in range(1, attempt))
    ran_out = next((cause for cause in causes if cause.startswith(RAN_OUT)), "")
    if task.next_runtime is None or not ran_out:
        return task.run
    changed = {
        name: value for name, value in task.next_runtime if value != getattr(task.run.runtime, name)
    }
    logger.warning("%s; once more with runtime %s", ran_out, changed)
    if rank == 0:
        record = {"cause": ran_out, "runtime": task.next_runtime.model_dump()}
        write_atomically(task.run_dir / NEXT_RUNTIME_FILE, json.dumps(record, indent=2))
    return task.run.model_copy(update={"runtime": task.next_runtime})
