"""Token data of any format at a path: recognised, described, and opened for training as it is."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from workloads.data.dataset import TokenDataset, TokenFile
from workloads.data.formats.format import Format, TokenStream
from workloads.data.formats.own import OwnData, is_own, part_of_dataset, read_own
from workloads.data.formats.rows import RowsFormat
from workloads.data.formats.scan import check_ids, known_scan
from workloads.data.formats.table import FORMATS
from workloads.data.manifest import (
    SPLITS,
    DataError,
    ShardEntry,
    SplitName,
    TextSize,
    content_fingerprint,
)
from workloads.data.shards import check_hashes

# So many equal ids at the end of a file are hardly text.
MOST_REPEATED = 256
TEXT_SUFFIXES = {".jsonl", ".ndjson", ".json", ".parquet", ".txt", ".gz", ".zst"}


@dataclass(frozen=True)
class TokenData:
    """What was found at a path. `own` is what the manifest of a dataset of this platform adds;
    `foreign` is the format of others' files. One of the two is None."""

    path: Path
    streams: Mapping[SplitName, TokenStream]
    own: OwnData | None = None
    foreign: Format | None = None

    @property
    def format(self) -> str:
        return self.foreign.name if self.foreign else "shards"

    @property
    def files(self) -> list[TokenFile]:
        return [
            file for name in SPLITS if name in self.streams for file in self.streams[name].files
        ]


def read_path(path: Path, rows: int | None = None) -> TokenData:
    """Recognise what is at a path, and check headers and sizes without reading the tokens.

    `path` is a folder, a file, or what the names of files begin with. `rows` says that the files
    are rows of so many tokens. Raises DataError.
    """
    if is_own(path):
        own = read_own(path)
        return TokenData(path, own.streams, own=own)
    foreign = RowsFormat(rows) if rows else _recognise(path)
    data = TokenData(path, foreign.read(path), foreign=foreign)
    _require_one_type(data.files)
    return data


def open_path(
    path: Path, val: Path | None = None, vocab_size: int | None = None, rows: int | None = None
) -> TokenDataset:
    """Open token data of any format for training, without conversion.

    `val` is where the validation tokens are, where `path` does not hold them. Without `vocab_size`
    a foreign format's is its greatest id and one. All tokens are read once, for their hash, and
    again only when a file has changed. Raises DataError.
    """
    data = read_path(path, rows)
    if data.own:
        if vocab_size not in (None, data.own.dataset.vocab_size):
            raise DataError(
                f"{path}: its vocabulary has {data.own.dataset.vocab_size} ids, not {vocab_size}; "
                "leave the number out, or name another dataset"
            )
        if not val:
            return replace(
                data.own.dataset, train_sha256=train_sha256(data), tokenizer=data.own.tokenizer
            )
    held_out = read_path(val, rows) if val else data
    streams = _both_splits(data, held_out)
    files: dict[SplitName, tuple[TokenFile, ...]]
    files = {name: streams[name].files for name in SPLITS}
    _require_one_type([file for name in SPLITS for file in files[name]])
    scans = {file: known_scan(file) for name in SPLITS for file in files[name]}
    vocabulary = vocab_size or 1 + max(found.greatest_id for found in scans.values())
    known = data.own.dataset.vocab_size if data.own else vocabulary
    for file, found in scans.items():
        check_ids(file, found, known)
    shards: dict[SplitName, tuple[ShardEntry, ...]] = {
        name: tuple(
            ShardEntry(file=each.path.name, tokens=each.tokens, sha256=scans[each].sha256)
            for each in files[name]
        )
        for name in SPLITS
    }
    return TokenDataset(
        path,
        content_fingerprint(
            files["train"][0].dtype, vocabulary, shards, streams["train"].row_tokens
        ),
        TextSize(known, streams["train"].tokens, streams["val"].tokens),
        files,
        held_out.own.dataset.bytes_per_token if held_out.own else None,
        row_tokens=streams["train"].row_tokens,
        tokenizer_sha256=data.own.dataset.tokenizer_sha256 if data.own else None,
        vocabulary_is_known=bool(data.own or vocab_size),
        train_sha256=train_sha256(data),
        cautions=tuple(_cautions(data, held_out)),
        tokenizer=own.tokenizer if (own := held_out.own or data.own) else None,
    )


