"""Why a point has no result, in one line: left in its directory by whoever knew it first."""

from __future__ import annotations

import errno
from pathlib import Path

import torch

from workloads.errors import InputError

CAUSE_FILE = "cause"
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
NO_SPACE = "No space left on device"


def describe(error: BaseException) -> str:
    """An exception as a person reads it: `out of memory: ...`, `no space left: ...`, or its own."""
    text = " ".join((str(error) or type(error).__name__).split())
    if isinstance(error, InputError):
        return text
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        phrase in text for phrase in OUT_OF_MEMORY
    ):
        return f"out of memory: {text}"
    if NO_SPACE in text or getattr(error, "errno", None) == errno.ENOSPC:
        return f"no space left on the disk: {text}"
    return f"{type(error).__name__}: {text}"


def leave(run_dir: Path, cause: str) -> None:
    """Write the cause, unless another worker of this attempt was first: the rest only followed."""
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / CAUSE_FILE).open("x", encoding="utf-8") as file:
            file.write(cause)
    except OSError:  # it is there already, or the disk is what failed: Ray has the error too
        pass


def clear(run_dir: Path) -> None:
    """Forget the cause of an earlier attempt."""
    (run_dir / CAUSE_FILE).unlink(missing_ok=True)


def read(run_dir: Path) -> str:
    """The cause that was left; empty when there is none."""
    try:
        return (run_dir / CAUSE_FILE).read_text(encoding="utf-8")
    except OSError:
        return ""
