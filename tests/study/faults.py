"""A study under random kills, and its undisturbed twin: both must come to the same numbers.

    python -m tests.study.faults --seed 0 --points 40 --kills 20

At random times, drawn from the seed, one of these is killed by SIGKILL: a process that trains, the
study's driver, Ray's head (its GCS or its raylet), the MLflow server, which comes back after up to
20 seconds. After each the user's part is played: the same command again. Exit code 0 when the
study ends complete and equal to its twin, 1 when anything differs.
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from study.plan import planner
from study.plan.planner import Study
from tests.study.comparing import differences, print_table, recorded, table_differences
from tests.study.launching import ROOT, study_command
from tests.study.mlflow_server import MlflowServer
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import METRICS_FILE

KINDS = ("worker", "driver", "ray", "mlflow")
# A launch takes about ten seconds before it trains. Most gaps are longer: most kills strike then.
GAP_SECONDS = (3.0, 28.0)
DOWN_SECONDS = (1.0, 20.0)
# Names of the processes: a trial, and the controller and workers of Ray Train.
TRAINING = ("ray::ImplicitFunc", "ray::run_point", "ray::TrainController", "ray::RayTrainWorker")
HEAD = ("gcs_server", "raylet")
NOTHING = "nothing"
MOST_LAUNCHES = 200
STUDY_SECONDS = 2400.0

HEADER = """\
study: {name}
max_total_flops: 1.0e15
eval_tokens: 8192
runtime: {{log_interval: 5, eval_interval: 20, checkpoint_interval: 10}}
resources: {{num_workers: {num_workers}}}
points:
"""
SIZES = ("preset: pico, budget: {steps: 220}", "preset: nano, budget: {steps: 180}")
RATES = (4.0e-3, 2.0e-3)
ARMS = (
    "ffn: {kind: dense}",
    "ffn: {kind: lowrank, fraction: 0.3125}",
    "ffn: {kind: blockdense, nblocks: 2, fraction: 0.3125}, model: {dropout: 0.1}",
    "ffn: {kind: blockshuffle, nblocks: 4}, guide: {ratio: 0.4}",
    "ffn: {kind: lowrank, fraction: 0.5}, guide: {ratio: 0.5, mode: fixed_steps}",
)


@dataclass(frozen=True)
class Kill:
    """One planned kill: so many seconds after the one before, of one of those at hand.

    `choice` in [0, 1) picks the victim; a server is `down_seconds` away.
    """

    kind: str
    gap_seconds: float
    choice: float
    down_seconds: float


def schedule(seed: int, count: int, kinds: tuple[str, ...] = KINDS) -> list[Kill]:
    """`count` kills, each kind equally often (to within one), in random order."""
    draw = random.Random(seed)
    chosen = list(itertools.islice(itertools.cycle(kinds), count))
    draw.shuffle(chosen)
    return [
        Kill(kind, draw.uniform(*GAP_SECONDS), draw.random(), draw.uniform(*DOWN_SECONDS))
        for kind in chosen
    ]


def write_spec(path: Path, points: int, num_workers: int = 0) -> Path:
    """A study, named as its file, of so many points that differ in kind, guide, rate or seed."""
    rows = (
        f"  - {{{size}, {arm}, learning_rate: {rate}, seed: {seed}}}\n"
        for seed in itertools.count()
        for rate, arm, size in itertools.product(RATES, ARMS, SIZES)
    )
    header = HEADER.format(name=path.stem, num_workers=num_workers)
    path.write_text(header + "".join(itertools.islice(rows, points)))
    return path


class Launches:
    """`python -m study run SPEC`, started again whenever it ends otherwise than complete."""

    def __init__(self, spec: Path, runs_dir: Path, uri: str) -> None:
        self.study = planner.load(spec, runs_dir)
        self._command = study_command("run", spec, "--runs", runs_dir)
        self._environment = os.environ | {"PYTHONPATH": str(ROOT), "MLFLOW_TRACKING_URI": uri}
        self._log = runs_dir / f"{self.study.name}.log"
        self._deadline = time.monotonic() + STUDY_SECONDS
        self.exit_codes: list[int] = []
        self.process = self._start()

    def wait(self, seconds: float = STUDY_SECONDS) -> bool:
        """Wait so long, or until the study is complete: True if it is."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.complete():
                return True
            time.sleep(0.1)
        return False

    def complete(self) -> bool:
        """Whether the command has ended with 0; if with another code, start it again."""
        assert time.monotonic() < self._deadline, f"{self.study.name} does not end: {self._log}"
        code = self.process.poll()
        if code:
            self.exit_codes.append(code)
            assert len(self.exit_codes) < MOST_LAUNCHES, f"it always ends with {code}: {self._log}"
            self.process = self._start()
        return code == 0

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdout=log, stderr=subprocess.STDOUT, env=self._environment
            )


