"""An exception in one line, as the ledger and `study status` show it."""

from __future__ import annotations

import errno

import torch

from workloads.errors import InputError

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
RAN_OUT = "out of memory"  # How the line of such an exception begins.
NO_SPACE = "No space left on device"


def describe(error: BaseException) -> str:
    """Return an exception in one line.

    That is the message of an InputError; `out of memory: ...` and `no space left on the disk: ...`
    for those two, whatever raised them; and `TYPE: message` for any other.
    """
    text = " ".join((str(error) or type(error).__name__).split())
    if isinstance(error, InputError):
        return text
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(
        phrase in text for phrase in OUT_OF_MEMORY
    ):
        return f"{RAN_OUT}: {text}"
    if NO_SPACE in text or getattr(error, "errno", None) == errno.ENOSPC:
        return f"no space left on the disk: {text}"
    return f"{type(error).__name__}: {text}"
