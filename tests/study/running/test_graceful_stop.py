"""A trainer that is told to stop leaves without loss, whatever it waits for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from study.running import graceful_stop
from study.running.graceful_stop import GracefulStop
from tests.study.launching import ROOT, wait_for

# As in a worker of Ray: a thread trains, and the main thread leaves the interpreter on SIGTERM. It
# wakes up by itself, as Ray's does each 10 ms: Python lets a main thread that waits for a lock go
# on waiting when a second signal arrives while the first is handled.
WORKER = """
import signal, sys, threading, time
from pathlib import Path
from study.running import graceful_stop
from study.running.graceful_stop import GracefulStop

folder = Path(sys.argv[1])

def unanswered(row):
    (folder / "reporting").touch()
    threading.Event().wait()

def failing(row):
    (folder / "reporting").touch()
    raise RuntimeError("the worker shuts down")

def train():
    with GracefulStop(folder / "stop") as stop:
        stop.report(globals()[sys.argv[2]], {"step": 1})
        (folder / "saved").write_text(f"stop requested: {stop.is_requested()}")

signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
threading.Thread(target=train, daemon=True).start()
while True:
    time.sleep(0.01)
"""


@pytest.mark.parametrize("report", ["unanswered", "failing"])
def test_exit_waits_for_the_trainer_and_not_for_its_report(tmp_path: Path, report: str) -> None:
    worker = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), report], cwd=ROOT)
    wait_for(lambda: (tmp_path / "reporting").exists())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 1
    assert (tmp_path / "saved").read_text() == "stop requested: True"


# A process that does not survive the signal, as Ray's does not at some moments.
FRAGILE = """
import os, signal, sys, threading, time
from pathlib import Path
from study.running import graceful_stop
from study.running.graceful_stop import GracefulStop

folder = Path(sys.argv[1])
graceful_stop.SAVING_SECONDS = float(sys.argv[2])

def train():
    with GracefulStop(folder / "stop") as stop:
        while signal.getsignal(signal.SIGTERM) is die:
            time.sleep(0.01)
        (folder / "training").touch()
        while not stop.is_requested():
            time.sleep(0.01)
        (folder / "asked").touch()
        while (folder / "hangs").exists():
            time.sleep(0.01)
        (folder / "saved").touch()

def die(number, frame):
    os._exit(3 if (folder / "saved").exists() else 4)

signal.signal(signal.SIGTERM, die)
threading.Thread(target=train, daemon=True).start()
while True:
    time.sleep(0.01)
"""


def test_the_process_has_the_signal_once_the_trainer_has_saved(tmp_path: Path) -> None:
    worker = subprocess.Popen([sys.executable, "-c", FRAGILE, str(tmp_path), "60"], cwd=ROOT)
    wait_for(lambda: (tmp_path / "training").exists())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 3


def test_a_trainer_that_hangs_keeps_the_signal_no_longer_than_it_may_take(tmp_path: Path) -> None:
    (tmp_path / "hangs").touch()
    worker = subprocess.Popen([sys.executable, "-c", FRAGILE, str(tmp_path), "0.2"], cwd=ROOT)
    wait_for(lambda: (tmp_path / "training").exists())
    worker.send_signal(signal.SIGTERM)
    wait_for(lambda: (tmp_path / "asked").exists())
    assert worker.poll() is None
    time.sleep(0.3)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 4


def test_report_is_sent_before_the_trainer_goes_on(tmp_path: Path) -> None:
    rows = []
    with GracefulStop(tmp_path / "stop") as stop:
        stop.report(rows.append, {"step": 1})
        assert rows == [{"step": 1}] and not stop.is_requested()
        (tmp_path / "stop").touch()
        assert stop.is_requested()


@pytest.mark.parametrize("error", [SystemExit(0), RuntimeError("the session is over")])
def test_what_a_report_raises_reaches_the_trainer(
    tmp_path: Path, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graceful_stop, "EXIT_SECONDS", 0.1)

    def report(row: object) -> None:
        raise error

    with GracefulStop(tmp_path / "stop") as stop, pytest.raises(type(error)):
        stop.report(report, {"step": 1})


STOPPED = """
import sys, time
from pathlib import Path
from study.running.graceful_stop import stop_on_signal

stop_file = Path(sys.argv[1])
with stop_on_signal(stop_file):
    print("running", flush=True)
    while not stop_file.exists():
        time.sleep(0.01)
print("saved", flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_stops_and_the_next_ends_whenever_it_comes(
    tmp_path: Path, first: signal.Signals
) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", STOPPED, str(tmp_path / "stop")],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert driver.stdout is not None and driver.stdout.readline() == "running\n"
    driver.send_signal(first)
    assert driver.stdout.readline() == "saved\n"
    driver.send_signal(signal.SIGINT)
    assert driver.communicate(timeout=20) == ("", "") and driver.returncode == -signal.SIGINT


def test_a_signal_that_is_ignored_stays_so(tmp_path: Path) -> None:
    command = ["nohup", sys.executable, "-c", STOPPED, str(tmp_path / "stop")]
    with subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as driver:
        assert driver.stdout is not None and driver.stdout.readline() == "running\n"
        driver.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert driver.poll() is None and not (tmp_path / "stop").exists()
        driver.kill()
