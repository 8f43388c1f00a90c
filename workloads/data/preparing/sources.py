"""Where documents come from: files, folders and globs, here or wherever fsspec reads.

Inputs are in a fixed order: that of the sources, and within a source by relative POSIX path. Links
count as what they lead to. The kind of a file follows from its suffix, in either case; behind it
stands `.gz` or `.zst` where the file is compressed.
"""

from __future__ import annotations

import glob
import io
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, cast

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractFileSystem

from workloads.data.manifest import DataError
from workloads.data.preparing import hub

Kind = Literal["text", "jsonl", "parquet"]
Compression = Literal["gz", "zst"]
COMPRESSIONS: dict[str, Compression] = {".gz": "gz", ".zst": "zst"}
KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".jsonlines": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
}
# Suffixes of what is certainly not one document of plain text, and what to do about it.
PACKED = "is packed in a way that is not read; unpack it, or pack it as .gz or .zst"
TABLE = "is a table that is not read; turn it into JSONL or Parquet"
REFUSED = {
    **dict.fromkeys((".7z", ".br", ".bz2", ".lz4", ".rar", ".tar", ".tgz", ".xz", ".zip"), PACKED),
    **dict.fromkeys((".arrow", ".avro", ".csv", ".feather", ".orc", ".tsv", ".xlsx"), TABLE),
}
# What identifies the content of a remote file to those who serve it.
REMOTE_STATES = ("ETag", "etag", "mtime", "LastModified", "last_modified", "md5Hash", "sha256")


@dataclass(frozen=True)
class Input:
    """One file of documents.

    `name` is its path within its source. fsspec finds it as `path` in the file system of `source`.
    `size` is in bytes, as it is stored; `state` changes with the file.
    """

    name: str
    source: str
    path: str
    size: int
    state: str

    @property
    def compression(self) -> Compression | None:
        return COMPRESSIONS.get(self._suffixes[-1])

    @property
    def kind(self) -> Kind:
        """How documents are found in it; a file of plain text is one document."""
        return KINDS.get(self._suffixes[-2 if self.compression else -1], "text")

    @property
    def problem(self) -> str | None:
        """Why its name says that it cannot be read, if it does: a line with the remedy."""
        suffix = self._suffixes[-2 if self.compression else -1]
        rows = next((each for each in self._suffixes if each in KINDS and each != ".json"), None)
        if not is_utf8(self.name):
            found = "its name is not UTF-8; rename it"
        elif suffix in REFUSED:
            found = REFUSED[suffix]
        elif rows and self.kind == "text":
            found = f"would be one document of plain text; have its name end with {rows}"
        else:
            return None
        return f"{self.path}: {found}, or leave it out with --skip-bad"

    @cached_property
    def _suffixes(self) -> list[str]:
        """The last parts of its name that begin with a dot, two or more; there may be none."""
        file = self.name.rpartition("/")[2].lower()
        if self.source.startswith(("http://", "https://")):
            file = file.partition("?")[0]
        return ["", "", *(f".{part}" for part in file.split(".")[1:])]

    @property
    def local(self) -> Path | None:
        """Its path on this machine; None where it is elsewhere."""
        return Path(self.path) if _is_local(_file_system(self.source)[0]) else None

    def open(self) -> io.BufferedIOBase:
        """Open it for reading bytes, as they are stored. Raises OSError where it cannot."""
        return cast(io.BufferedIOBase, _file_system(self.source)[0].open(self.path, "rb"))


