"""How `python -m analysis` ends: what a terminal or its reader refuses is at most one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A Ctrl-C while the room's modules load: it comes when one of them imports this library.
INTERRUPTED = """
import builtins, os, runpy, signal, sys
room, library = sys.argv[1:]
found = builtins.__import__
def interrupting(name, *arguments, **options):
    if name == library:
        os.kill(os.getpid(), signal.SIGINT)
    return found(name, *arguments, **options)
builtins.__import__ = interrupting
sys.argv = [room, "--help"]
runpy.run_module(room, run_name="__main__")
"""


def start(*command: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=ROOT,
        text=True,
        # A shell that starts tests in the background has them ignore Ctrl-C, which is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options),  # type: ignore[arg-type]  # a choice of options
    )


@pytest.fixture
def table(tmp_path: Path) -> str:
    """Return the path of a table whose arm no Latin alphabet can write."""
    rows = [f"密,{c},{3 * c**-0.05}" for c in (1e12, 2e12, 4e12, 8e12)]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(["arm,train_flops,val_loss", *rows]), encoding="utf-8")
    return str(path)


def fit(table: str) -> tuple[str, ...]:
    return ("-m", "analysis", "fit", table, "--law", "compute", "--by", "arm", "--bootstrap", "0")


def test_a_terminal_without_the_characters_shows_their_numbers(table: str) -> None:
    process = start(*fit(table), env=os.environ | {"PYTHONIOENCODING": "latin-1"})
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.startswith("\\u5bc6: ")


def test_a_full_disk_for_the_output_is_one_line(table: str) -> None:
    with Path("/dev/full").open("w") as full:
        process = start(*fit(table), stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == "standard output: No space left on device; free some space\n"


def test_a_reader_that_has_gone_is_no_error(table: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    process = start(*fit(table), stdout=writing)
    os.close(writing)
    assert process.communicate(timeout=60)[1] == "" and process.returncode == 1


@pytest.mark.parametrize(
    ("room", "library", "code"),
    [
        ("analysis", "pandas", -signal.SIGINT),
        ("cluster", "typer", -signal.SIGINT),
        ("kernels", "typer", 128 + signal.SIGINT),
        ("study", "pydantic", 128 + signal.SIGINT),
        ("workloads", "numpy", 128 + signal.SIGINT),
    ],
)
def test_ctrl_c_while_modules_load_is_no_traceback(room: str, library: str, code: int) -> None:
    process = start("-c", INTERRUPTED, room, library)
    assert process.communicate(timeout=60) == ("", "") and process.returncode == code
