"""Bad input: one line with file and row and the remedy, or left out and counted."""

from __future__ import annotations

import errno
import gzip
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as arrow
import pyarrow.parquet as parquet
import pytest
import zstandard

from tests.workloads.data.preparing.corpora import (
    TOKENIZER,
    numbered,
    opened,
    prepared,
    watched,
    write_file,
)
from workloads.data.manifest import DataError
from workloads.data.preparing import pieces
from workloads.data.preparing.display import summary
from workloads.data.preparing.parts import PartEntry
from workloads.data.tokenizers.json_file import MOST_UNCUT

GOOD = numbered(500, "good")
LINES = [json.dumps({"text": text}).encode() for text in GOOD]
ROWS = {
    "not UTF-8": (b'{"text": "caf\xe9"}', r"byte 13 is not UTF-8"),
    "no JSON": (b'{"text": "a"', r"not JSON \("),
    "a number": (b"3", r"not a record with fields"),
    "no field": (b'{"txt": "a", "n": 1}', r"no field text \(it has: txt, n; --text-field names"),
    "null": (b'{"text": null}', r"the field text is not text but NoneType"),
    "half a pair": (rb'{"text": "a\ud800"}', r"character 1 is half of a surrogate pair"),
    "deep": (b"[" * 100_000, r"not JSON \("),
}


@pytest.mark.parametrize("kind", ROWS)
def test_a_bad_row_is_named_or_left_out(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "UNIT_BYTES", 2000)
    bad, problem = ROWS[kind]
    source = tmp_path / "in" / "a.jsonl"
    source.parent.mkdir()
    source.write_bytes(b"\n".join([*LINES[:400], b"", bad, *LINES[400:]]) + b"\n")
    expected = rf"^{source}: row 402: {problem}.*; correct it, or leave it out with --skip-bad$"
    with pytest.raises(DataError, match=expected):
        prepared(tmp_path / "out", source)
    manifest, seen = watched(tmp_path / "out", source, skip_bad=True)
    assert (manifest.counts.skipped, manifest.counts.documents) == (1, 500)
    assert seen.finished > 0 and len(seen.problems) == 1
    good = prepared(tmp_path / "good", write_file(tmp_path / "good.jsonl", GOOD))
    assert manifest.fingerprint == good.fingerprint
    # What was left out is not forgotten.
    with pytest.raises(DataError, match=expected):
        prepared(tmp_path / "out", source)
    assert prepared(tmp_path / "out", source, skip_bad=True) == manifest


def test_a_bad_row_of_parquet(tmp_path: Path) -> None:
    texts = [text.encode() for text in GOOD]
    texts[123] = b"caf\xe9"
    column = arrow.array(texts, arrow.binary()).cast(arrow.string(), safe=False)
    column = arrow.Array.from_buffers(arrow.string(), 500, column.buffers())
    source = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": column}), source, row_group_size=100)
    with pytest.raises(DataError, match=f"{source}: row 124: byte 3 is not UTF-8"):
        prepared(tmp_path / "out", source)
    manifest = prepared(tmp_path / "out", source, skip_bad=True)
    assert (manifest.counts.skipped, manifest.counts.documents) == (1, 499)


BAD_TEXT = arrow.Array.from_buffers(
    arrow.string(), 2, arrow.array([b"caf\xe9", b"ok"], arrow.binary()).buffers()
)
FAR = arrow.array([2**53, 5], arrow.timestamp("ms"))
VALUES: dict[str, tuple[arrow.Array, dict[str, Any]]] = {
    "a record": (arrow.StructArray.from_arrays([BAD_TEXT], ["f"]), {"text_field": "x.f"}),
    "a dictionary": (
        arrow.DictionaryArray.from_arrays(arrow.array([0, 1], arrow.int32()), BAD_TEXT),
        {"text_field": "x"},
    ),
    "a list": (
        arrow.ListArray.from_arrays(arrow.array([0, 1, 2], arrow.int32()), BAD_TEXT),
        {"where": ('x=["ok"]',)},
    ),
    "a timestamp": (FAR, {"where": ("x!=1",)}),
    "a date": (FAR.cast(arrow.int64()).cast(arrow.date64()), {"where": ("x!=1",)}),
}