def is_utf8(text: str) -> bool:
    """Return whether a name can be written as UTF-8; the system allows names that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def find_inputs(sources: Sequence[str], hub_folder: Path) -> list[Input]:
    """List the files of the sources, in order; rows of the hub are copied to `hub_folder`.

    Hidden files within a folder are left out. Raises DataError where a source has no file, or two
    name the same one.
    """
    found: dict[str, Input] = {}
    for source in sources:
        if not source:
            raise DataError("a source is empty; name a file, or . for the current folder")
        if source.startswith(hub.PREFIX):
            source = hub.local_copy(source, hub_folder)
        inputs = sorted(_files(source), key=lambda each: each.name)
        if not inputs:
            raise DataError(f"{source}: no such file, and no folder or pattern with files in it")
        for each in inputs:
            place = os.path.realpath(each.path) if each.local else each.path
            if place in found:
                other = found[place].path
                also = f", as {other}" if other != each.path else ""
                raise DataError(
                    f"{each.path} is named twice, again by {source}{also}; name it once"
                )
            found[place] = each
    return list(found.values())


def require_unchanged(inputs: Iterable[Input]) -> None:
    """Raise DataError where the state of a file is not as it was when it was listed."""
    for each in inputs:
        system, _ = _file_system(each.source)
        system.invalidate_cache()
        if _described(system, each.path)[1] != each.state:
            raise DataError(
                f"{each.path}: changed while it was read; run again when it is complete"
            )


def require_apart(inputs: Iterable[Input], sources: Iterable[str], out: Path) -> None:
    """Raise DataError where files of a dataset in the folder `out` are, or would be, inputs."""
    place, own = out.resolve(), out.resolve() / hub.HUB_FOLDER
    for each in inputs:
        file = each.local and each.local.resolve()
        if file and file.is_relative_to(place) and not file.is_relative_to(own):
            raise DataError(f"{each.path}: is in --out {out}; name sources that are not")
    for source in sources:
        if source.startswith(hub.PREFIX):
            continue
        system, path = _file_system(source)
        root = os.path.realpath(path) if _is_local(system) else None
        if root and place.is_relative_to(root) and not _hidden(str(place), root):
            raise DataError(f"--out {out} is in {source}, which it would add to; choose another")


def _files(source: str) -> Iterator[Input]:
    system, path = _file_system(source)
    if system.isfile(path):
        yield _input(system, source, path, path.rpartition("/")[0])
        return
    if system.isdir(path):
        files, root = _below(system, path), path
    else:
        files, root = _matches(system, path), path[: _first_wildcard(path)].rpartition("/")[0]
    for each in sorted(set(files)):
        yield _input(system, source, each, root)


def _matches(system: AbstractFileSystem, pattern: str) -> Iterator[str]:
    """Yield the files that a pattern matches, and those below the folders that it matches."""
    pattern = pattern.removesuffix("/**")  # a folder is all that is below it
    if _is_local(system):  # fsspec does not follow links to folders
        matched = glob.glob(pattern, recursive=True, include_hidden=True)
    else:
        matched = cast(list[str], system.glob(pattern))
    for path in matched:
        if system.isdir(path):
            yield from _below(system, path.rstrip("/"))
        elif system.isfile(path) or os.path.islink(path):  # an error where it leads nowhere
            yield path


def _below(system: AbstractFileSystem, folder: str) -> Iterator[str]:
    """Yield the files below a folder that are not hidden there."""
    files = _walked(folder) if _is_local(system) else cast(list[str], system.find(folder))
    return (path for path in files if not _hidden(path, folder))


def _walked(folder: str) -> Iterator[str]:
    """Yield the files below a folder of this machine. Raises DataError at a loop of links."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                real = os.path.realpath(entry.path)
                if entry.is_symlink() and f"{os.path.realpath(folder)}/".startswith(f"{real}/"):
                    raise DataError(
                        f"{entry.path}: is a link to a folder that it is in; remove it, or name "
                        "files by a pattern"
                    )
                yield from _walked(entry.path)
            elif stat.S_ISREG(os.stat(entry.path).st_mode):  # an error, as above
                yield entry.path


def _hidden(path: str, root: str) -> bool:
    return any(part.startswith(".") for part in path.removeprefix(root).split("/"))


def _input(system: AbstractFileSystem, source: str, path: str, root: str) -> Input:
    size, state = _described(system, path)
    return Input(path.removeprefix(root).lstrip("/"), source, path, size, state)


def _described(system: AbstractFileSystem, path: str) -> tuple[int, str]:
    """Return the size of a file in bytes, and its state."""
    if _is_local(system):
        found = os.stat(path)
        # The second time changes with every write; the first may be set to any.
        return found.st_size, f"{found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}"
    info = system.info(path)
    known = [str(info[key]) for key in REMOTE_STATES if info.get(key)]
    return int(info["size"]), " ".join([str(info["size"]), *known])


def _is_local(system: AbstractFileSystem) -> bool:
    return "file" in ((system.protocol,) if isinstance(system.protocol, str) else system.protocol)


def _file_system(source: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a source, and its path there. A file of this machine may have a
    name that looks like a URL."""
    if Path(source).exists():
        return LocalFileSystem(), str(Path(source).absolute())
    try:
        return url_to_fs(source)
    except (ValueError, ImportError) as error:
        raise DataError(f"{source}: {error}") from None


def _first_wildcard(path: str) -> int:
    return min((path.index(mark) for mark in "*?[" if mark in path), default=len(path))
