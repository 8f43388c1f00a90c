"""A study as a job of Slurm: Ray over the job's nodes, the study's driver on the first of them.

The job starts Ray itself (`cluster/slurm.sh.j2`). Before its time limit, and when it is preempted,
Slurm sends it SIGTERM: the points save, and the job queues again under its number. `study stop`
sends SIGUSR1, after which it does not.
"""

from __future__ import annotations

import re
import shlex
import sys
import time
from pathlib import Path
from typing import Annotated

from pydantic import Field, PositiveInt, StringConstraints

from study.plan.planner import Study
from study.submit import doctor
from study.submit.cluster_file import NodeOptions, fill, limit_hours, node_count
from study.submit.programs import ProgramError, call
from study.submit.ray_job import STOP_SECONDS
from workloads.errors import InputError
from workloads.schema.strict_yaml import Loaded

# What stands in a line of #SBATCH: it has no quotes to escape in.
Word = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.,:=@&|*!+-]+$")]
POLL_SECONDS = 2.0
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL")
# What sbatch says of a key, and which one it is.
BLAMED = {
    "partition": r"partition",
    "account": r"account",
    "qos": r"QOS",
    "max_hours": r"[Tt]ime limit",
    "constraint": r"[Ff]eature|constraint",
    "gpu_type": r"gres|GRES",
    "nodes": r"[Nn]ode",
}


class SlurmOptions(NodeOptions):
    """What a study takes of a Slurm cluster."""

    partition: Word | None = None
    """The partition; left out, the cluster's own choice."""
    account: Word | None = None
    """The account that pays."""
    qos: Word | None = None
    """The quality of service."""
    constraint: Word | None = None
    """Features that the nodes must have."""
    gpu_type: Word | None = None
    """Slurm's name of the GPU, such as a100."""
    max_hours: Annotated[PositiveInt, Field(le=8760)] | None = None
    """The partition's time limit in hours; a study that takes longer queues again."""


class Slurm:
    """A Slurm cluster, asked through its own programs on a login node."""

    def __init__(self, options: Loaded[SlurmOptions]) -> None:
        self._options = options

    def render(self, study: Study) -> str:
        """Return the script that sbatch gets.

        Raises InputError for a runs folder that no #SBATCH line can name, and where the nodes hold
        no point.
        """
        log = study.directory / "slurm-%j.out"
        if not re.fullmatch(r"[\w./@+-]+", str(study.directory)):
            raise InputError(f"--runs {study.runs_dir}: Slurm takes no spaces or signs; rename it")
        options, hours = self._options.value, limit_hours(study)
        return fill(
            "slurm.sh.j2",
            study=study.name,
            options=options,
            nodes=node_count(study, self._options),
            hours=min(hours, options.max_hours or hours),
            log=log,
            programs=shlex.quote(str(Path(sys.executable).parent)),
            spec=shlex.quote(str(study.spec.path.resolve())),
            runs=shlex.quote(str(study.runs_dir)),
        )

    def find(self, name: str) -> str | None:
        """Return the number of the study's job that waits or runs, if there is one."""
        jobs = self._call("squeue", "--me", "--noheader", "--format=%i", f"--name=study-{name}")
        return next(iter(jobs.split()), None)

    def problems(self, study: Study) -> list[str]:
        """Return a line for each problem of this machine, which has the job's files, and of the
        ledger. The job itself runs the preflight on its nodes before it starts the study."""
        self.render(study)
        checks = [
            *doctor.examine_machine(study.runs_dir, study),
            doctor.check_ledger(study.runs_dir, study),
        ]
        return [f"problem  {c.name}: {c.found}; {c.cure}" for c in checks if not c.ok]

    def submit(self, study: Study) -> str:
        """Queue the study and return the job's number."""
        script = self.render(study)
        study.directory.mkdir(parents=True, exist_ok=True)  # Slurm opens the log there
        return self._call("sbatch", "--parsable", given=script).strip().partition(";")[0]

    def follow(self, job: str) -> int:
        """Print the job's log as it grows, over all its restarts; return 0 where it completed."""
        log, shown = Path(self._field(job, "StdOut")), 0
        while (state := self._field(job, "JobState")) not in ENDED:
            shown = _print_from(log, shown)
            time.sleep(POLL_SECONDS)
        _print_from(log, shown)
        return 0 if state == "COMPLETED" else 1

    def stop(self, job: str) -> None:
        """Have the job save and end; return when it has."""
        if self._field(job, "JobState") == "PENDING":
            self._call("scancel", job)
        else:
            self._call("scancel", "--batch", "--signal=USR1", job)
        deadline = time.monotonic() + 2 * STOP_SECONDS
        while self._field(job, "JobState") not in ENDED:
            if time.monotonic() > deadline:
                raise InputError(f"job {job} does not stop; end it: scancel {job}")
            time.sleep(POLL_SECONDS)

    def _field(self, job: str, name: str) -> str:
        """Return a field of the job's record."""
        found = re.search(rf"\b{name}=(\S+)", self._call("scontrol", "show", "job", job))
        return found[1] if found else ""

    def _call(self, program: str, *arguments: str, given: str = "") -> str:
        try:
            return call(program, *arguments, given=given)
        except ProgramError as error:
            message = str(error)
            blamed = next((key for key, sign in BLAMED.items() if re.search(sign, message)), None)
            place = (blamed,) if blamed else ()
            raise self._options.error(place, f"{message}; correct it here") from None


def _print_from(log: Path, shown: int) -> int:
    """Print what the log has beyond `shown` bytes; return its bytes so far."""
    if not log.exists():
        return shown
    with log.open("rb") as file:
        file.seek(shown)
        new = file.read()
    print(new.decode("utf-8", "replace"), end="", flush=True)
    return shown + len(new)
