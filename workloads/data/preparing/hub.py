"""Datasets of the Hugging Face hub, or saved by its `datasets` library, as files to prepare.

A source is `hub:NAME`, `hub:NAME?split=validation&config=CONFIG`, or `hub:FOLDER` of a dataset that
was saved to the disk, or of a snapshot of one of the hub (`hf download --repo-type dataset`). Its
rows are streamed once into Parquet files, which are then inputs like any others: known by their
content, cut into pieces, and not fetched again. A copy that was stopped goes on after its last
whole file. A folder that has changed is copied anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as arrow
import pyarrow.parquet as parquet

from kernels.files import write_atomically
from workloads.data.manifest import DataError
from workloads.files import exclusive

PREFIX = "hub:"
HUB_FOLDER = "hub"  # beside what is made of it
ROWS_PER_FILE = 10_000
PATIENCE_SECONDS = 5.0  # for the end of a copy that was stopped
MOST_READABLE = 100  # characters of a source in the name of its copy
COMPLETE = "complete"  # the file that says that all rows are there
SAVED = ("state.json", "dataset_dict.json")  # one of these is in the folder of a saved dataset


def local_copy(source: str, folder: Path) -> str:
    """Return a folder below `folder` with the rows of a hub source, which are fetched if needed.

    Raises DataError where the library is not installed, or the dataset cannot be read.
    """
    name = source.removeprefix(PREFIX).partition("?")[0]
    readable = "".join(c if c.isalnum() or c in "-_." else "-" for c in source)[:MOST_READABLE]
    state = f"{source} {_folder_state(Path(name))}"
    digest = hashlib.sha256(state.encode(errors="surrogateescape"))
    copy = folder / f"{readable}-{digest.hexdigest()[:12]}"
    if (copy / COMPLETE).exists():
        return str(copy / "*.parquet")
    with exclusive(copy, PATIENCE_SECONDS):
        whole = len(list(copy.glob("*.parquet")))
        for number, table in enumerate(_tables(source, whole * ROWS_PER_FILE), whole):
            content = arrow.BufferOutputStream()
            parquet.write_table(table, content)
            file = copy / f"rows-{number:06d}.parquet"
            write_atomically(file, content.getvalue().to_pybytes(), durable=True)
        write_atomically(copy / COMPLETE, "", durable=True)
    return str(copy / "*.parquet")


def _folder_state(folder: Path) -> list[tuple[str, int, int]]:
    """Return what changes with the dataset in a folder; nothing of one of the hub."""
    found = ((path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file())
    return [(str(path), state.st_size, state.st_mtime_ns) for path, state in found]


def _tables(source: str, start: int) -> Iterator[arrow.Table]:
    """Yield the rows of a dataset from one on, `ROWS_PER_FILE` at a time."""
    try:
        import datasets  # pyright: ignore[reportMissingImports]  # of the extra hub
    except ImportError:
        raise DataError(f"{source}: needs the datasets library: pip install -e .[hub]") from None
    name, _, query = source.removeprefix(PREFIX).partition("?")
    options = {"split": "train", **dict(parse_qsl(query))}
    if unknown := options.keys() - {"split", "config"}:
        raise DataError(f"{source}: {unknown.pop()} is no option; there are split and config")
    try:
        if any((Path(name) / file).is_file() for file in SAVED):
            found: Any = datasets.load_from_disk(name)
            found = found[options["split"]] if isinstance(found, dict) else found
        else:
            found = datasets.load_dataset(
                name, options.get("config"), split=options["split"], streaming=True
            )
        yield from found.with_format("arrow").skip(start).iter(ROWS_PER_FILE)
    except Exception as error:  # The library raises many kinds, of its own and of networks.
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: {reason}; run again to go on from there") from None