class Disturber:
    """Carries out a schedule of kills on a study, and prints each."""

    def __init__(self, launches: Launches, server: MlflowServer) -> None:
        self._launches, self._server = launches, server
        self._restart = threading.Thread()
        self._began = time.monotonic()
        self.struck = 0

    def run(self, kills: list[Kill]) -> None:
        """Until the study is complete, by then with fewer kills if it was too fast for them."""
        for kill in kills:
            if self._launches.wait(kill.gap_seconds) or not self._strike(kill):
                break
            self.struck += 1
        complete = self._launches.wait()
        self._await_server()
        assert complete

    def _strike(self, kill: Kill) -> bool:
        """Wait for a victim and kill it; False when the study is complete before."""
        if kill.kind == "mlflow":
            self._await_server()
            self._print(kill, self._server.pid, "mlflow server")
            self._server.kill()
            self._restart = threading.Timer(kill.down_seconds, self._server.start)
            self._restart.start()
            return True
        while not (victims := self._victims(kill.kind)):
            if self._launches.wait(0.1):
                return False
        victim = victims[int(kill.choice * len(victims))]
        try:
            self._print(kill, victim.pid, _title(victim))
            victim.kill()
        except psutil.NoSuchProcess:  # it ended by itself in between: another one
            return self._strike(kill)
        return True

    def _victims(self, kind: str) -> list[psutil.Process]:
        try:
            driver = psutil.Process(self._launches.process.pid)
            if kind == "driver":
                return [driver] if driver.status() != psutil.STATUS_ZOMBIE else []
            if kind == "worker" and _training(self._launches.study) == NOTHING:
                return []
            family = driver.children(recursive=True)
            titles = HEAD if kind == "ray" else TRAINING
            return [process for process in family if _title(process).startswith(titles)]
        except psutil.NoSuchProcess:
            return []

    def _await_server(self) -> None:
        if self._restart.is_alive():
            self._restart.join()

    def _print(self, kill: Kill, pid: int, title: str) -> None:
        down = f" for {kill.down_seconds:.0f} s" if kill.kind == "mlflow" else ""
        print(
            f"{time.monotonic() - self._began:6.0f} s  kill {self.struck + 1:>2}  {kill.kind:<6} "
            f"pid {pid:<7} {title}{down}; training: {_training(self._launches.study)}",
            flush=True,
        )


def _title(process: psutil.Process) -> str:
    """What the process calls itself; programs that are not Python by the file's name."""
    name = process.name()
    return name if name in HEAD else " ".join(process.cmdline()[:1])


def _training(study: Study) -> str:
    """The points that a process holds at this moment, with the last step they recorded."""
    points = []
    for point in study.points:
        run_dir = study.run_dir(point)
        if _is_held(run_dir / ".lock"):
            rows, _ = read_rows(run_dir / METRICS_FILE)
            points.append(f"{point.id} at {rows[-1]['step'] if rows else 0:.0f}")
    return ", ".join(points) or NOTHING


def _is_held(lock: Path) -> bool:
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def compare_under_kills(
    spec: Path, twin_spec: Path, runs_dir: Path, kills: list[Kill], server: MlflowServer
) -> list[str]:
    """Run the twin, then the study under kills; print both; return what differs."""
    for path, planned in ((twin_spec, []), (spec, kills)):
        began = time.monotonic()
        launches = Launches(path, runs_dir, server.uri)
        disturber = Disturber(launches, server)
        try:
            disturber.run(planned)
        finally:
            launches.stop()
        print(
            f"{path.stem}: complete in {time.monotonic() - began:.0f} s, {disturber.struck} kills, "
            f"exit codes {[*launches.exit_codes, 0]}",
            flush=True,
        )
    twin, disturbed = (recorded(server.store, path.stem) for path in (twin_spec, spec))
    study = planner.load(spec, runs_dir)
    found = differences(twin, disturbed)
    found += table_differences(server.store, twin_spec.stem, spec.stem)
    if disturber.struck < len(kills):
        found.append(
            f"complete after {disturber.struck} of {len(kills)} kills: give it more points"
        )
    if len(disturbed) == len(study.points):
        print_table(study, twin, disturbed)
    return found


def inject(directory: Path, seed: int, points: int, kills: int, kinds: tuple[str, ...]) -> int:
    """All of it in `directory`: the study trained in trials, and a small one on Train's workers.

    Returns the number of differences, which are printed.
    """
    print(f"under {directory}, seed {seed}", flush=True)
    on_workers = tuple(kind for kind in kinds if kind != "mlflow")
    server = MlflowServer(directory)
    found: list[str] = []
    try:
        for name, count, num_workers, planned in (
            ("trials", points, 0, schedule(seed, kills, kinds)),
            ("workers", 2, 2, schedule(seed + 1, len(on_workers), on_workers)),
        ):
            spec, twin = (
                write_spec(directory / f"{name}-{role}.yaml", count, num_workers)
                for role in ("disturbed", "twin")
            )
            found += compare_under_kills(spec, twin, directory, planned, server)
    finally:
        server.kill()
    print("\n".join(found) or "every run, metric and table entry is equal to the twin's")
    return len(found)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.study.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--points", type=int, default=40)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--kinds", default=",".join(KINDS), help="which to kill, by commas")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="faults-"))
    kinds = tuple(given.kinds.split(","))
    sys.exit(1 if inject(directory, given.seed, given.points, given.kills, kinds) else 0)


if __name__ == "__main__":
    main()
