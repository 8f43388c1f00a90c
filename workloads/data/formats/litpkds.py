"""`litpkds`: packed chunks as lit-gpt and PRTS write them: `PREFIX_0000000000.bin`, ...

A chunk begins with 24 bytes: `LITPKDS`, version 1 (uint64), the type's code (uint8), the tokens of
the chunk (uint64), little-endian. Documents follow one another through all chunks of a prefix, and
the last chunk is filled up (github.com/Lightning-AI/lit-gpt, `lit_gpt/packed_dataset.py`). A folder
may hold several prefixes, one from each process that wrote: they are read in the order of their
names.

The format does not say where the text ends. People can, in `padding-PREFIX.json` beside the
chunks, such as `{"id": 1, "tokens": 500}`: the padding of the last chunk, which is then no part of
the text. Its name does not begin with the prefix, because other readers take all files whose names
do.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kernels.files import read_bytes
from workloads.data.dataset import TokenFile
from workloads.data.formats.format import (
    Format,
    Layout,
    Tokens,
    TokenStream,
    plain_file,
    split_of_name,
)
from workloads.data.formats.type_codes import CODES, type_of_code, type_of_vocabulary
from workloads.data.manifest import DataError, SplitName

MAGIC, VERSION = b"LITPKDS", 1
HEADER = struct.Struct("<7sQBQ")
VERSION_BYTE, TYPE_BYTE, CHUNK_BYTE = 7, 15, 16
CHUNK_TOKENS = 2049 * 1024  # what PRTS writes
NUMBERED = re.compile(r"(?P<prefix>.*)_(?P<number>\d{10})\.bin")


class Padding(BaseModel):
    """What fills up the last chunk of a prefix: so many tokens of one id."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    id: int
    tokens: int = Field(gt=0)


class PackedFormat(Format):
    """Chunks of one size, numbered from 0 on for each prefix."""

    name = "litpkds"
    options = frozenset({"prefix", "block", "chunk", "pad"})

    def is_at(self, path: Path) -> bool:
        if path.is_file():
            return bool(NUMBERED.fullmatch(path.name)) or _begins_with_magic(path)
        return bool(_chunks(path))

    def read(self, path: Path) -> Mapping[SplitName, TokenStream]:
        paths = [path] if path.is_file() else _without_gaps(_chunks(path))
        streams: dict[SplitName, TokenStream] = {}
        for chunk in paths:
            file, padding = _without_padding(_chunk(chunk))
            name = split_of_name(chunk.stem) or "train"
            before = streams.get(name, TokenStream(()))
            files, padding = (*before.files, file), before.padding + padding
            streams[name] = TokenStream(files, padding=padding)
        return streams

    def how_to_end(self, file: TokenFile, id: int, tokens: int) -> str:
        place = _padding_file(file.path)
        return f"say so: echo '{Padding(id=id, tokens=tokens).model_dump_json()}' > {place}"

    def dtype(self, vocab_size: int) -> str:
        return type_of_vocabulary(vocab_size)

    def stem(self, split: SplitName, prefix: str | None) -> str:
        return prefix or split

    def write(self, tokens: Tokens, folder: Path, stem: str, layout: Layout) -> str | None:
        size = layout.chunk or (layout.block * 1024 if layout.block else CHUNK_TOKENS)
        if layout.block and size % layout.block:
            raise DataError(
                f"--chunk {size} is no multiple of --block {layout.block}: readers take whole "
                f"blocks of a chunk; choose {max(size // layout.block, 1) * layout.block}"
            )
        dtype = self.dtype(tokens.vocab_size)
        padding = _padding(-tokens.count % size, tokens, layout)
        header = HEADER.pack(MAGIC, VERSION, CODES[dtype], size)
        for number, chunk in enumerate(_cut(chain(tokens.blocks(), [padding]), size, dtype)):
            (folder / f"{stem}_{number:010d}.bin").write_bytes(header + chunk.tobytes())
        if not padding.size:
            return None
        # No file says so by itself: a folder has the files of the public builder and no other.
        found = Padding(id=int(padding[0]), tokens=padding.size)
        return (
            f"the last {padding.size:,} of {tokens.count + padding.size:,} tokens are padding, "
            "which readers take for text; for this platform, say so in the folder: "
            f"echo '{found.model_dump_json()}' > {_padding_file(folder / f'{stem}_0.bin').name}"
        )


def _padding_file(chunk: Path) -> Path:
    """Return the file that says how the prefix of a chunk is filled up."""
    return chunk.with_name(f"padding-{chunk.stem.rpartition('_')[0]}.json")


