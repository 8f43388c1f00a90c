"""Ray as a study uses it: how it is started, and what fits on it."""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from study.spec import Resources
from workloads.errors import InputError

# Train's controller polls its workers, and a report waits for the poll: at the default of 2 s that
# would be most of a small run's time. OVERRIDE_ON_ZERO hides the GPUs from trials that asked for
# none. The others switch off files, processes and penalties that a study has no use for.
ENVIRONMENT = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    "RAY_worker_niceness": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def connected(resources: Resources) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine, and leave it after."""
    local = "RAY_ADDRESS" not in os.environ
    os.environ.update(ENVIRONMENT)
    if local:
        # Ray listens on every interface, whatever it is told: this token keeps others out. It is
        # this process's own; without one, Ray would leave one in the home directory.
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))
    import ray

    ray.init(
        # Train removes the placement groups of stopped trials through the dashboard's API.
        include_dashboard=resources.num_workers > 0 if local else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": ENVIRONMENT},
    )
    try:
        yield
    finally:
        ray.shutdown()


def trial_resources(resources: Resources) -> dict[str, float]:
    """What Tune reserves for a trial: its training, or nothing where Train's workers reserve.

    A trial that waits for its workers must hold none of what they wait for.
    """
    if resources.num_workers > 0:
        return {"node:__internal_head__": 0.001}
    return {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}


def slots(resources: Resources) -> int:
    """Points that fit on the cluster at once. Raises InputError when not even one does."""
    import ray

    workers = max(1, resources.num_workers)
    wanted = {"CPU": resources.cpus_per_worker, "GPU": resources.gpus_per_worker}
    held = sum(
        min(int(node["Resources"].get(name, 0) // count) for name, count in wanted.items() if count)
        for node in ray.nodes()
        if node["Alive"]
    )
    if held < workers:
        raise InputError(
            f"a point needs {workers} x ({wanted['CPU']} CPU, {wanted['GPU']} GPU) and the nodes "
            f"of this cluster hold {held} of them; lower num_workers, cpus_per_worker or "
            "gpus_per_worker, or add nodes"
        )
    return held // workers
