"""Where the documents of a prepared dataset come from: the file and the row of each."""

import gzip
import json
from pathlib import Path

import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest

from tests.workloads.data.formats.files import data
from workloads.data.formats.opening import read_path
from workloads.data.formats.origins import origins
from workloads.data.tokenizers.byte import ByteTokenizer

# Rows of a file: two are filtered out, one is blank, two repeat others.
ROWS = [
    {"text": f"text {number % 17} of a file", "kind": "code" if number in (3, 9) else "prose"}
    for number in range(19)
]


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    folder = tmp_path / "sources"
    folder.mkdir()
    lines = [json.dumps(row) for row in ROWS]
    lines.insert(5, "")
    (folder / "b.jsonl.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    (folder / "a.txt").write_text("a document that is a file")
    others = [row | {"text": f"other {row['text']}"} for row in ROWS]
    parquet.write_table(arrow.Table.from_pylist(others), folder / "c.parquet", row_group_size=7)
    return folder


def text_at(folder: Path, file: str, row: int | None) -> str:
    path = folder / file
    if row is None:
        return path.read_text()
    if path.suffix == ".parquet":
        return parquet.read_table(path).to_pylist()[row - 1]["text"]
    return json.loads(gzip.decompress(path.read_bytes()).split(b"\n")[row - 1])["text"]


@pytest.mark.parametrize(
    ("options", "documents"),
    [
        ((), 39),
        (("--drop-duplicates",), 35),
        (("--recipe", "llm-baselines"), 39),
        (("--where", "kind=prose"), 34),  # of files with fields
    ],
)
def test_every_document_is_found_again_where_it_came_from(
    tmp_path: Path, sources: Path, options: tuple[str, ...], documents: int
) -> None:
    if "--where" in options:
        (sources / "a.txt").unlink()
    out = tmp_path / "out"
    chosen = ("--val-fraction", "0.3", "--tokenizer", "byte", "--workers", 1)
    code, _, err = data("prepare", sources, "--out", out, *chosen, *options)
    assert code == 0, err
    found = read_path(out)
    places = set()
    for name, stream in found.streams.items():
        assert stream.documents
        tokens, origin = next(stream.blocks()), origins(found, name)
        (edges,) = stream.documents.blocks(stream.tokens)
        for number in range(stream.documents.count):
            file, row = origin(number)
            text = ByteTokenizer().decode(tokens[edges[number] : edges[number + 1]])
            assert file and text_at(sources, file, row) == text
            places.add((file, row))
    assert len(places) == documents
    assert data("verify", out)[0] == 0
