"""Datasets of the Hugging Face hub, or saved by its `datasets` library, as files to prepare.

A source is `hub:NAME`, `hub:NAME?split=validation&config=CONFIG`, or `hub:FOLDER` of a dataset that
was saved to the disk. Its rows are streamed once into Parquet files, which are then inputs like any
others: known by their content, cut into pieces, and not fetched again. A copy that was stopped goes
on after its last whole file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pyarrow as arrow
import pyarrow.parquet as parquet

from kernels.files import write_atomically
from workloads.data.manifest import DataError

PREFIX = "hub:"
HUB_FOLDER = "hub"  # beside what is made of it
ROWS_PER_FILE = 10_000
COMPLETE = "complete"  # the file that says that all rows are there


def local_copy(source: str, folder: Path) -> str:
    """Return a folder below `folder` with the rows of a hub source, which are fetched if needed.

    Raises DataError where the library is not installed, or the dataset cannot be read.
    """
    copy = folder / "".join(c if c.isalnum() or c in "-_." else "-" for c in source)
    if not (copy / COMPLETE).exists():
        whole = len(list(copy.glob("*.parquet")))
        for number, table in enumerate(_tables(source, whole * ROWS_PER_FILE), whole):
            content = arrow.BufferOutputStream()
            parquet.write_table(table, content)
            file = copy / f"rows-{number:06d}.parquet"
            write_atomically(file, content.getvalue().to_pybytes(), durable=True)
        write_atomically(copy / COMPLETE, "", durable=True)
    return str(copy / "*.parquet")


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
        if Path(name).is_dir():
            found: Any = datasets.load_from_disk(name)
            found = found[options["split"]] if isinstance(found, dict) else found
        else:
            found = datasets.load_dataset(
                name, options.get("config"), split=options["split"], streaming=True
            )
        for batch in found.skip(start).iter(ROWS_PER_FILE):
            yield arrow.table(batch)
    except Exception as error:  # The library raises many kinds, of its own and of networks.
        reason = " ".join(str(error).split())
        raise DataError(f"{source}: {reason}; run again to go on from there") from None