def _without_padding(chunk: TokenFile) -> tuple[TokenFile, int]:
    """Return the text of a chunk, and the tokens of padding behind it. Raises DataError where the
    padding is not as its file says."""
    place, match = _padding_file(chunk.path), NUMBERED.fullmatch(chunk.path.name)
    if match is None or not place.exists() or _following(chunk.path, match).exists():
        return chunk, 0
    try:
        padding = Padding.model_validate_json(read_bytes(place))
    except ValidationError as error:
        problem, example = error.errors()[0]["msg"], Padding(id=1, tokens=500).model_dump_json()
        raise DataError(f"{place}: {problem}; it should be such as {example}") from None
    if padding.tokens >= chunk.tokens or (chunk.map()[-padding.tokens :] != padding.id).any():
        raise DataError(
            f"{chunk.path}: its last {padding.tokens:,} tokens are not all id {padding.id}, as "
            f"{place} says; correct that file, or delete it where nothing is padding"
        )
    return replace(chunk, tokens=chunk.tokens - padding.tokens), padding.tokens


def _following(chunk: Path, match: re.Match[str]) -> Path:
    """Return the chunk that would come next."""
    return chunk.with_name(f"{match['prefix']}_{int(match['number']) + 1:010d}.bin")


def _chunks(path: Path) -> list[Path]:
    """Return the numbered files of a folder, or of a prefix, in the order of their names."""
    folder, prefix = (path, None) if path.is_dir() else (path.parent, path.name)
    matches = [(file, NUMBERED.fullmatch(file.name)) for file in sorted(folder.glob("*.bin"))]
    return [file for file, match in matches if match and prefix in (None, match["prefix"])]


def _without_gaps(chunks: list[Path]) -> list[Path]:
    """Return the chunks. Raises DataError where one of a prefix is missing before its last."""
    expected: dict[str, int] = {}
    for chunk in chunks:
        match = NUMBERED.fullmatch(chunk.name)
        assert match
        prefix, number = match["prefix"], int(match["number"])
        if number != expected.get(prefix, 0):
            missing = chunk.with_name(f"{prefix}_{expected.get(prefix, 0):010d}.bin")
            raise DataError(f"{missing}: missing, and {chunk.name} is there; put it back")
        expected[prefix] = number + 1
    return chunks


def _begins_with_magic(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _chunk(path: Path) -> TokenFile:
    """Return the tokens of a chunk. Raises DataError where header and size are not sound."""
    with path.open("rb") as file:
        header = file.read(HEADER.size)
    if len(header) < HEADER.size:
        raise DataError(
            f"{path}: {len(header)} bytes, and a header has {HEADER.size}; copy the file again"
        )
    magic, version, code, tokens = HEADER.unpack(header)
    if magic != MAGIC:
        raise DataError(f"{path}: byte 0: {magic!r}, not {MAGIC!r}; write the file again")
    if version != VERSION:
        raise DataError(
            f"{path}: byte {VERSION_BYTE}: version {version}, and only version {VERSION} is known; "
            "write the file again"
        )
    found = plain_file(path, type_of_code(code, path, TYPE_BYTE), HEADER.size)
    if found.tokens != tokens:
        problem = "truncated" if found.tokens < tokens else "too long"
        raise DataError(
            f"{path}: byte {CHUNK_BYTE}: {problem}: the header says {tokens} tokens, and "
            f"{found.tokens} follow; copy the file again"
        )
    return found


def _cut(blocks: Iterable[np.ndarray], size: int, dtype: str) -> Iterator[np.ndarray]:
    """Yield the tokens, a multiple of `size`, in one array of that size, filled again and again."""
    chunk, filled = np.empty(size, dtype), 0
    for block in blocks:
        while block.size:
            part, block = block[: size - filled], block[size - filled :]
            chunk[filled : filled + part.size] = part
            filled += part.size
            if filled == size:
                yield chunk
                filled = 0


def _padding(count: int, tokens: Tokens, layout: Layout) -> np.ndarray:
    """Return what fills the last chunk. Raises DataError where the id is not of the vocabulary."""
    if not count:
        return np.empty(0, np.int64)
    if layout.pad is None:
        raise DataError(
            f"the last chunk lacks {count} tokens; give --pad an id to fill it with, such as the "
            "tokenizer's beginning of a text"
        )
    if layout.pad not in range(tokens.vocab_size):
        raise DataError(
            f"--pad {layout.pad} is not an id of the vocabulary, 0 to {tokens.vocab_size - 1}"
        )
    return np.full(count, layout.pad)
