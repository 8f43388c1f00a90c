"""Who may use a directory: the run that claimed it, and the process that holds its lock.

A directory belongs to one run: the first to train there leaves its fingerprint, and other runs are
refused.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernels.files import write_atomically
from workloads.errors import InputError
from workloads.run_dir.paths import OWNER_FILE


def claim(run_dir: Path, fingerprint: str) -> None:
    """Claim the directory for this run. Raises InputError when it belongs to another run."""
    path = run_dir / OWNER_FILE
    owner = path.read_text(encoding="utf-8") if path.exists() else ""
    if not owner:
        write_atomically(path, fingerprint)
    elif owner != fingerprint:
        raise InputError(
            f"{run_dir} belongs to run {owner}, not {fingerprint}; choose another directory or "
            "delete this one"
        )


@contextmanager
def exclusive(directory: Path, patience_seconds: float) -> Iterator[None]:
    """Hold a directory alone, within the context or until the process dies.

    A process whose driver was killed may live some seconds beside its successor: the successor
    waits here for `patience_seconds`. Raises InputError when the other still holds the directory.
    """
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + patience_seconds
    with (directory / ".lock").open("a") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InputError(
                        f"{directory} is in use by another live process; wait for it, or stop it"
                    ) from None
                time.sleep(0.2)
        yield
