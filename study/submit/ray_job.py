"""A study as a job of a Ray cluster that runs: packed here, run there, found again by its name.

The five packages, the study file and the provenance of this checkout are sent; data, runs and
environments stay where they are. The job is `python -m study run`, which goes on with whatever an
earlier job of the study left. So a stopped or lost job is continued by submitting it again.

MLflow's settings may hold passwords, and a job's environment stands in the cluster's records and
logs. So they travel in a file of the packed folder, from which `python -m study` takes them.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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
PREFLIGHT_SECONDS = 600
# How long a head that answers may take until it accepts jobs.
START_SECONDS = 60
# What Ray gives its jobs' drivers, and nobody else.
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
SETTINGS_FILE = "settings.json"


class RayCluster:
    """The Ray cluster whose dashboard is at `address`, as a place to run studies."""

    def __init__(self, address: str) -> None:
        self._address = address

    def render(self, study: Study) -> str:
        """Return the job as JSON, and the names of the settings that go with it."""
        folder = [*PACKAGES, study.spec.path.name, provenance.PACKED_FILE, SETTINGS_FILE]
        job = {
            "address": self._address,
            "submission_id": f"study-{study.name}-NUMBER",
            "entrypoint": _entrypoint(study),
            "runtime_env": {"working_dir": folder, "env_vars": _variables()},
            SETTINGS_FILE: [*_settings()],
        }
        return json.dumps(job, indent=1)

    def find(self, name: str) -> str | None:
        """Return the submission id of the study's job that has not ended, if there is one."""
        jobs = _jobs(self._connect(), name)
        return next((job for job, ended in jobs.items() if not ended), None)

    def problems(self, study: Study) -> list[str]:
        """Run the preflight as a job of the cluster; return a line for each problem.

        Raises InputError when the cluster cannot be reached.
        """
        client, job = self._connect(), f"preflight-{study.name}-{time.time_ns()}"
        command = f"exec python -m cluster preflight {_arguments(study)}"
        self._start(client, study, job, command)
        deadline = time.monotonic() + PREFLIGHT_SECONDS
        try:
            while not (state := client.get_job_status(job)).is_terminal():
                if time.monotonic() > deadline:
                    return [f"preflight takes more than {PREFLIGHT_SECONDS} s; see job {job}"]
                time.sleep(0.5)
        finally:
            client.stop_job(job)
        if state.value == "SUCCEEDED":
            return []
        lines = [line for line in client.get_job_logs(job).splitlines() if line.strip()]
        problems = [line for line in lines if line.startswith("problem")]
        return problems or [lines[-1] if lines else client.get_job_info(job).message or job]

    def submit(self, study: Study) -> str:
        """Start the study on the cluster and return the job's submission id."""
        client = self._connect()
        earlier = _jobs(client, study.name)
        number = 1 + max((int(job.rpartition("-")[2]) for job in earlier), default=0)
        # Another submission that was quicker has taken the id: Ray refuses it a second time.
        job = f"study-{study.name}-{number}"
        return self._start(client, study, job, _entrypoint(study))

    def follow(self, job: str) -> int:
        """Print the job's log as it grows; return the exit code of its driver, 1 when stopped."""
        client = self._connect()

        async def stream() -> None:
            async for lines in client.tail_job_logs(job):
                print(lines, end="", flush=True)

        asyncio.run(stream())
        info = self._asked(lambda: client.get_job_info(job))
        succeeded = info.status.value == "SUCCEEDED"
        return 0 if succeeded else info.driver_exit_code or 1

    def stop(self, job: str) -> None:
        """Stop the job, giving its points time to save; return when it has ended."""
        client = self._connect()
        self._asked(lambda: client.stop_job(job))
        deadline = time.monotonic() + STOP_SECONDS + 30
        while not client.get_job_status(job).is_terminal():
            if time.monotonic() > deadline:
                raise InputError(f"{job} does not stop; see: ray job logs {job}")
            time.sleep(0.5)

    def _connect(self) -> JobSubmissionClient:
        ray_session.use_token()
        from ray.job_submission import JobSubmissionClient

        return self._asked(lambda: JobSubmissionClient(self._address))

    def _start(self, client: JobSubmissionClient, study: Study, job: str, command: str) -> str:
        with tempfile.TemporaryDirectory() as folder:
            _pack(study, Path(folder))
            environment = {"working_dir": folder, "env_vars": _variables()}
            return self._asked(lambda: _submitted(client, job, command, environment))

    def _asked(self, request: Callable[[], T]) -> T:
        """Return what the cluster answers. Raises InputError, in one line, when it refuses."""
        try:
            return request()
        except (ConnectionError, RuntimeError, ValueError) as error:
            message = str(error).splitlines()[0]
            cure = "is it the dashboard's URL?"
            if re.search(r"\b40[13]\b|[Uu]nauthori[sz]ed|[Tt]oken", str(error)):
                message, cure = "it refuses the token of this environment", ray_session.TOKEN
            raise InputError(f"Ray at {self._address}: {message}; {cure}") from error


def _submitted(
    client: JobSubmissionClient, job: str, command: str, environment: dict[str, Any]
) -> str:
    """Submit a job, also to a cluster that has just been started."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return client.submit_job(entrypoint=command, submission_id=job, runtime_env=environment)
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(1)


def check_lasting(runs_dir: Path) -> None:
    """Raise InputError for a runs folder that would be lost with a job's working directory."""
    if not runs_dir.is_absolute():
        raise InputError(
            f"--runs {runs_dir} is relative to a job's working directory, which does not last; "
            "give the absolute path of a folder that all nodes share, or set STUDY_RUNS to it"
        )


def in_job() -> bool:
    """Return whether this process is the driver of a submitted job."""
    return JOB_VARIABLE in os.environ


def take_settings() -> None:
    """Take MLflow's settings from the packed folder, where this process runs in a job."""
    path = provenance.ROOT / SETTINGS_FILE
    if in_job() and path.exists():
        os.environ.update(json.loads(path.read_text("utf-8")))


def _entrypoint(study: Study) -> str:
    return f"exec python -m study run {_arguments(study)}"


def _arguments(study: Study) -> str:
    """Return the study file and the runs folder as the packed folder's commands take them."""
    return f"{shlex.quote(study.spec.path.name)} --runs {shlex.quote(str(study.runs_dir))}"


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
    (folder / SETTINGS_FILE).write_text(json.dumps(_settings()), encoding="utf-8")
    provenance.pack(folder)


def _settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("MLFLOW_")}


def _variables() -> dict[str, str]:
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)} | ray_session.forwarded_environment()
