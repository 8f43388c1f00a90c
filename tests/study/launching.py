"""Launching the real command line, and killing it for real."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

import study.__main__
from study.ledger import reader
from study.ledger.reader import Record
from study.plan.planner import Study
from tests.command import run_main

ROOT = Path(__file__).parents[2]
LAUNCH_SECONDS = 240.0

# A study of two points that takes seconds; tests fill in the braces.
SPEC = """\
study: {name}
max_total_flops: 1.0e13
grid:
  preset: [{preset}]
  ffn:
    - {{kind: dense}}
    - {{kind: lowrank, fraction: 0.3125}}
budget: {{steps: {steps}}}
eval_tokens: 8192
runtime: {{log_interval: 5, eval_interval: 10, checkpoint_interval: 10}}
resources: {{num_workers: {num_workers}}}
"""


@dataclass(frozen=True)
class Launched:
    """A study after its run, with what the run wrote to stdout and stderr."""

    study: Study
    stdout: str
    stderr: str


def study_command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "study", *map(str, arguments)]


def study_cli(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `python -m study ...` as a user would; the repository is not the working directory."""
    done = subprocess.run(
        study_command(*arguments),
        capture_output=True,
        text=True,
        timeout=LAUNCH_SECONDS,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def in_process(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run `python -m study ...` in this process, which saves the seconds of starting another."""
    done = run_main(study.__main__.main, "study", *arguments)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def launch(spec: Path, runs_dir: Path) -> subprocess.Popen[str]:
    """Start `python -m study run` and leave it running."""
    return subprocess.Popen(
        study_command("run", spec, "--runs", runs_dir),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def records_of(runs_dir: Path, study: str) -> dict[str, Record]:
    return reader.read(reader.tracking_uri(runs_dir), study)


def wait_for(condition: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that are free, below those that Ray gives its workers."""
    free = []
    for port in range(6400, 10_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                free.append(port)
        if len(free) == count:
            break
    return free


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def trainer_of(run_dir: Path) -> psutil.Process | None:
    """The process that trains in `run_dir`: the one that holds its lock file open."""
    lock = str(run_dir / ".lock")
    for process in psutil.process_iter():
        try:
            if any(file.path == lock for file in process.open_files()):
                return process
        except psutil.Error:
            continue
    return None
