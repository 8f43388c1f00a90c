"""The programs of a cluster's own: sbatch, kubectl and the like."""

from __future__ import annotations

import subprocess

from workloads.errors import InputError

CALL_SECONDS = 120


class ProgramError(Exception):
    """The refusal of a program, in the last line that it printed about it."""


def call(program: str, *arguments: str, given: str = "") -> str:
    """Return what the program prints; `given` is its standard input.

    Raises InputError where it is not installed, ProgramError where it fails or does not end.
    """
    try:
        done = subprocess.run(
            [program, *arguments],
            input=given,
            capture_output=True,
            text=True,
            timeout=CALL_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise InputError(f"{program} is not on this machine; submit from one that has it") from None
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{program} does not answer in {CALL_SECONDS} s") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise ProgramError(lines[-1].strip() if lines else f"exit code {done.returncode}")
    return done.stdout
