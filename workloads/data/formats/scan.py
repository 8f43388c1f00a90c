"""One pass over a file of tokens: its SHA-256 and its least and greatest id, in bounded memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from workloads.data.dataset import TokenFile
from workloads.data.formats.format import file_blocks
from workloads.data.manifest import DataError
from workloads.data.progress import Progress
from workloads.data.unchanged import remembered


@dataclass(frozen=True)
class Scan:
    """What a pass found. The hash is of the whole file, its header included."""

    sha256: str
    least_id: int
    greatest_id: int


def scan(file: TokenFile, progress: Progress = lambda count: None) -> Scan:
    """Read a file from its beginning to its end; `progress` is told the bytes."""
    digest, least, greatest = hashlib.sha256(), 0, 0
    with file.path.open("rb") as opened:
        digest.update(opened.read(file.offset))
    for _, block in file_blocks(file):
        digest.update(block.data)
        least, greatest = min(least, int(block.min())), max(greatest, int(block.max()))
        progress(block.nbytes)
    return Scan(digest.hexdigest(), least, greatest)


def known_scan(file: TokenFile, progress: Progress = lambda count: None) -> Scan:
    """Return what an earlier pass over the file found, or read it where it has changed since."""

    def read() -> str:
        found = scan(file, progress)
        return f"{found.sha256} {found.least_id} {found.greatest_id}"

    purpose = {"scan": [file.dtype, file.offset]}
    sha256, least, greatest = remembered(purpose, [file.path], read).split()
    return Scan(sha256, int(least), int(greatest))


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
