"""The bytes of an input: decompressed as they are read, forwards, in bounded memory."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

import pyarrow as arrow

from workloads.data.manifest import DataError
from workloads.data.preparing.sources import Compression, Input

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
READ_BYTES = 2**18
MADE_BYTES = 2**20  # of text at once, at most, however well it was compressed


def stored_chunks(each: Input) -> Iterator[bytes]:
    """Yield the bytes of an input as they are stored."""
    with each.open() as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def text_chunks(each: Input, stored: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the decompressed bytes of an input whose stored ones are given.

    Raises DataError where they are damaged or cut off.
    """
    if each.compression is None:
        yield from stored
        return
    try:
        yield from DECOMPRESSORS[each.compression](stored)
    except EOFError:
        raise _unreadable(each, "cut off before its end") from None
    except zlib.error as error:
        raise _unreadable(each, f"damaged ({error})") from None
    except OSError as error:
        if error.errno is not None:  # of the system's
            raise
        raise _unreadable(each, f"damaged ({error})") from None


def _from_gzip(stored: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a row of gzip streams holds. Raises EOFError and zlib.error."""
    stream: Any = None
    ended = False
    for chunk in stored:
        if ended and stream is None:
            chunk = chunk.lstrip(b"\0")  # Zeros fill a block on a tape.
        while chunk:
            stream = stream or zlib.decompressobj(wbits=31)
            yield stream.decompress(chunk, MADE_BYTES)
            chunk = stream.unconsumed_tail
            if stream.eof:
                chunk, stream, ended = stream.unused_data.lstrip(b"\0"), None, True
    if stream is not None or not ended:
        raise EOFError


def _from_zstandard(stored: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what a row of Zstandard frames holds. Raises EOFError, and OSError without a number."""
    first = next(stored, b"")
    if not first:
        raise EOFError
    file = io.BufferedReader(_Stored(chain([first], stored)), READ_BYTES)
    with arrow.CompressedInputStream(arrow.PythonFile(file, "r"), "zstd") as stream:
        try:
            while chunk := stream.read(MADE_BYTES):
                yield chunk
        except OSError as error:
            if error.errno is None and "Truncated" in str(error):
                raise EOFError from None
            raise


DECOMPRESSORS: dict[Compression, Callable[[Iterator[bytes]], Iterator[bytes]]] = {
    "gz": _from_gzip,
    "zst": _from_zstandard,
}


class _Stored(io.RawIOBase):
    """Chunks of bytes as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._rest = self._rest or next(self._chunks, b"")
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


class _Text:
    """The decompressed bytes of an input, read forwards."""

    def __init__(self, each: Input) -> None:
        self.position = 0
        self._chunks = text_chunks(each, stored_chunks(each))
        self._rest = b""

    def read(self, stop: int) -> Iterator[bytes]:
        """Yield the bytes from the current position to `stop`."""
        for chunk in chain([self._rest], self._chunks):
            part = chunk[: stop - self.position]
            self.position += len(part)
            self._rest = chunk[len(part) :]
            yield part
            if self.position == stop:
                return


@lru_cache(maxsize=1)
def _opened(each: Input) -> _Text:
    """Return the input as the last piece of it left it: the next one goes on from there."""
    return _Text(each)


def text_range(each: Input, start: int, stop: int) -> bytes:
    """Return bytes of the decompressed input. Raises DataError where it is not so long any more."""
    if each.compression is None:
        with each.open() as file:
            file.seek(start)
            found = file.read(stop - start)
    else:
        text = _opened(each)
        if text.position > start:
            _opened.cache_clear()
            text = _opened(each)
        for _ in text.read(start):
            pass
        found = b"".join(text.read(stop))
    if len(found) != stop - start:
        raise DataError(f"{each.path}: became shorter while it was read; run again")
    return found


def _unreadable(each: Input, problem: str) -> DataError:
    return DataError(f"{each.path}: {problem}; fetch it again, or leave it out with --skip-bad")