def train_sha256(data: TokenData) -> str:
    """Return a hash of the training tokens, which are read once for it. Raises DataError where they
    are not as a manifest says."""
    files = data.streams["train"].files if "train" in data.streams else ()
    if data.own:
        check_hashes(data.path)
        found = [data.own.hashes[file.path] for file in files]
    else:
        found = [known_scan(file).sha256 for file in files]
    return hashlib.sha256(" ".join(found).encode()).hexdigest()


def endings(data: TokenData, split: SplitName) -> list[str]:
    """Return a sentence on each file of foreign data that seems to end with padding."""
    if data.foreign is None:
        return []
    found = [(file, known_scan(file)) for file in data.streams[split].files]
    return [
        f"{file.path} ends with {end.repeated:,} tokens of id {end.last_id}, of {file.tokens:,}: "
        "they are read as text; where they are padding, "
        f"{data.foreign.how_to_end(file, end.last_id, end.repeated)}"
        for file, end in found
        if end.repeated >= MOST_REPEATED
    ]


def _cautions(train: TokenData, held_out: TokenData) -> list[str]:
    found = [*endings(train, "train")]
    split = "val" if "val" in held_out.streams else "train"
    return found + endings(held_out, split)


def is_anything_at(path: Path) -> bool:
    """Return whether there is anything at a path, or files whose names begin with it."""
    if path.exists():
        return True
    folder = path.parent
    return folder.is_dir() and any(each.name.startswith(path.name) for each in folder.iterdir())


def _recognise(path: Path) -> Format:
    for candidate in FORMATS.values():
        if candidate.is_at(path):
            return candidate
    if not path.exists():
        raise DataError(f"{path}: no such file or folder, and no files that begin so")
    if _is_text(path):
        raise DataError(
            f"{path}: this is text; make token data of it: python -m workloads data prepare {path} "
            "--tokenizer T --out DIR"
        )
    raise DataError(
        f"{path}: no token data: neither a manifest.json, nor .bin files of a format in "
        f"{', '.join(FORMATS)}; name the folder or the file that holds the tokens"
    )


def _is_text(path: Path) -> bool:
    files = [path] if path.is_file() else [each for each in path.iterdir() if each.is_file()]
    return bool(files) and all(each.suffix in TEXT_SUFFIXES for each in files)


def _both_splits(data: TokenData, held_out: TokenData) -> dict[SplitName, TokenStream]:
    if "train" not in data.streams:
        raise DataError(
            part_of_dataset(data.path)
            or f"{data.path}: holds validation tokens only; name the training tokens"
        )
    found = held_out.streams
    if held_out is not data and len(found) == 1:  # named for it, whatever its file is called
        found = {"val": next(iter(found.values()))}
    if "val" not in found:
        raise DataError(
            part_of_dataset(held_out.path)
            or f"{held_out.path}: no validation tokens: no file is named `val`; say where they are "
            "with `val`"
        )
    train, val = data.streams["train"], found["val"]
    if train.row_tokens != val.row_tokens:
        raise DataError(
            f"{held_out.path}: {_rows(val)}, and {data.path}: {_rows(train)}; name two of one kind"
        )
    return {"train": train, "val": val}


def _rows(stream: TokenStream) -> str:
    return f"rows of {stream.row_tokens} tokens" if stream.row_tokens else "no rows"


def _require_one_type(files: Iterable[TokenFile]) -> None:
    first, *rest = files
    for file in rest:
        if file.dtype != first.dtype:
            raise DataError(
                f"{file.path}: tokens of type {np.dtype(file.dtype).name}, and "
                f"{first.path.name} has {np.dtype(first.dtype).name}; keep tokens of one type in a "
                "folder"
            )
