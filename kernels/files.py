"""Files that appear whole or not at all, whatever other processes read or write meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def replace_file(path: Path, text: str) -> None:
    """Write a text file in place of any earlier file of that name; create its folder if needed."""
    with _written_aside(path, text) as temporary:
        temporary.replace(path)


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
    with path.open("ab", buffering=0) as file:
        file.write(f"{line}\n".encode())


@contextmanager
def _written_aside(path: Path, text: str) -> Iterator[Path]:
    """Write the text to a temporary file beside `path`, and remove that file at the end."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_text(text, encoding="utf-8", newline="")
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
