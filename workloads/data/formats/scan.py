"""One pass over a file of tokens: its SHA-256, its ids and how it ends, in bounded memory."""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass

import numpy as np

from workloads.data.dataset import TokenFile
from workloads.data.formats.format import file_blocks
from workloads.data.manifest import DataError
from workloads.data.progress import Progress
from workloads.data.unchanged import remembered


@dataclass(frozen=True)
class Scan:
    """What a pass found. The hash is of the header and all tokens that count; `repeated` are the
    tokens at the end that are all of the last id."""

    sha256: str
    least_id: int
    greatest_id: int
    last_id: int
    repeated: int


def scan(file: TokenFile, progress: Progress = lambda count: None) -> Scan:
    """Read a file from its beginning to its end; `progress` is told the bytes."""
    digest, least, greatest, last, repeated = hashlib.sha256(), 0, 0, -1, 0
    with file.path.open("rb") as opened:
        digest.update(opened.read(file.offset))
    for _, block in file_blocks(file):
        digest.update(block.data)
        least, greatest = min(least, int(block.min())), max(greatest, int(block.max()))
        others = np.flatnonzero(block != block[-1])
        goes_on = not others.size and block[-1] == last
        repeated = block.size + (repeated if goes_on else -1 - others[-1] if others.size else 0)
        last = block[-1]
        progress(block.nbytes)
    return Scan(digest.hexdigest(), least, greatest, int(last), int(repeated))


def known_scan(file: TokenFile, progress: Progress = lambda count: None) -> Scan:
    """Return what an earlier pass over the file found, or read it where it has changed since."""

    def read() -> str:
        found = scan(file, progress)
        return " ".join(map(str, astuple(found)))

    purpose = {"scan": [file.dtype, file.offset, file.tokens], "of": [*Scan.__annotations__]}
    sha256, *numbers = remembered(purpose, [file.path], read).split()
    return Scan(sha256, *map(int, numbers))


def check_ids(file: TokenFile, found: Scan, vocab_size: int) -> None:
    """Raise DataError, with the place, where an id of the file is not below `vocab_size`."""
    if found.least_id >= 0 and found.greatest_id < vocab_size:
        return
    for first, block in file_blocks(file):
        outside = np.flatnonzero((block < 0) | (block >= vocab_size))
        if outside.size:
            at = int(outside[0])
            byte = file.offset + (first + at) * block.itemsize
            raise DataError(
                f"{file.path}: byte {byte}: token {first + at} is id {block[at]}, and a vocabulary "
                f"of {vocab_size} has ids 0 to {vocab_size - 1}; name the vocabulary that the "
                "tokens were made with, or copy the file again"
            )
