"""Ray as a study uses it: how it is started, and what fits on it."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from study.spec.study_file import Resources
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
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the study has its own (`study.running.graceful_stop`)
}
ANSWER_SECONDS = 10.0
TOKEN = "set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the token that the cluster was started with"
WATCH_SECONDS = 0.5
VITAL = {"gcs_server", "raylet"}
# What Ray makes in the folder of temporary files, and the most bytes that a socket's path may have.
SOCKET, LONGEST_SOCKET = "ray/session_2026-11-27_00-00-00_000000_0000000/sockets/plasma_store", 103


def starts_here() -> bool:
    """Return whether a launch starts Ray on this machine, because RAY_ADDRESS names no cluster."""
    return "RAY_ADDRESS" not in os.environ


@contextmanager
def connected(resources: Resources) -> Iterator[None]:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine, and leave it after."""
    local = starts_here()
    os.environ.update(ENVIRONMENT)
    if local:
        _check_sockets()
        # Ray listens on every interface, whatever it is told: this token keeps others out. It is
        # this process's own; without one, Ray would leave one in the home directory.
        os.environ["RAY_AUTH_MODE"] = "token"
        # Ray reads it once: a search, which starts Ray for each of its batches, keeps it.
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    else:
        check_answers(os.environ["RAY_ADDRESS"])
    import ray

    try:
        ray.init(
            # Left to itself, Ray would join any cluster that somebody started on this machine.
            "local" if local else None,
            # Train removes the placement groups of stopped trials through the dashboard's API.
            include_dashboard=resources.num_workers > 0 if local else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": ENVIRONMENT | forwarded_environment()},
        )
    except Exception as error:  # Ray has no class of its own for it
        raise SystemExit(f"Ray did not start: {str(error).strip().partition(chr(10))[0]}") from None
    disconnecting = threading.Event()
    threading.Thread(target=_watch_own_ray, args=(disconnecting,), daemon=True).start()
    try:
        yield
    finally:
        disconnecting.set()
        ray.shutdown()


def _check_sockets() -> None:
    """Raise InputError when Ray's sockets would have longer paths than the system allows."""
    name = "RAY_TMPDIR" if "RAY_TMPDIR" in os.environ else "TMPDIR"
    folder = os.environ.get(name, "/tmp")
    if len(os.fsencode(os.path.join(folder, SOCKET))) > LONGEST_SOCKET:
        most = LONGEST_SOCKET - len(SOCKET) - 1
        raise InputError(
            f"{name}={folder} is too long for the sockets that Ray makes there, which leave it "
            f"{most} bytes; set RAY_TMPDIR to a shorter folder, such as /tmp"
        )


def forwarded_environment() -> dict[str, str]:
    """Return the environment variables that are forwarded to the trials."""
    return {name: os.environ[name] for name in ("KERNELS",) if name in os.environ}


def _watch_own_ray(disconnecting: threading.Event) -> None:
    """End this process, exit code 1, when a vital process of the Ray that it started has died.

    Calls to Ray would wait for ever or abort. On a cluster that this process only joined
    there is nothing to watch: Ray itself ends a driver whose head has been silent for a minute.
    """
    from ray._private import worker

    node = cast(Any, worker._global_node)  # set by `ray.init`
    while node and not disconnecting.wait(WATCH_SECONDS):
        dead = {name for name, _ in node.dead_processes()} & VITAL
        if dead and not disconnecting.is_set():
            cause = f"Ray's {dead.pop()} died: killed, crashed or out of memory"
            print(f"{cause}; the same command goes on with what is missing", file=sys.stderr)
            sys.stderr.flush()
            os._exit(1)


def nodes_of(address: str) -> list[dict[str, float]]:
    """Return the resources of each node of a cluster. Raises InputError if it cannot be joined."""
    check_answers(address)
    import ray

    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        return nodes()
    except (ConnectionError, RuntimeError) as error:
        raise _silent(address, str(error).strip().partition("\n")[0]) from error
    finally:
        ray.shutdown()


def check_answers(address: str) -> None:
    """Have Ray send the cluster's token; raise InputError when nothing answers at HOST:PORT, or
    the token is wrong. Ray itself would try for minutes, and not say which."""
    use_token()
    scheme, _, place = address.rpartition("://")
    host, _, port = place.rpartition(":")
    if not port.isdigit():  # `auto`: Ray looks it up on this machine
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise _silent(address, str(error)) from None
    if not scheme:
        _check_token(place)


def _check_token(place: str) -> None:
    """Raise InputError when the cluster at HOST:PORT refuses this environment's token."""
    from ray import _raylet
    from ray.exceptions import AuthenticationError

    try:
        with _without_stderr():
            gcs = cast(Any, _raylet).GcsClient(address=place)
            gcs.internal_kv_get(b"session_name", b"session", ANSWER_SECONDS)
    except AuthenticationError:
        raise InputError(f"Ray at {place} refuses the token of this environment; {TOKEN}") from None
    except Exception as error:  # of Ray's RPC; no class of its own
        raise _silent(place, str(error).strip().partition("\n")[0]) from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Drop what is written to stderr: Ray's C++ adds a warning of its own to the error."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _silent(address: str, reason: str) -> InputError:
    return InputError(
        f"Ray at {address} does not answer ({reason}); start the cluster, correct RAY_ADDRESS, "
        "or unset it to use this machine"
    )


def use_token() -> None:
    """Have Ray's clients send the cluster's token, if there is one in a place where Ray looks.

    To be called before Ray is imported. A cluster without tokens ignores it.
    """
    given = os.environ.keys() & {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"}
    if given or os.path.exists(os.path.expanduser("~/.ray/auth_token")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def trial_resources(resources: Resources) -> dict[str, float]:
    """Return what Tune reserves for a trial: what training needs, or nothing if workers train.

    A trial that waits for its workers must hold none of the resources that they wait for.
    """
    if resources.num_workers > 0:
        return {"node:__internal_head__": 0.001}
    return worker_resources(resources)


def worker_resources(resources: Resources) -> dict[str, float]:
    """Return what one worker occupies, under Ray's names."""
    wanted: dict[str, float] = {
        "CPU": resources.cpus_per_worker,
        "GPU": resources.gpus_per_worker,
    }
    if resources.accelerator_type is None:
        return wanted
    # A node with such a GPU has one of this resource, and any number of workers take a little.
    return wanted | {f"accelerator_type:{resources.accelerator_type}": 0.001}


def slots(resources: Resources) -> int:
    """Return how many points fit on the cluster at once. Raises InputError if not even one does."""
    return places(resources, nodes())


def nodes() -> list[dict[str, float]]:
    """Return what each node of the cluster offers: CPU, GPU and Ray's other resources by name."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def places(resources: Resources, nodes: list[dict[str, float]]) -> int:
    """Return how many points such nodes hold at once. Raises InputError if not even one fits."""
    workers = max(1, resources.num_workers)
    wanted = worker_resources(resources)
    fitting = sum(
        min(int(node.get(name, 0) // count) for name, count in wanted.items() if count)
        for node in nodes
    )
    if fitting < workers:
        kind = f" of type {resources.accelerator_type}" if resources.accelerator_type else ""
        raise InputError(
            f"a point needs {workers} x ({wanted['CPU']} CPU, {wanted['GPU']} GPU{kind}) and the "
            f"nodes of this cluster hold {fitting} of them; lower num_workers, cpus_per_worker or "
            "gpus_per_worker, or add nodes"
        )
    return fitting // workers
