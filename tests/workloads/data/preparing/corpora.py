"""Small corpora in every kind of file, and preparations of them that are watched."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import zstandard

from workloads.data.dataset import TokenDataset
from workloads.data.manifest import PreparedManifest, SplitName
from workloads.data.preparing.parts import PartEntry
from workloads.data.preparing.plan import Request
from workloads.data.preparing.prepare import prepare
from workloads.data.shards import open_dataset
from workloads.data.tokenizers.tokenizer import Tokenizer

PUBLIC = Path(__file__).parents[1] / "public"
TOKENIZER = str(PUBLIC / "tokenizer.json")
AWKWARD = ["", " ", "a\r\nb\u2028c", "é 漢 🙂", "\x00", "</s> <s>", '"quoted" \\ {}', "x" * 3000]


def write_file(path: Path, texts: Sequence[str], field: str = "text", **others: Any) -> Path:
    """Write documents as the kind of file that the name says; `others` stand beside every text."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{field: text, **others} for text in texts]
    if path.suffix == ".parquet":
        parquet.write_table(arrow.Table.from_pylist(rows), path, row_group_size=29)
        return path
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content[: len(content) // 2]) + gzip.compress(
            content[len(content) // 2 :]
        )
    elif path.suffix == ".zst":
        content = zstandard.compress(content)
    elif path.suffix == ".txt":
        content = "".join(texts).encode()
    path.write_bytes(content)
    return path


def numbered(count: int, word: str) -> list[str]:
    return [f"{word} number {number}: " + f"{word}é " * (number % 13) for number in range(count)]


@dataclass
class Watched:
    """A watcher and a map that note what they see."""

    texts: int = 0
    finished: int = 0
    problems: list[str] = dataclass_field(default_factory=list)
    items: int = 0
    replaced: list[str] = dataclass_field(default_factory=list)

    def scanning(self, inputs: int, size: int) -> None: ...

    def skipped(self, problem: str) -> None:
        self.problems.append(problem)

    def tokenizing(self, finished: int, left: int) -> None:
        self.finished = finished

    def tokenized(self, part: PartEntry) -> None:
        self.texts += part.documents

    def replacing(self, earlier: PreparedManifest) -> None:
        self.replaced.append(earlier.fingerprint)

    def assembling(self) -> None: ...

    def backwards(self, function: Callable[..., Any], items: Iterable[Any]) -> Iterator[Any]:
        """Apply the function to the items, the last one first."""
        for item in reversed(list(items)):
            self.items += 1
            yield function(item)


def prepared(out: Path, *sources: Path | str, **options: Any) -> PreparedManifest:
    return watched(out, *sources, **options)[0]


def watched(out: Path, *sources: Path | str, **options: Any) -> tuple[PreparedManifest, Watched]:
    """Prepare the sources, by default as bytes, and return what was seen as well."""
    watcher = Watched()
    options = {"tokenizer": "byte", **options}
    request = Request(sources=tuple(map(str, sources)), out=out, **options)
    return prepare(request, watcher.backwards, watcher), watcher


def in_val(text: str, fraction: float) -> bool:
    return int(hashlib.sha256(text.encode()).hexdigest()[:16], 16) / 16**16 < fraction


def by_definition(
    texts: Iterable[str], tokenizer: Tokenizer, fraction: float
) -> dict[SplitName, list[list[int]]]:
    """The ids of the documents of each split, with their ends."""
    splits: dict[SplitName, list[list[int]]] = {"train": [], "val": []}
    for text in texts:
        ids = [*tokenizer.encode(text).tolist(), tokenizer.end_of_document]
        splits["val" if in_val(text, fraction) else "train"].append(ids)
    return splits


def documents_in(dataset: TokenDataset, manifest: PreparedManifest, name: SplitName) -> list[Any]:
    """The ids of the documents of a split, cut at the starts that its file has."""
    tokens = np.concatenate([shard for shard in dataset.split(name).shards] or [np.empty(0, "<u2")])
    entry = manifest.split(name).starts
    assert entry is not None
    starts = np.fromfile(dataset.directory / entry.file, "<u8").astype(int)
    return [part.tolist() for part in np.split(tokens, starts[1:])] if starts.size else []


def hashes(out: Path) -> dict[str, str]:
    """SHA-256 of all that a dataset consists of."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.iterdir())
        if path.is_file() and path.name != ".lock"
    }


def opened(out: Path) -> TokenDataset:
    return open_dataset(out)
