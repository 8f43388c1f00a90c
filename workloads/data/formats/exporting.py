"""Token data written in a format that others read."""

from __future__ import annotations

import glob
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import numpy as np

from kernels.files import naming
from workloads.data.formats.format import Format, Layout, Tokens, TokenStream
from workloads.data.formats.opening import TokenData
from workloads.data.formats.scan import known_scan
from workloads.data.manifest import DataError, SplitName


def export(
    data: TokenData,
    splits: Sequence[SplitName],
    out: Path,
    format: Format,
    layout: Layout,
    note: Callable[[str], None] = lambda sentence: None,
) -> list[Path]:
    """Write splits into the folder `out`; return the files, which appear when all are complete.

    `note` is told of tokens that the format adds or leaves out.

    Raises DataError where the data lacks what the format stores, where the layout has what it does
    not, or where `out` holds files of these names.
    """
    _require_heeded(format, layout)
    stems = {name: format.stem(name, layout.prefix) for name in splits}
    if len(set(stems.values())) < len(stems):
        raise DataError(
            f"--prefix {layout.prefix} would name the files of both splits; add --split train or "
            "--split val"
        )
    tokens = {name: _tokens(data, name, format) for name in splits}
    for stem in stems.values():
        _require_free(out, stem)
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    unfinished = out / f".export.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        with naming(out):  # an error of a write names no file
            for name, stem in stems.items():
                if sentence := format.write(tokens[name], unfinished, stem, layout):
                    note(f"{name}: {sentence}")
        return _moved(sorted(unfinished.iterdir()), out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
        if made:
            with suppress(OSError):  # it is not empty
                out.rmdir()


def _moved(files: Sequence[Path], out: Path) -> list[Path]:
    """Give files their place in `out`, all of them or, where another export was faster, none."""
    claimed: list[Path] = []
    try:
        for path in files:
            (out / path.name).touch(exist_ok=False)  # A move alone would replace a file.
            claimed.append(out / path.name)
    except FileExistsError as error:
        for each in claimed:
            each.unlink()
        raise _there(Path(error.filename)) from None
    return [path.replace(place) for path, place in zip(files, claimed, strict=True)]


def _there(path: Path) -> DataError:
    return DataError(f"{path}: is there already; delete it, or choose another folder")


def _tokens(data: TokenData, split: SplitName, format: Format) -> Tokens:
    """Return what is to be written. Raises DataError where the format cannot hold it."""
    if split not in data.streams:
        raise DataError(f"{data.path}: has no {split} split; choose another --split")
    stream, vocab_size = data.streams[split], _vocabulary(data)
    format.dtype(vocab_size)
    return Tokens(
        lambda: _checked(stream, data.path, vocab_size),
        stream.tokens,
        vocab_size,
        stream.documents,
    )


def _require_heeded(format: Format, layout: Layout) -> None:
    for field in fields(layout):
        if getattr(layout, field.name) is not None and field.name not in format.options:
            raise DataError(f"--{field.name} says nothing in format {format.name}; leave it out")
    if layout.prefix and Path(layout.prefix).name != layout.prefix:
        raise DataError(
            f"--prefix {layout.prefix}: must be what names of files begin with, without a folder; "
            "OUT is the folder"
        )


def _vocabulary(data: TokenData) -> int:
    """Return the ids of the data's vocabulary; where it is not known, those up to the greatest."""
    if data.own:
        return data.own.dataset.vocab_size
    return 1 + max(known_scan(file).greatest_id for file in data.files)


def _require_free(out: Path, stem: str) -> None:
    """Raise DataError where `out` has files of an earlier export, which might stay among the new
    ones."""
    for path in sorted(out.glob(f"*{glob.escape(stem)}*")):
        if path.name.removeprefix("padding-").removeprefix(stem)[:1] in "._":
            raise _there(path)


def _checked(stream: TokenStream, path: Path, vocab_size: int) -> Iterator[np.ndarray]:
    for block in stream.blocks():
        if int(block.max()) >= vocab_size or int(block.min()) < 0:
            raise DataError(
                f"{path}: an id is not of its vocabulary of {vocab_size}; "
                f"`data verify {path}` says where"
            )
        yield block
