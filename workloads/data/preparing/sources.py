"""Where documents come from: files, folders and globs, here or wherever fsspec reads.

Inputs are in a fixed order: that of the sources, and within a source by relative POSIX path. The
kind of a file follows from its name; a name ends with `.gz` or `.zst` where it is compressed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal, cast

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
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
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
        return COMPRESSIONS.get(PurePosixPath(self.name).suffix)

    @property
    def kind(self) -> Kind:
        """How documents are found in it; a file of plain text is one document."""
        name = PurePosixPath(self.name)
        return KINDS.get((name.with_suffix("") if self.compression else name).suffix, "text")

    @property
    def local(self) -> Path | None:
        """Its path on this machine; None where it is elsewhere."""
        return Path(self.path) if "file" in _protocols(_file_system(self.source)[0]) else None

    def open(self) -> io.BufferedIOBase:
        """Open it for reading bytes, as they are stored. Raises OSError where it cannot."""
        return cast(io.BufferedIOBase, _file_system(self.source)[0].open(self.path, "rb"))


def find_inputs(sources: Sequence[str], hub_folder: Path) -> list[Input]:
    """List the files of the sources, in order; rows of the hub are copied to `hub_folder`.

    Hidden files within a folder are left out. Raises DataError where a source has no file, or two
    name the same one.
    """
    found: dict[str, Input] = {}
    for source in sources:
        if source.startswith(hub.PREFIX):
            source = hub.local_copy(source, hub_folder)
        inputs = sorted(_files(source), key=lambda each: each.name)
        if not inputs:
            raise DataError(f"{source}: no such file, and no folder or pattern with files in it")
        for each in inputs:
            if each.path in found:
                raise DataError(f"{each.path} is named twice, again by {source}; name it once")
            found[each.path] = each
    return list(found.values())


def current_state(each: Input) -> str:
    """Return the state of the file now: another one than before where it has changed."""
    system, _ = _file_system(each.source)
    return _state(system.info(each.path))


def _files(source: str) -> Iterator[Input]:
    system, path = _file_system(source)
    if system.isfile(path):
        yield _input(source, path, path.rpartition("/")[0], system.info(path))
        return
    if system.isdir(path):
        pattern, root = f"{path}/**", path
    else:
        pattern, root = path, path[: _first_wildcard(path)].rpartition("/")[0]
    for each, info in sorted(_matches(system, pattern).items()):
        if info["type"] == "file":
            yield _input(source, each, root, info)


def _matches(system: AbstractFileSystem, pattern: str) -> dict[str, Any]:
    """Return the files that a pattern matches, and those below the folders that it matches."""
    if pattern.endswith("/**"):
        root = pattern.removesuffix("/**")
        files = cast(dict[str, Any], system.find(root, detail=True))
        return {path: info for path, info in files.items() if not _hidden(path, root)}
    matched = cast(dict[str, Any], system.glob(pattern, detail=True))
    files = {path: info for path, info in matched.items() if info["type"] != "directory"}
    for path, info in matched.items():
        if info["type"] == "directory":
            files |= _matches(system, f"{path}/**")
    return files


def _hidden(path: str, root: str) -> bool:
    return any(part.startswith(".") for part in path.removeprefix(root).split("/"))


def _input(source: str, path: str, root: str, info: dict[str, Any]) -> Input:
    name = path.removeprefix(root).lstrip("/")
    return Input(name, source, path, int(info["size"]), _state(info))


def _state(info: dict[str, Any]) -> str:
    known = [str(info[key]) for key in REMOTE_STATES if info.get(key)]
    return " ".join([str(info["size"]), *known])


def _file_system(source: str) -> tuple[AbstractFileSystem, str]:
    """Return the file system of a source, and its path there. A file of this machine may have a
    name that looks like a URL."""
    if Path(source).exists():
        return LocalFileSystem(), str(Path(source).absolute())
    try:
        return url_to_fs(source)
    except (ValueError, ImportError) as error:
        raise DataError(f"{source}: {error}") from None


def _protocols(system: AbstractFileSystem) -> tuple[str, ...]:
    return (system.protocol,) if isinstance(system.protocol, str) else tuple(system.protocol)


def _first_wildcard(path: str) -> int:
    return min((path.index(mark) for mark in "*?[" if mark in path), default=len(path))
