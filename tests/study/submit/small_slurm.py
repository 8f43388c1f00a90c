"""A Slurm of one machine: stand-ins of its programs that run real processes.

`install` writes sbatch, srun, scontrol, squeue and scancel into a folder. The nodes of a job are
names of this machine. A job runs its script, is requeued under its number, and is signalled as
Slurm does it: `scancel --batch --signal` reaches the script alone.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

PROGRAMS = ("sbatch", "srun", "scontrol", "squeue", "scancel")
NODES = ("localhost", "127.0.0.1")
WAITING = {"PENDING", "RUNNING"}


def install(folder: Path) -> None:
    """Write the programs into `folder/bin`; `folder/jobs` is the cluster's memory."""
    (folder / "bin").mkdir(parents=True)
    (folder / "jobs").mkdir()
    for name in PROGRAMS:
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {__file__} {folder} {name} "$@"\n')
        program.chmod(0o755)


class Jobs:
    """The records of the jobs, one file each."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "jobs"

    def read(self, number: str) -> dict[str, Any]:
        return json.loads((self._folder / f"{number}.json").read_text())

    def change(self, number: str, **fields: Any) -> None:
        path = self._folder / f"{number}.json"
        record = self.read(number) if path.exists() else {}
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(json.dumps(record | fields))
        scratch.rename(path)

    def numbers(self) -> list[str]:
        return sorted((path.stem for path in self._folder.glob("*.json")), key=int)


def sbatch(folder: Path, jobs: Jobs, arguments: list[str]) -> int:
    """Queue the script on standard input; print its number."""
    script = sys.stdin.read()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)$", script, re.MULTILINE))
    if options.get("partition", "cpu") != "cpu":
        print(
            f"sbatch: error: invalid partition specified: {options['partition']}\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified",
            file=sys.stderr,
        )
        return 1
    number = str(int(jobs.numbers()[-1]) + 1 if jobs.numbers() else os.getpid() % 1000 + 1)
    path = folder / f"{number}.sh"
    path.write_text(script)
    log = options["output"].replace("%j", number)
    jobs.change(
        number, name=options["job-name"], state="PENDING", log=log, nodes=int(options["nodes"])
    )
    subprocess.Popen(
        [sys.executable, __file__, folder, "daemon", number],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "daemon.log").open("a"),
        start_new_session=True,
    )
    print(number)
    return 0


def daemon(folder: Path, jobs: Jobs, arguments: list[str]) -> int:
    """Run a job's script to its end, and again as often as it is requeued."""
    [number] = arguments
    job, restarts = jobs.read(number), 0
    while True:
        environment = {
            "SLURM_JOB_ID": number,
            "SLURM_JOB_NUM_NODES": str(job["nodes"]),
            "SLURM_JOB_NODELIST": ",".join(NODES[: job["nodes"]]),
            "SLURM_RESTART_COUNT": str(restarts),
        }
        with open(job["log"], "a") as log:
            script = subprocess.Popen(
                ["bash", folder / f"{number}.sh"],
                env=os.environ | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            jobs.change(number, state="RUNNING", requeue=False, pid=script.pid)
            code = script.wait()
        with suppress(ProcessLookupError):  # Slurm ends what a script leaves
            os.killpg(script.pid, signal.SIGKILL)
        job = jobs.read(number)
        if not job["requeue"]:
            cancelled = job["state"] == "CANCELLED"
            if not cancelled:
                jobs.change(number, state="FAILED" if code else "COMPLETED")
            return 0
        jobs.change(number, state="PENDING")
        restarts += 1


def srun(folder: Path, jobs: Jobs, arguments: list[str]) -> int:
    """Run a command once on each node that the options name; SIGTERM reaches the commands."""
    place = next(i for i, word in enumerate(arguments) if not word.startswith("--"))
    options = dict(re.findall(r"--([\w-]+)=(\S+)", " ".join(arguments[:place])))
    nodes = os.environ["SLURM_JOB_NODELIST"].split(",")
    nodes = [node for node in nodes if node != options.get("exclude")]
    nodes = [options["nodelist"]] if "nodelist" in options else nodes
    assert len(nodes) == int(options["nodes"]), arguments
    tasks = [
        subprocess.Popen(arguments[place:], env=os.environ | {"SLURM_NODEID": str(i)})
        for i, _ in enumerate(nodes)
    ]
    signal.signal(signal.SIGTERM, lambda *_: [task.terminate() for task in tasks])
    return max(task.wait() for task in tasks)


def scontrol(folder: Path, jobs: Jobs, arguments: list[str]) -> int:
    """`show hostnames LIST`, `show job ID` and `requeue ID`."""
    *words, last = arguments
    if words == ["show", "hostnames"]:
        print("\n".join(last.split(",")))
    elif words == ["show", "job"]:
        job = jobs.read(last)
        print(f"JobId={last} JobName={job['name']}\n   JobState={job['state']} Reason=None")
        print(f"   StdOut={job['log']}")
    else:
        jobs.change(last, requeue=True)
    return 0


def squeue(folder: Path, jobs: Jobs, arguments: list[str]) -> int:
    """Print the numbers of the jobs of that name that wait or run."""
    name = next(word.partition("=")[2] for word in arguments if word.startswith("--name="))
    for number in jobs.numbers():
        if jobs.read(number)["name"] == name and jobs.read(number)["state"] in WAITING:
            print(number)
    return 0


def scancel(folder: Path, jobs: Jobs, arguments: list[str]) -> int:
    """End a job: SIGTERM to all of it; or send its script a signal, with --batch."""
    *options, number = arguments
    pid = jobs.read(number)["pid"]
    if "--batch" in options:
        [name] = (word.partition("=")[2] for word in options if word.startswith("--signal="))
        os.kill(pid, signal.Signals[f"SIG{name}"])
        return 0
    jobs.change(number, state="CANCELLED")
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGTERM)
    return 0


if __name__ == "__main__":
    where, program, *rest = sys.argv[1:]
    sys.exit(globals()[program](Path(where), Jobs(Path(where)), rest))
