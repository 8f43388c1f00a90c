"""Run the points that MLflow does not hold as ended: one Ray Tune trial a point."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from study import ledger
from study.ledger import Record
from study.plan import Point, Study
from study.spec import Resources
from study.status import Display, Outcome
from workloads.data import shards
from workloads.errors import InputError
from workloads.record import exclusive

MAX_RETRIES = 3
DRIVER_PATIENCE_SECONDS = 1.0
# Ray reads these when it starts. Train's controller polls its workers, and a report waits for the
# poll: at the default of 2 s that would be most of a small run's time. The others switch off
# files, processes and scheduling penalties that a study has no use for.
RAY_ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run(study: Study, display: Display) -> Outcome:
    """Train every point that has not ended. Raises InputError when a point cannot be placed.

    Safe to kill at any time: the same call goes on with what is missing.
    """
    with _only_driver(study):
        records = ledger.read(ledger.tracking_uri(study.runs_dir), study.name)
        ledger.check_identities(study.points, records)
        missing = [p for p in study.points if p.id not in records or not records[p.id].ended]
        if not missing:
            return Outcome()
        dataset = shards.prepare(study.spec.value.data, study.data_root)
        return _run_trials(study, missing, records, dataset.directory.resolve(), display)


def _run_trials(
    study: Study,
    missing: list[Point],
    records: dict[str, Record],
    dataset_dir: Path,
    display: Display,
) -> Outcome:
    resources = study.spec.value.resources
    # Imported once the environment is set: Ray reads it on import.
    os.environ.update(RAY_ENVIRONMENT)
    if "RAY_ADDRESS" not in os.environ:
        # A token of this process alone; without one, Ray would leave one in the home directory.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray
    from ray import tune

    from study.driver import Driver
    from study.trial import Task, run_point

    _start_ray(resources)
    try:
        driver = Driver(study, missing, records, display)
        # Longest first: the short ones fill the gaps at the end.
        order = sorted(missing, key=lambda point: -point.train_flops)
        tasks = [
            Task(
                point_id=point.id,
                run=point.config,
                run_dir=study.run_dir(point),
                dataset_dir=dataset_dir,
                resources=resources,
            ).model_dump_json()
            for point in order
        ]
        scratch = study.directory / "ray"
        shutil.rmtree(scratch, ignore_errors=True)
        with display:
            tune.Tuner(
                tune.with_resources(run_point, _trial_resources(resources)),
                param_space={"task": tune.grid_search(tasks)},
                tune_config=tune.TuneConfig(
                    max_concurrent_trials=_concurrency(resources), reuse_actors=True
                ),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(scratch),
                    failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
                    callbacks=[driver],
                    verbose=0,
                ),
            ).fit()
        return driver.outcome
    finally:
        ray.shutdown()


def _start_ray(resources: Resources) -> None:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine's loopback."""
    import ray

    ray.init(
        # Train removes the placement groups of stopped trials through the dashboard's API.
        include_dashboard=resources.num_workers > 0 if "RAY_ADDRESS" not in os.environ else None,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"env_vars": RAY_ENVIRONMENT},
    )


def _trial_resources(resources: Resources) -> dict[str, float]:
    """What Tune reserves for a trial: its training, or nothing where Train's workers reserve."""
    if resources.num_workers > 0:
        return {"node:__internal_head__": 0.001}
    return {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}


def _concurrency(resources: Resources) -> int:
    """Points that fit on the cluster at once. Raises InputError when not even one does."""
    import ray

    workers = max(1, resources.num_workers)
    wanted = {"CPU": workers * resources.cpus_per_worker, "GPU": workers * resources.gpus_per_worker}
    available = ray.cluster_resources()
    for name, count in wanted.items():
        if count > available.get(name, 0):
            raise InputError(
                f"resources: a point needs {count} {name} and the cluster has "
                f"{available.get(name, 0):g}; lower num_workers or {name.lower()}s_per_worker, or "
                "add nodes"
            )
    return min(int(available[name] // count) for name, count in wanted.items() if count)


@contextmanager
def _only_driver(study: Study) -> Iterator[None]:
    """Refuse a second driver of the same study; the lock goes with the process."""
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(study.directory, DRIVER_PATIENCE_SECONDS))
        except TimeoutError as error:
            raise InputError(
                f"study {study.name} is being run already: {error}; wait for it, or stop it first"
            ) from None
        yield
