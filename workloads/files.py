"""Files: written whole or not at all, and the place of what was measured on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def measured_here(file: str) -> Path:
    """Return where this user keeps measurements of this machine: $XDG_CACHE_HOME or ~/.cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification has relative paths ignored.
    home = cache if cache.is_absolute() else Path.home() / ".cache"
    return home / "structured-scaling" / file


def write_atomically(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file whole or not at all: readers see the old content or the new.

    Text is written as UTF-8. The folder is made where it is missing. With `durable` the content is
    on the disk when this returns. Raises OSError when the file cannot be written; the old file
    stands then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    data = content.encode() if isinstance(content, str) else content
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that files moved into it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
