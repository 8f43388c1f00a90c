"""How a command ends: a mistake is one line, whatever its terminal, disk or reader are."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kernels.command_line import explain

ROOT = Path(__file__).parents[2]
COMMAND = """
import sys, time
import typer
from kernels.command_line import run_command

app = typer.Typer(pretty_exceptions_enable=False)

@app.command()
def command(what: str):
    if what == "mistake":
        raise ValueError("correct it")
    if what == "folder":
        open("/dev/null/folder/file", "w")
    if what == "exit":
        raise typer.Exit(3)
    if what == "wait":
        try:
            print("waiting", flush=True)
            time.sleep(60)
        finally:
            print("ending", flush=True)
            time.sleep(60)
    print(what)

run_command(lambda: app, "test", ValueError)
"""


def start(what: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, what],
        cwd=ROOT,
        text=True,
        # A shell that starts tests in the background has them ignore Ctrl-C, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),  # type: ignore[arg-type]  # a choice of options
    )


@pytest.mark.parametrize(
    ("what", "code", "out", "err"),
    [
        ("words", 0, "words\n", ""),
        ("exit", 3, "", ""),
        ("mistake", 2, "", "correct it\n"),
        (
            "folder",
            2,
            "",
            "/dev/null/folder/file: Not a directory; "
            "move away what is in the way, or choose another folder\n",
        ),
    ],
)
def test_a_command_ends_with_a_code_and_at_most_a_line(
    what: str, code: int, out: str, err: str
) -> None:
    process = start(what)
    assert process.communicate(timeout=60) == (out, err) and process.returncode == code


def test_a_full_disk_for_the_output_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        process = start("words", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2 and err.count("\n") == 1
    assert "No space left on device; free some space" in err


def test_a_reader_that_has_gone_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start("words", stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=60)[1] == "" and process.returncode == 1


@pytest.mark.parametrize("encoding", ["latin-1", "ascii"])
def test_a_terminal_without_the_characters_shows_their_numbers(encoding: str) -> None:
    process = start("研究", env=os.environ | {"PYTHONIOENCODING": encoding})
    assert process.communicate(timeout=60) == ("\\u7814\\u7a76\n", "")


def test_a_second_ctrl_c_ends_a_command_that_is_still_ending() -> None:
    process = start("wait")
    assert process.stdout is not None and process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "ending\n" and process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=20)[1] == "" and process.returncode == -signal.SIGINT


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space left on device; free some"),
        (OSError(errno.EROFS, "Read-only file system", "/m/r"), "/m/r: Read-only file system; ch"),
        (OSError(errno.EXDEV, "Invalid link", "a", None, "b"), "a: b: Invalid link"),
        (OSError("two\nlines"), "two lines"),
    ],
)
def test_what_the_system_refuses_has_place_reason_and_cure(error: OSError, line: str) -> None:
    assert explain(error).startswith(line)
