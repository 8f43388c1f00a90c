"""Sources: which files they are, of which kind, and what is refused before anything is read."""

from __future__ import annotations

import gzip
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as arrow
import pytest
import zstandard

from tests.workloads.data.preparing.corpora import opened, prepared, write_file
from workloads.data.manifest import DataError
from workloads.data.preparing.pieces import scan
from workloads.data.preparing.sources import Input, find_inputs

ROWS = b'{"text": "one"}\n{"text": "two"}\n'


def text_of(out: Path) -> bytes:
    """The tokens of a dataset of bytes, with a bar at the end of each document."""
    tokens = np.concatenate(opened(out).split("train").shards)
    return bytes(np.where(tokens == 256, ord("|"), tokens).astype(np.uint8))


def names(*sources: Path | str) -> list[str]:
    return [each.name for each in find_inputs([str(each) for each in sources], Path("hub"))]


# Links


def test_links_count_as_what_they_lead_to(tmp_path: Path) -> None:
    """As the hub keeps files: named links to files that are named by their content."""
    write_file(tmp_path / "blobs" / "1f0a", ["a"])
    write_file(tmp_path / "elsewhere" / "deep" / "c.txt", ["c"])
    folder = tmp_path / "snapshot"
    write_file(folder / "b.txt", ["b"])
    (folder / "a.jsonl").symlink_to("../blobs/1f0a")
    (folder / "linked").symlink_to(tmp_path / "elsewhere")
    assert names(folder) == names(f"{folder}/**") == ["a.jsonl", "b.txt", "linked/deep/c.txt"]
    assert names(f"{folder}/**/*.txt") == ["b.txt", "linked/deep/c.txt"]
    prepared(tmp_path / "out", folder, val_fraction=0)
    assert text_of(tmp_path / "out") == b"a|b|c|"


def test_links_that_lead_nowhere_in_circles_or_to_a_file_once_more(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "a.txt", ["a"])
    (tmp_path / "in" / "b.txt").symlink_to("a.txt")
    with pytest.raises(DataError, match=r"b\.txt is named twice, .*, as .*in/a\.txt; name it once"):
        prepared(tmp_path / "out", tmp_path / "in")
    (tmp_path / "in" / "b.txt").unlink()
    (tmp_path / "in" / "up").symlink_to("..")
    with pytest.raises(DataError, match="in/up: is a link to a folder that it is in; remove it"):
        prepared(tmp_path / "out", tmp_path / "in")
    (tmp_path / "in" / "up").unlink()
    (tmp_path / "in" / "c.txt").symlink_to("nowhere")
    for source in ("in", "in/*"):
        with pytest.raises(FileNotFoundError, match=r"in/c\.txt"):
            prepared(tmp_path / "out", tmp_path / source)


# Names and kinds


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.JSONL", ROWS),
        ("a.jsonlines", ROWS),
        (".jsonl", ROWS),
        ("a.JSONL.GZ", gzip.compress(ROWS, mtime=0)),
        ("a.jsonl.Zst", zstandard.compress(ROWS)),
    ],
)
def test_suffixes_are_read_in_either_case(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    prepared(tmp_path / "out", tmp_path / name, val_fraction=0)
    assert text_of(tmp_path / "out") == b"one|two|"


def test_a_query_of_a_url_is_no_suffix() -> None:
    found = Input("a.jsonl.gz?download=true", "https://host/a.jsonl.gz?download=true", "", 1, "")
    assert (found.kind, found.compression, found.problem) == ("jsonl", "gz", None)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("a.csv", "is a table that is not read; turn it into JSONL or Parquet"),
        ("a.jsonl.bz2", "is packed in a way that is not read; unpack it"),
        ("a.tar.gz", "is packed in a way that is not read"),
        ("a.jsonl.txt", r"would be one document of plain text; have its name end with \.jsonl"),
        (os.fsdecode(b"caf\xe9.txt"), "its name is not UTF-8; rename it"),
    ],
)
def test_names_of_what_is_no_text_are_refused_or_left_out(
    tmp_path: Path, name: str, problem: str
) -> None:
    write_file(tmp_path / "in" / "good.txt", ["good"])
    (tmp_path / "in" / name).write_bytes(ROWS)
    with pytest.raises(DataError, match=f"{problem}.*, or leave it out with --skip-bad"):
        prepared(tmp_path / "out", tmp_path / "in", val_fraction=0)
    manifest = prepared(tmp_path / "out", tmp_path / "in", val_fraction=0, skip_bad=True)
    assert manifest.counts.skipped_files == 1 and text_of(tmp_path / "out") == b"good|"


