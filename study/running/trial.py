"""The glue: a Tune trial -> Ray Train workers -> `workloads.training.trainer`.

A point with `num_workers: 0` trains in the trial's own process, which Tune reuses for the next
point; with 1 or more, the trial starts a Ray Train `TorchTrainer`. Either way the same function
trains behind the same report, resumes from the point's own directory, and leaves its result there;
or the cause that there is none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from ray import train as ray_train
from ray import tune

from study.running import attempts, failure_reason
from study.running.flops_cap import admission
from study.running.graceful_stop import GracefulStop
from study.spec.study_file import Resources
from workloads.config.run import RunConfig
from workloads.data.shards import open_dataset
from workloads.errors import Preempted, Refused
from workloads.run_dir.metrics_log import Row
from workloads.schema.base import Config
from workloads.training.trainer import train

START_ATTEMPTS = 10


class Task(Config):
    """All that a trial needs to train one point; directories are absolute and shared by nodes.

    The point trains while `stop_file` is absent and within the study's `max_total_flops`, of which
    the directories beside `run_dir` say what is spent.
    """

    point_id: str
    run: RunConfig
    run_dir: Path
    dataset_dir: Path
    resources: Resources
    max_total_flops: float
    stop_file: Path


def run_point(config: dict[str, Any]) -> None:
    """The Tune trainable; `config["task"]` is a Task as JSON."""
    task = Task.model_validate_json(config["task"])
    if task.stop_file.exists() or not attempts.begin(task.run_dir):
        return
    failure_reason.clear(task.run_dir)
    if task.resources.num_workers == 0:
        _train(task, tune.report)
    else:
        _train_on_workers(task)


def _train_on_workers(task: Task) -> None:
    from ray.train.torch import TorchTrainer
    from ray.tune.integration.ray_train import TuneReportCallback

    resources = task.resources
    per_worker = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    TorchTrainer(
        _train_worker,
        train_loop_config={"task": task.model_dump_json()},
        scaling_config=ray_train.ScalingConfig(
            num_workers=resources.num_workers,
            use_gpu=resources.gpus_per_worker > 0,
            accelerator_type=resources.accelerator_type,
            resources_per_worker={name: count for name, count in per_worker.items() if count},
        ),
        run_config=ray_train.RunConfig(
            name="train",
            storage_path=str(task.run_dir / "ray"),
            callbacks=[TuneReportCallback()],
            # Tune retries a failed point; Train would wait for a place on the cluster for ever.
            failure_config=ray_train.FailureConfig(controller_failure_limit=START_ATTEMPTS),
        ),
    ).fit()


def _train_worker(config: dict[str, Any]) -> None:
    _train(Task.model_validate_json(config["task"]), ray_train.report)


def _train(task: Task, report: Callable[[Row], None]) -> None:
    # The sum over threads depends on their number: fix it, so that numbers repeat.
    torch.set_num_threads(task.resources.cpus_per_worker)
    admit = admission(task.run_dir.parent, task.run_dir, task.max_total_flops)
    with GracefulStop(task.stop_file) as stop:
        try:
            train(
                *(task.run, open_dataset(task.dataset_dir), task.run_dir),
                *(partial(stop.report, report), admit, stop.is_requested),
            )
        except Refused as error:  # and to try again would not help
            failure_reason.leave(task.run_dir, str(error))
        except Exception as error:
            if isinstance(error, Preempted) and task.stop_file.exists():
                return
            failure_reason.leave(task.run_dir, failure_reason.describe(error))
            raise
