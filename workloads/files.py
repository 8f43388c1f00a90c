"""The user's cache, folders that appear whole, and directories that one process holds alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kernels.files import sync_folder
from workloads.errors import InputError


def measured_here(file: str) -> Path:
    """Return where this user keeps measurements of this machine: $XDG_CACHE_HOME or ~/.cache.

    A user without a home keeps them in the folder of temporary files.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not cache.is_absolute():  # the XDG specification has relative paths ignored
        try:
            cache = Path.home() / ".cache"
        except RuntimeError:
            cache = Path(tempfile.gettempdir()) / f"cache-{os.getuid()}"
    return cache / "structured-scaling" / file


@contextmanager
def appearing_whole(directory: Path) -> Iterator[Path]:
    """Give a folder to fill, beside `directory`, which becomes `directory` at the end.

    Where another process was faster, its folder stays and this one is dropped; after an error, too.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.with_name(f".{directory.name}.{uuid.uuid4().hex}")
    temporary.mkdir()
    try:
        yield temporary
        temporary.rename(directory)
        sync_folder(directory.parent)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