def test_equal_files_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder in ("a/train", "b/train", "c/train"):
        write_file(tmp_path / folder / "x.jsonl", ["one"])
    write_file(tmp_path / "c/train" / "y.jsonl", ["two", "three"])
    sources = [tmp_path / folder / "train" for folder in "abc"]
    manifest = prepared(tmp_path / "out", *sources, val_fraction=0)
    assert [(each.name, each.documents) for each in manifest.inputs] == [
        *(("a/train/x.jsonl", 1), ("b/train/x.jsonl", 1), ("c/train/x.jsonl", 1)),
        ("y.jsonl", 2),
    ]
    origins = np.fromfile(tmp_path / "out" / "train-origins.bin", "<u8")
    assert (origins // 2**40).tolist() == [0, 1, 2, 3, 3]


def test_the_dataset_is_no_source_of_itself(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "a.txt", ["a"])
    with pytest.raises(DataError, match=r"--out .*in/tokens is in .*/in, which it would add to"):
        prepared(tmp_path / "in" / "tokens", tmp_path / "in")
    prepared(tmp_path / "in" / ".tokens", tmp_path / "in", val_fraction=0)  # hidden: no source
    prepared(tmp_path / "in" / "tokens", f"{tmp_path}/in/**/*.txt", val_fraction=0)
    with pytest.raises(DataError, match=r"in/tokens/.*: is in --out"):
        prepared(tmp_path / "in" / "tokens", f"{tmp_path}/in/**/*")
    with pytest.raises(DataError, match=r"a source is empty; name a file, or \. for"):
        prepared(tmp_path / "out", "")


# Content


def test_the_mark_of_the_encoding_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfa\xef\xbb\xbf")
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"\xef\xbb\xbfb"))
    (tmp_path / "c.txt").write_bytes(b"\xef\xbb\xbf")
    manifest = prepared(tmp_path / "out", f"{tmp_path}/*.*", val_fraction=0)
    assert text_of(tmp_path / "out") == b"a\xef\xbb\xbf|b|"
    assert [each.documents for each in manifest.inputs] == [1, 1, 0]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_no_bytes_at_all_are_cut_off(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"{name}: cut off before its end"):
        prepared(tmp_path / "out", tmp_path / name)


def test_zeros_may_fill_up_a_gzip_file(tmp_path: Path) -> None:
    content = gzip.compress(ROWS) + bytes(2**18 + 5) + gzip.compress(ROWS) + bytes(2**18 + 5)
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    prepared(tmp_path / "out", tmp_path / "a.jsonl.gz", val_fraction=0)
    assert text_of(tmp_path / "out") == b"one|two|one|two|"


@pytest.mark.parametrize("kind", ["gz", "zst"])
def test_well_compressed_text_takes_little_memory(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.data.preparing import pieces

    line = b'{"text": "' + b"x" * 1000 + b'"}\n'
    content = line * 60_000
    packed = gzip.compress(content, 9) if kind == "gz" else zstandard.compress(content)
    assert len(packed) < 2**18
    (tmp_path / f"a.jsonl.{kind}").write_bytes(packed)
    sizes: list[int] = []

    def noted(*arguments: Any) -> Any:
        for chunk in original(*arguments):
            sizes.append(len(chunk))
            yield chunk

    original = pieces.text_chunks
    monkeypatch.setattr(pieces, "text_chunks", noted)
    (scanned,) = scan(find_inputs([f"{tmp_path}/a.*"], tmp_path)).values()
    assert scanned.ranges[-1].stop == sum(sizes) == len(content)
    assert max(sizes) <= 2**20


# The hub


class Rows:
    """A dataset of the `datasets` library, as far as it is used."""

    def __init__(self, word: str) -> None:
        self._texts = [f"{word} {row}" for row in range(2)]

    def skip(self, count: int) -> Rows:
        self._texts = self._texts[count:]
        return self

    def with_format(self, name: str) -> Rows:
        assert name == "arrow"
        return self

    def iter(self, size: int) -> Any:
        yield arrow.table({"text": self._texts})


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A stand-in for the `datasets` library, which the tests are not installed with."""
    module: Any = ModuleType("datasets")
    module.load_dataset = lambda name, *arguments, **options: Rows(name)
    module.load_from_disk = lambda name: Rows((Path(name) / "word").read_text())
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_sources_of_the_hub_have_a_copy_each(tmp_path: Path, library: ModuleType) -> None:
    for source, text in (("org/web", b"org/web"), ("org-web", b"org-web")):
        prepared(tmp_path / "out", f"hub:{source}", val_fraction=0)
        assert text_of(tmp_path / "out") == b"%s 0|%s 1|" % (text, text)
    saved = tmp_path / "saved"
    for word in ("old", "newer"):
        write_file(saved / "state.json", [])
        (saved / "word").write_text(word)
        prepared(tmp_path / "out", f"hub:{saved}", val_fraction=0)
        assert text_of(tmp_path / "out") == f"{word} 0|{word} 1|".encode()
