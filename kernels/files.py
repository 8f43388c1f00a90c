"""Files that appear whole or not at all, whatever other processes read or write meanwhile."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def read_bytes(path: Path) -> bytes:
    """Read a file, and never wait for one: a pipe in its place is refused.

    Raises:
        OSError: there is no such file, it is not a regular one, or it cannot be read.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_bytes()


def write_atomically(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file in place of any earlier one of that name; create its folder if needed.

    Text is written as UTF-8. With `durable` the content is on the disk when this returns.

    Raises:
        OSError: the file cannot be written; the earlier one stands then.
    """
    with _written_aside(path, content, durable) as temporary:
        temporary.replace(path)
    if durable:
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, so that files moved into it survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def create_file(path: Path, text: str) -> None:
    """Write a text file unless there is one of that name; create its folder if needed.

    If several processes create the same file, the first one succeeds.

    Raises:
        FileExistsError: there is such a file.
    """
    with _written_aside(path, text) as temporary:
        os.link(temporary, path)  # Unlike a rename, a link never replaces a file.


def append_line(path: Path, line: str) -> None:
    """Append one line to a text file in one write; create the file and its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path), path.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Give an OSError of the context a path where it has none, as one of a write has not."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


@contextmanager
def _written_aside(path: Path, content: str | bytes, durable: bool = False) -> Iterator[Path]:
    """Write the content to a temporary file beside `path`, and remove that file at the end."""
    # Processes on several machines may share a folder, and their numbers.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with naming(path), temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
