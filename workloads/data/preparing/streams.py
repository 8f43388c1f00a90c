"""The bytes of an input: decompressed as they are read, forwards, in bounded memory."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from itertools import chain
from typing import Any

import zstandard

from workloads.data.manifest import DataError
from workloads.data.preparing.sources import Compression, Input

READ_BYTES = 2**18
DECOMPRESSORS: dict[Compression, Callable[[], Any]] = {
    "gz": lambda: zlib.decompressobj(wbits=31),
    "zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}


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
    new, stream = DECOMPRESSORS[each.compression], None
    try:
        for chunk in stored:
            while chunk:
                stream = stream or new()
                yield stream.decompress(chunk)
                if not stream.eof:
                    break
                # Another stream may follow, and zeros that fill a block on a tape.
                chunk, stream = stream.unused_data.lstrip(b"\0"), None
    except (zlib.error, zstandard.ZstdError) as error:
        raise _unreadable(each, f"damaged ({error})") from None
    if stream is not None:
        raise _unreadable(each, "cut off before its end")


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