@pytest.mark.parametrize("kind", VALUES)
def test_values_of_parquet_that_python_cannot_hold(tmp_path: Path, kind: str) -> None:
    values, options = VALUES[kind]
    source = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"text": ["one", "two"], "x": values}), source)
    with pytest.raises(DataError, match=r"a\.parquet: row 1: the field x\S* cannot be read \("):
        prepared(tmp_path / "out", source, **options)
    manifest = prepared(tmp_path / "out", source, **options, skip_bad=True, val_fraction=0)
    assert (manifest.counts.documents, manifest.counts.skipped) == (1, 1)


def test_parquet_files_may_have_no_rows(tmp_path: Path) -> None:
    rows, none = arrow.table({"text": ["one"]}), arrow.table({"text": arrow.array([], "string")})
    for name, tables in {"a": [none], "b": [rows, none], "c": [none, rows]}.items():
        with parquet.ParquetWriter(tmp_path / f"{name}.parquet", rows.schema) as writer:
            for table in tables:
                writer.write_table(table)
    manifest = prepared(tmp_path / "out", f"{tmp_path}/*.parquet", val_fraction=0)
    assert [each.documents for each in manifest.inputs] == [0, 1, 1]


def test_integers_may_be_of_any_length(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "one", "n": %s}\n' % ("9" * 5000))
    assert prepared(tmp_path / "out", source, val_fraction=0).counts.documents == 1


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_a_field_that_no_row_has(tmp_path: Path, name: str) -> None:
    source = write_file(tmp_path / name, GOOD, field="content")
    with pytest.raises(DataError, match=r"row 1: .*no field text .*--text-field"):
        prepared(tmp_path / "out", source)
    with pytest.raises(DataError, match="no document is left to train on"):
        prepared(tmp_path / "out", source, skip_bad=True)


