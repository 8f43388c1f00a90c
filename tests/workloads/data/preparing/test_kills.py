"""Preparations by real processes: as many as one likes, and killed whenever one likes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.workloads.data.preparing.corpora import TOKENIZER, hashes, write_file
from workloads.data import prepare_commands

ROOT = Path(__file__).parents[4]
# Every file is a piece of its own, so that there are many of them in little text.
COMMAND = """
import sys
from workloads.data.preparing import pieces
pieces.UNIT_BYTES = 20_000
from workloads.__main__ import main
main()
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for file in range(150):
        texts = [f"{file} {n} " + "more words of every kind, é. " * 30 for n in range(20)]
        write_file(folder / f"{file:03d}.jsonl.gz", texts)
    return folder


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed")
    assert finish(start(source, out, "--workers", "1")) == 0
    return out


def start(source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    arguments = ["data", "prepare", str(source), "--tokenizer", TOKENIZER, "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, *arguments, *options],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> int:
    out, err = process.communicate(timeout=100)
    print(out, err)
    return process.returncode


def parts(out: Path) -> set[str]:
    return {path.name for path in (out / "parts").glob("*.npz")}


def wait_for_parts(out: Path, count: int, process: subprocess.Popen[str]) -> None:
    while len(parts(out)) < count:
        assert process.poll() is None
        time.sleep(0.01)


@pytest.fixture
def out(tmp_path: Path, undisturbed: Path) -> Iterator[Path]:
    """A folder that in the end holds what an undisturbed preparation made."""
    yield tmp_path / "out"
    assert hashes(tmp_path / "out") == hashes(undisturbed)
    assert parts(tmp_path / "out") == parts(undisturbed)
    assert not list((tmp_path / "out" / "parts").glob(".*"))


@pytest.mark.slow
def test_killed_three_times_and_run_again(source: Path, out: Path) -> None:
    for count in (1, 40, 90):
        process = start(source, out, "--workers", "2")
        wait_for_parts(out, count, process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
        kept = parts(out)
        _, alive = psutil.wait_procs(workers, timeout=10)
        assert not alive
        assert kept <= parts(out)
    kept = {path: path.stat().st_mtime_ns for path in (out / "parts").glob("*.npz")}
    assert finish(start(source, out, "--workers", "2")) == 0
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_killed_at_twenty_random_times(
    workers: int, source: Path, out: Path, undisturbed: Path
) -> None:
    """The process is killed alone, or with its workers, wherever it is."""
    draw, begun = random.Random(workers), time.monotonic()
    assert finish(start(source, out.with_name("timed"), "--workers", str(workers))) == 0
    seconds = time.monotonic() - begun
    killed = 0
    while killed < 20:
        process = start(source, out, "--workers", str(workers))
        try:
            process.wait(draw.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            killed += 1
            draw.choice((os.kill, os.killpg))(process.pid, signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:  # The rest of the kills are of another preparation.
            assert hashes(out) == hashes(undisturbed)
            shutil.rmtree(out)
    assert finish(start(source, out, "--workers", str(workers))) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_quietly_and_run_again(source: Path, out: Path, number: signal.Signals) -> None:
    process = start(source, out, "--workers", "2")
    wait_for_parts(out, 5, process)
    if number == signal.SIGINT:  # Ctrl-C reaches the whole group
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err.splitlines()[-1] == (
        f"stopped; what is finished is kept in {out}, and the same command goes on from there"
    )
    assert "Traceback" not in err and len(parts(out)) >= 5
    assert not (out / "manifest.json").exists()
    assert finish(start(source, out, "--workers", "1")) == 0


def test_any_number_of_sigterms_is_one_stop(source: Path, out: Path) -> None:
    process = start(source, out, "--workers", "2")
    wait_for_parts(out, 1, process)
    for _ in range(5):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.01)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "Traceback" not in err
    assert err.splitlines()[-1].startswith("stopped; what is finished is kept")
    assert finish(start(source, out, "--workers", "1")) == 0


def test_a_killed_worker_is_one_line(source: Path, out: Path) -> None:
    process = start(source, out, "--workers", "2")
    wait_for_parts(out, 5, process)
    workers = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "spawn_main" in " ".join(child.cmdline())
    ]
    workers[0].kill()
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1 and "Traceback" not in err
    assert "a worker was killed, perhaps for its memory; what is finished is kept" in err
    assert finish(start(source, out, "--workers", "2")) == 0


def test_two_at_once_take_turns_or_are_told(source: Path, out: Path) -> None:
    first = start(source, out, "--workers", "1")
    wait_for_parts(out, 1, first)
    second = start(source, out, "--workers", "1")
    code, _ = finish(second), finish(first)
    assert first.returncode == 0 and code in (0, 2)
    assert finish(start(source, out, "--workers", "1")) == 0


def test_the_summary_and_its_json(source: Path, undisturbed: Path) -> None:
    again = start(source, undisturbed)
    text, err = again.communicate(timeout=60)
    assert again.returncode == 0
    assert "documents     3,000" in text and "bytes a token)" in text
    assert err.splitlines() == [err.splitlines()[0]]  # nothing was tokenized
    again = start(source, undisturbed, "--json")
    found = json.loads(again.communicate(timeout=60)[0])
    assert found["documents"] == 3000 and found["duplicates"] == 0
    assert found["train_tokens"] + found["val_tokens"] == found["tokens"]
    assert found["bytes_per_token"] == found["bytes"] / found["tokens"]


def test_a_bad_row_in_a_worker_is_one_line(source: Path, tmp_path: Path) -> None:
    process = start(source, tmp_path, "--workers", "2", "--text-field", "nothing")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith(f"{source}/") and "Traceback" not in err


def test_the_first_ctrl_c_says_what_it_waits_for_and_the_second_drops_it(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    before = signal.getsignal(signal.SIGINT)
    with prepare_commands._stopped_by_ctrl_c(2, "kept"):
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert capfd.readouterr().err == "finishing the pieces in hand; Ctrl-C again drops them\n"
        with pytest.raises(SystemExit):
            signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == "stopped; the pieces in hand are dropped; kept\n"
    assert signal.getsignal(signal.SIGINT) == before
