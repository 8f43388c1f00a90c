"""A study as a job of a Ray cluster: packed here, run there, found again by its name.

The five packages, the study file and the provenance of this checkout are sent; data, runs and
environments stay where they are. The job is `python -m study run`, which goes on with whatever an
earlier job of the study left. So a stopped or lost job is continued by submitting it again.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from study.ledger import provenance
from study.plan.planner import Study
from study.running import ray_session
from study.submit.doctor import PACKAGES
from workloads.errors import InputError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

T = TypeVar("T")
# Ray kills a stopped job's driver after so long; until then its points save their state.
STOP_SECONDS = 60
# What Ray gives its jobs' drivers, and nobody else.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"


def submit(study: Study, address: str) -> str:
    """Start the study on the cluster and return the job's submission id.

    MLflow's settings in this environment go with it, credentials included: who may read the
    cluster's jobs can read them. Raises InputError when the cluster cannot be reached, the study
    runs there already, or the runs folder is a relative path.
    """
    check_lasting(study.runs_dir)
    client = _connect(address)
    earlier = _jobs(client, study.name)
    if alive := [job for job, ended in earlier.items() if not ended]:
        raise InputError(
            f"study {study.name} runs on {address} already, as {alive[0]}; follow it with: "
            f"ray job logs --address {address} --follow {alive[0]}"
        )
    number = 1 + max((int(job.rpartition("-")[2]) for job in earlier), default=0)
    submission_id = f"study-{study.name}-{number}"
    with tempfile.TemporaryDirectory() as folder:
        _pack(study, Path(folder))
        spec, runs = shlex.quote(study.spec.path.name), shlex.quote(str(study.runs_dir))
        # Another submission that was quicker has taken the id: Ray refuses it a second time.
        return _asked(
            address,
            lambda: client.submit_job(
                entrypoint=f"exec python -m study run {spec} --runs {runs}",
                submission_id=submission_id,
                runtime_env={"working_dir": folder, "env_vars": _variables()},
            ),
        )


def follow(submission_id: str, address: str) -> int:
    """Print the job's log as it grows; return the exit code of its driver, 1 when stopped."""
    client = _connect(address)

    async def stream() -> None:
        async for lines in client.tail_job_logs(submission_id):
            print(lines, end="", flush=True)

    asyncio.run(stream())
    job = _asked(address, lambda: client.get_job_info(submission_id))
    succeeded = job.status.value == "SUCCEEDED"
    return 0 if succeeded else job.driver_exit_code or 1


def stop(name: str, address: str) -> str:
    """Stop the study's job, giving its points time to save; return the job's submission id.

    Raises InputError when none is running.
    """
    client = _connect(address)
    alive = [job for job, ended in _jobs(client, name).items() if not ended]
    if not alive:
        raise InputError(f"study {name} is not running on {address}; there is nothing to stop")
    _asked(address, lambda: client.stop_job(alive[0]))
    deadline = time.monotonic() + STOP_SECONDS + 30
    while not client.get_job_status(alive[0]).is_terminal():
        if time.monotonic() > deadline:
            raise InputError(f"{alive[0]} does not stop; see: ray job logs {alive[0]}")
        time.sleep(0.5)
    return alive[0]


def check_lasting(runs_dir: Path) -> None:
    """Raise InputError for a runs folder that would be lost with a job's working directory."""
    if not runs_dir.is_absolute():
        raise InputError(
            f"--runs {runs_dir} is relative to a job's working directory, which Ray deletes; give "
            "the absolute path of a folder that all nodes share, or set STUDY_RUNS to it"
        )


def in_job() -> bool:
    """Return whether this process is the driver of a submitted job."""
    return JOB_VARIABLE in os.environ


def _connect(address: str) -> JobSubmissionClient:
    ray_session.use_token()
    from ray.job_submission import JobSubmissionClient

    return _asked(address, lambda: JobSubmissionClient(address))


def _asked(address: str, request: Callable[[], T]) -> T:
    """Return what the cluster answers. Raises InputError, in one line, when it refuses."""
    try:
        return request()
    except (ConnectionError, RuntimeError, ValueError) as error:
        message = str(error).splitlines()[0]
        raise InputError(f"Ray at {address}: {message}; is it the dashboard's URL?") from error


def _jobs(client: JobSubmissionClient, name: str) -> dict[str, bool]:
    """Return whether each job of the study has ended, by submission id `study-NAME-NUMBER`."""
    ours = re.compile(rf"study-{re.escape(name)}-\d+")
    jobs = {job.submission_id or "": job.status.is_terminal() for job in client.list_jobs()}
    return {
        submission_id: ended
        for submission_id, ended in jobs.items()
        if ours.fullmatch(submission_id)
    }


def _pack(study: Study, folder: Path) -> None:
    for package in PACKAGES:
        unneeded = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(provenance.ROOT / package, folder / package, ignore=unneeded)
    (folder / study.spec.path.name).write_text(study.spec.text, encoding="utf-8")
    provenance.pack(folder)


def _variables() -> dict[str, str]:
    passed = {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}
    passed |= ray_session.forwarded_environment()
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)} | passed