def test_a_filter_that_a_row_lacks(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.jsonl", GOOD)
    with pytest.raises(DataError, match=r"row 1: no field meta\.set .*--where names"):
        prepared(tmp_path / "out", source, where=("meta.set!=Git",))
    with pytest.raises(DataError, match="--where meta: must be FIELD=VALUE or FIELD!=VALUE"):
        prepared(tmp_path / "out", source, where=("meta",))
    text = write_file(tmp_path / "a.txt", ["text"])
    with pytest.raises(DataError, match=r"a\.txt: is plain text, which has no fields"):
        prepared(tmp_path / "out", text, where=("meta=1",))


def test_a_text_file_that_is_not_utf8(tmp_path: Path) -> None:
    write_file(tmp_path / "in" / "a.txt", ["good"])
    (tmp_path / "in" / "b.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match=r"in/b\.txt: byte 3 is not UTF-8; correct it, or leave"):
        prepared(tmp_path / "out", tmp_path / "in")
    manifest = prepared(tmp_path / "out", tmp_path / "in", skip_bad=True)
    assert (manifest.counts.documents, manifest.counts.skipped) == (1, 1)


def damaged_file(name: str, tmp_path: Path) -> tuple[bytes, str]:
    """The bytes of a damaged file, and what is said of it."""
    content = b"\n".join(LINES)
    packed, framed = gzip.compress(content), zstandard.compress(content)
    table = write_file(tmp_path / "whole.parquet", GOOD).read_bytes()
    flipped = bytearray(packed)
    flipped[len(packed) // 2] ^= 16
    checked = bytearray(zstandard.ZstdCompressor(write_checksum=True).compress(content))
    checked[len(checked) // 2] ^= 16
    files = {
        "flipped.jsonl.gz": (bytes(flipped), r"damaged \("),
        "cut.jsonl.gz": (packed[:-100], "cut off before its end"),
        "plain.jsonl.gz": (content, r"damaged \("),
        "flipped.jsonl.zst": (bytes(checked), r"damaged \("),
        "cut.jsonl.zst": (framed[:-100], "cut off before its end"),
        "cut.parquet": (table[:-100], r"not a Parquet file that can be read \("),
        "empty.parquet": (b"", r"not a Parquet file that can be read \("),
    }
    return files[name]


DAMAGED = ["flipped.jsonl.gz", "cut.jsonl.gz", "plain.jsonl.gz", "flipped.jsonl.zst"]
DAMAGED += ["cut.jsonl.zst", "cut.parquet", "empty.parquet"]


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_named_or_left_out(tmp_path: Path, name: str) -> None:
    content, problem = damaged_file(name, tmp_path)
    source = write_file(tmp_path / "in" / "a.jsonl", GOOD)
    (tmp_path / "in" / name).write_bytes(content)
    expected = f"^{tmp_path}/in/{name}: {problem}.*; fetch it again, or leave it out with --skip"
    with pytest.raises(DataError, match=expected):
        prepared(tmp_path / "out", tmp_path / "in")
    manifest, seen = watched(tmp_path / "out", tmp_path / "in", skip_bad=True)
    assert (manifest.counts.skipped_files, manifest.counts.skipped) == (1, 0)
    assert manifest.fingerprint == prepared(tmp_path / "alone", source).fingerprint
    assert len(seen.problems) == 1 and name in seen.problems[0]


def test_damaged_pages_of_parquet(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.parquet", GOOD)
    content = bytearray(source.read_bytes())
    content[200:240] = b"\xff" * 40
    source.write_bytes(content)
    with pytest.raises(DataError, match=rf"{source}: row \d+: .*--skip-bad"):
        prepared(tmp_path / "out", source)
    manifest = prepared(tmp_path / "out", source, skip_bad=True)
    assert manifest.counts.skipped + manifest.counts.documents == 500
    assert 0 < manifest.counts.skipped < 100


def test_sources_without_documents(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for source in (tmp_path / "empty", tmp_path / "nowhere", tmp_path / "*.jsonl"):
        expected = re.escape(f"{source}: no such file, and no folder or pattern")
        with pytest.raises(DataError, match=expected):
            prepared(tmp_path / "out", source)
    (tmp_path / "a.jsonl").write_bytes(b"\n\n")
    with pytest.raises(DataError, match="no document is left to train on"):
        prepared(tmp_path / "out", tmp_path / "a.jsonl")
    with pytest.raises(DataError, match=r"a\.jsonl is named twice"):
        prepared(tmp_path / "out", tmp_path / "a.jsonl", tmp_path / "*.jsonl")
    with pytest.raises(DataError, match="nothing://x: "):
        prepared(tmp_path / "out", "nothing://x")


def test_a_long_document_is_no_matter(tmp_path: Path) -> None:
    long = "A line of text that goes on.\n" * 100_000
    source = write_file(tmp_path / "a.jsonl", ["short", long, "short too"])
    manifest = prepared(tmp_path / "out", source, tokenizer=TOKENIZER, val_fraction=0)
    assert manifest.counts.documents == 3
    assert manifest.counts.longest_document > 100_000 * 5


def test_a_word_without_end_is_a_bad_row(tmp_path: Path) -> None:
    endless = "x" * (MOST_UNCUT + 1)
    source = write_file(tmp_path / "a.jsonl", ["short", endless, "short too"])
    with pytest.raises(DataError, match=rf"{source}: row 2: 4,194,305 characters without an end"):
        prepared(tmp_path / "out", source, tokenizer=TOKENIZER)
    manifest = prepared(tmp_path / "out", source, tokenizer=TOKENIZER, skip_bad=True)
    assert (manifest.counts.documents, manifest.counts.skipped) == (2, 1)
    assert prepared(tmp_path / "bytes", source).counts.documents == 3


def test_an_input_that_changes_meanwhile_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_file(tmp_path / "a.jsonl", GOOD)
    from workloads.data.preparing import prepare as module

    def change(*arguments: Any, **options: Any) -> PartEntry:
        source.write_bytes(source.read_bytes().replace(b"good", b"evil"))
        return original(*arguments, **options)

    original = module.tokenize_piece
    monkeypatch.setattr(module, "tokenize_piece", change)
    with pytest.raises(DataError, match=f"{source}: changed while it was read; run again"):
        prepared(tmp_path / "out", source)
    monkeypatch.setattr(module, "tokenize_piece", original)
    prepared(tmp_path / "out", source, val_fraction=0)
    assert bytes(opened(tmp_path / "out").split("train").shards[0][:4].tolist()) == b"evil"


def test_a_full_disk_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "UNIT_BYTES", 2000)
    source = write_file(tmp_path / "a.jsonl", GOOD)
    from workloads.data.preparing import parts

    written: list[Path] = []

    def full(path: Path, content: bytes, durable: bool) -> None:
        if len(written) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(path, content, durable)
        written.append(path)

    original = parts.write_atomically
    monkeypatch.setattr(parts, "write_atomically", full)
    with pytest.raises(OSError, match="No space left") as error:
        prepared(tmp_path / "out", source)
    assert error.value.filename == str(tmp_path / "out")
    monkeypatch.setattr(parts, "write_atomically", original)
    manifest, seen = watched(tmp_path / "out", source)
    assert seen.finished >= 2 * 2000 and seen.texts < 500
    assert manifest == prepared(tmp_path / "undisturbed", source)


def test_a_tokenizer_with_wide_ids(tmp_path: Path) -> None:
    tree = json.loads(Path(TOKENIZER).read_text())
    added = tree["added_tokens"][0] | {"id": 512, "content": "good", "special": False}
    tree["added_tokens"].append(added)
    tree["model"]["vocab"] |= {f"unused{number}": number for number in range(512, 70_000)}
    tree["model"]["vocab"] = {
        token: number + 1 if number >= 512 else number
        for token, number in tree["model"]["vocab"].items()
    }
    wide = tmp_path / "wide.json"
    wide.write_text(json.dumps(tree))
    manifest = prepared(tmp_path / "out", write_file(tmp_path / "a.txt", GOOD), tokenizer=str(wide))
    assert manifest.dtype == "<u4"
    assert np.concatenate(opened(tmp_path / "out").split("train").shards).dtype == "<u4"


def test_a_parquet_file_without_the_field_says_which_it_has(tmp_path: Path) -> None:
    source = tmp_path / "a.parquet"
    parquet.write_table(arrow.table({"path": ["p"], "content": ["a"]}), source)
    with pytest.raises(DataError, match=r"row 1: no field text \(it has: path, content; --text-fi"):
        prepared(tmp_path / "out", source)


def test_a_dataset_that_is_replaced_is_named_before(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.jsonl", GOOD)
    first, seen = watched(tmp_path / "out", source)
    assert not seen.replaced
    _, seen = watched(tmp_path / "out", source)
    assert not seen.replaced  # the same one
    _, seen = watched(tmp_path / "out", source, val_fraction=0.0)
    assert seen.replaced == [first.fingerprint]


def test_a_dataset_that_no_run_can_use_is_cautioned_against(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.jsonl", [*GOOD, GOOD[0]])
    with_none = summary(prepared(tmp_path / "none", source, val_fraction=0.0), tmp_path)
    assert "caution: no tokens for validation" in with_none
    with_some = summary(prepared(tmp_path / "some", source, val_fraction=0.5), tmp_path)
    assert "caution" not in with_some
    assert "duplicates    1, kept; --drop-duplicates leaves them out" in with_some
