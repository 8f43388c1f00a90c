"""Results that follow from files, remembered in the user's cache until one of the files changes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from kernels.files import read_bytes, write_atomically
from workloads.files import measured_here

# Clocks of file systems tick in milliseconds. A file that changed this recently may change again
# without a new time, so nothing is remembered of it yet.
SETTLED_NANOSECONDS = 2 * 10**9


def remembered(purpose: Any, files: Iterable[Path], compute: Callable[[], str]) -> str:
    """Return `compute()`, or what it returned before for this purpose and the files as they are.

    `purpose` is JSON-ready and holds all that the result follows from beside the files. A file
    counts as changed when its path, its size, or one of its times (content, inode) differs. The
    cache may be deleted, damaged or read-only, and written by several processes at once.
    """
    state = _state(purpose, files)
    if state is None:
        return compute()
    known = _read(state)
    if known is not None:
        return known
    result = compute()
    _write(state, result)
    return result


def _state(purpose: Any, files: Iterable[Path]) -> str | None:
    """Return a hash of the purpose and of the files' states, or None where it may not hold."""
    digest = hashlib.sha256(json.dumps(purpose, sort_keys=True).encode())
    settled = time.time_ns() - SETTLED_NANOSECONDS
    try:
        for path in files:
            found = path.stat()
            times = found.st_mtime_ns, found.st_ctime_ns
            if max(times) > settled:
                return None
            digest.update(json.dumps([str(path.absolute()), found.st_size, *times]).encode())
    except OSError:
        return None
    return digest.hexdigest()


def _read(state: str) -> str | None:
    try:
        result, checksum = read_bytes(_place(state)).decode().splitlines()
    except (OSError, ValueError):
        return None
    return result if checksum == _checksum(state, result) else None


def _write(state: str, result: str) -> None:
    # Where the cache cannot be written, the result is computed again the next time.
    with suppress(OSError):
        write_atomically(_place(state), f"{result}\n{_checksum(state, result)}\n")


def _place(state: str) -> Path:
    """Return the record's file."""
    return measured_here(f"unchanged/{state}")


def _checksum(state: str, result: str) -> str:
    return hashlib.sha256(f"{state} {result}".encode()).hexdigest()
