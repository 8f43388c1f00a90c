"""Preparations: every document exactly once, in order, whatever did the work and how often."""

from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.preparing.corpora import (
    AWKWARD,
    PUBLIC,
    TOKENIZER,
    by_definition,
    documents_in,
    hashes,
    in_val,
    numbered,
    opened,
    prepared,
    watched,
    write_file,
)
from workloads.data.manifest import (
    SPLITS,
    DataError,
    Manifest,
    SplitEntry,
    content_fingerprint,
    read_manifest,
)
from workloads.data.preparing import pieces
from workloads.data.shards import check_hashes
from workloads.data.tokenizers.table import load_tokenizer

KINDS = ["a.jsonl", "b.jsonl.gz", "c.jsonl.zst", "d.parquet"]


@pytest.fixture
def corpus(tmp_path: Path) -> tuple[Path, list[str]]:
    """A folder with a file of every kind, and the texts in order."""
    texts: list[str] = []
    for name in KINDS:
        own = [*AWKWARD, *numbered(40, name[0])]
        write_file(tmp_path / "corpus" / "deep" / name, own)
        texts += own
    for number in range(5):
        text = f"A whole file.\r\nNumber {number}, é.\n"
        write_file(tmp_path / "corpus" / f"text {number}.txt", [text])
        texts.append(text)
    write_file(tmp_path / "corpus" / ".hidden.txt", ["hidden"])
    write_file(tmp_path / "corpus" / "deep" / "empty.txt", [""])
    return tmp_path / "corpus", texts


@pytest.mark.parametrize("tokenizer", ["byte", TOKENIZER])
def test_every_document_is_there_once_in_order(
    tmp_path: Path, corpus: tuple[Path, list[str]], tokenizer: str
) -> None:
    folder, texts = corpus
    manifest = prepared(tmp_path / "out", folder, tokenizer=tokenizer, val_fraction=0.2)
    dataset = opened(tmp_path / "out")
    expected = by_definition(texts, load_tokenizer(tokenizer), 0.2)
    for name in ("train", "val"):
        assert documents_in(dataset, manifest, name) == expected[name]
        entry = manifest.split(name)
        assert entry.documents == len(expected[name])
        assert entry.tokens == sum(map(len, expected[name])) == dataset.size.tokens(name)
    counts = manifest.counts
    assert counts.documents == len(texts)
    assert counts.bytes == sum(len(text.encode()) for text in texts)
    assert counts.duplicates == 3 * len(AWKWARD) and counts.dropped == counts.skipped == 0
    assert counts.longest_document == max(map(len, expected["train"] + expected["val"]))
    assert [each.name for each in manifest.inputs] == [
        *(f"deep/{name}" for name in KINDS),
        "deep/empty.txt",
        *(f"text {number}.txt" for number in range(5)),
    ]
    assert sum(each.documents for each in manifest.inputs) == len(texts)


def test_the_files_do_not_depend_on_who_did_which_piece(
    tmp_path: Path, corpus: tuple[Path, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = prepared(tmp_path / "whole", corpus[0], tokenizer=TOKENIZER)
    monkeypatch.setattr(pieces, "UNIT_BYTES", 500)
    cut, seen = watched(tmp_path / "cut", corpus[0], tokenizer=TOKENIZER)
    assert seen.items > 20
    assert cut == whole
    assert hashes(tmp_path / "cut") == hashes(tmp_path / "whole")


def test_the_fingerprint_is_of_the_tokens_alone(tmp_path: Path) -> None:
    texts = numbered(30, "a")
    first = prepared(tmp_path / "1", write_file(tmp_path / "a.jsonl", texts))
    second = prepared(tmp_path / "2", write_file(tmp_path / "b.parquet", texts))
    assert first.inputs != second.inputs and first.fingerprint == second.fingerprint
    assert (
        content_fingerprint("<u2", 257, {n: first.split(n).shards for n in SPLITS})
        == first.fingerprint
    )
    assert opened(tmp_path / "1").fingerprint == first.fingerprint
    other = prepared(tmp_path / "3", tmp_path / "a.jsonl", val_fraction=0.5)
    assert other.fingerprint != first.fingerprint


def test_shards_hold_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write_file(tmp_path / "a.jsonl", numbered(30, "a"))
    prepared(tmp_path / "whole", source)
    monkeypatch.setattr("workloads.data.preparing.prepare.MAX_SHARD_TOKENS", 100)
    manifest = prepared(tmp_path / "cut", source)
    assert {shard.tokens for shard in manifest.train.shards[:-1]} == {100}
    whole, cut = opened(tmp_path / "whole"), opened(tmp_path / "cut")
    np.testing.assert_array_equal(
        np.concatenate(whole.split("train").shards), np.concatenate(cut.split("train").shards)
    )


# Again


def test_again_redoes_nothing(tmp_path: Path, corpus: tuple[Path, list[str]]) -> None:
    out = tmp_path / "out"
    first = prepared(out, corpus[0])
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.is_file()}
    again, seen = watched(out, corpus[0])
    assert again == first and seen.texts == 0
    after = {path: path.stat().st_mtime_ns for path in out.rglob("*.*") if path.is_file()}
    assert after == before


def test_only_an_added_file_is_tokenized_and_moves_nothing(
    tmp_path: Path, corpus: tuple[Path, list[str]]
) -> None:
    folder, _ = corpus
    first = prepared(tmp_path / "out", folder, val_fraction=0.3)
    before = [documents_in(opened(tmp_path / "out"), first, name) for name in SPLITS]
    new = ["a new document", "and another one"]
    write_file(folder / "deep" / "aa.jsonl", new)
    write_file(folder / "text 00.txt", ["text in a new file"])
    manifest, seen = watched(tmp_path / "out", folder, val_fraction=0.3)
    assert seen.texts == 3 and seen.finished > 0
    added = {(*text.encode(), 256) for text in [*new, "text in a new file"]}
    for name, old in zip(SPLITS, before, strict=True):
        now = documents_in(opened(tmp_path / "out"), manifest, name)
        assert [document for document in now if tuple(document) not in added] == old
    assert prepared(tmp_path / "fresh", folder, val_fraction=0.3) == manifest
    assert hashes(tmp_path / "fresh") == hashes(tmp_path / "out")


def test_other_settings_use_what_is_finished(
    tmp_path: Path, corpus: tuple[Path, list[str]]
) -> None:
    prepared(tmp_path / "out", corpus[0])
    manifest, seen = watched(tmp_path / "out", corpus[0], val_fraction=0.5, drop_duplicates=True)
    assert seen.texts == 0 and manifest.val_fraction == 0.5
    _, seen = watched(tmp_path / "out", corpus[0], tokenizer=TOKENIZER)
    assert seen.texts == len(corpus[1])
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == Path(TOKENIZER).read_bytes()


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_shard_is_put_together_again(
    tmp_path: Path, corpus: tuple[Path, list[str]], damage: str
) -> None:
    manifest = prepared(tmp_path / "out", corpus[0])
    before = hashes(tmp_path / "out")
    spoil(tmp_path / "out" / "train-00000.bin", damage)
    with pytest.raises(DataError, match="run its `python -m workloads data prepare` again"):
        opened(tmp_path / "out")
        check_hashes(tmp_path / "out")
    again, seen = watched(tmp_path / "out", corpus[0])
    assert again == manifest and seen.texts == 0
    assert hashes(tmp_path / "out") == before


def test_a_damaged_manifest_is_written_again(
    tmp_path: Path, corpus: tuple[Path, list[str]]
) -> None:
    manifest = prepared(tmp_path / "out", corpus[0])
    path = tmp_path / "out" / "manifest.json"
    path.write_text(path.read_text().replace('"recipe"', '"recipes"'))
    with pytest.raises(DataError, match=r"recipe: .*; run its `python -m workloads data prepare`"):
        opened(tmp_path / "out")
    again, seen = watched(tmp_path / "out", corpus[0])
    assert again == manifest == read_manifest(tmp_path / "out") and seen.texts == 0


@pytest.mark.parametrize("damage", ["flipped", "cut", "missing"])
def test_a_damaged_part_is_made_again(
    tmp_path: Path, corpus: tuple[Path, list[str]], damage: str
) -> None:
    manifest = prepared(tmp_path / "out", corpus[0])
    before = hashes(tmp_path / "out")
    for part in (tmp_path / "out" / "parts").glob("*.npz"):
        spoil(part, damage)
        (tmp_path / "out" / "manifest.json").unlink()
        again, seen = watched(tmp_path / "out", corpus[0])
        assert again == manifest and seen.texts > 0
        assert hashes(tmp_path / "out") == before


def spoil(path: Path, damage: str) -> None:
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    else:
        content[len(content) // 3] ^= 1
        path.write_bytes(content)


# Choices


def test_equal_texts_fall_in_one_split_and_are_counted(tmp_path: Path) -> None:
    texts = numbered(50, "a")
    source = write_file(tmp_path / "a.jsonl", texts)
    twice = write_file(tmp_path / "b.jsonl", texts[::-1])
    counted = prepared(tmp_path / "1", source, twice, val_fraction=0.3)
    assert (counted.counts.duplicates, counted.counts.dropped) == (50, 0)
    assert counted.val.documents == 2 * sum(in_val(text, 0.3) for text in texts)
    dropped = prepared(tmp_path / "2", source, twice, val_fraction=0.3, drop_duplicates=True)
    assert (dropped.counts.duplicates, dropped.counts.dropped) == (50, 50)
    assert dropped.counts.documents == 50
    # The first ones stayed.
    alone = prepared(tmp_path / "3", source, val_fraction=0.3)
    assert dropped.fingerprint == alone.fingerprint
    assert [each.documents for each in dropped.inputs] == [50, 0]


def test_duplicates_are_found_whatever_is_compared_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"text {number % 37}" for number in range(200)]
    source = write_file(tmp_path / "a.jsonl", texts)
    whole = prepared(tmp_path / "1", source, drop_duplicates=True)
    assert whole.counts.dropped == 200 - 37
    monkeypatch.setattr("workloads.data.preparing.corpus.COMPARED_AT_ONCE", 11)
    assert prepared(tmp_path / "2", source, drop_duplicates=True) == whole


def test_rows_are_chosen_by_fields(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        sources = [
            write_file(tmp_path / "code" / name, ["x = 1"], meta={"set": "Git", "n": 1}),
            write_file(tmp_path / "web" / name, ["word"], meta={"set": "Web", "n": 2}),
            write_file(tmp_path / "book" / name, ["page"], meta={"set": "Book", "n": 2}),
        ]
        out = tmp_path / f"out {name}"
        both = prepared(out, *sources, where=("meta.set!=Git",), val_fraction=0)
        assert both.where == ("meta.set!=Git",) and both.counts.documents == 2
        one = prepared(out, *sources, where=("meta.set!=Web", "meta.n=2"), val_fraction=0)
        assert bytes(np.concatenate(opened(out).split("train").shards)[:-1].tolist()) == b"page"
        assert one.counts.documents == 1


def test_the_text_may_be_in_any_field(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.parquet"):
        source = write_file(tmp_path / name, ["other"], doc={"body": "this one"})
        out = tmp_path / f"out {name}"
        prepared(out, source, text_field="doc.body", val_fraction=0)
        assert bytes(opened(out).split("train").shards[0][:-1].tolist()) == b"this one"


def test_sources_are_read_in_their_order_and_patterns_sorted(tmp_path: Path) -> None:
    for name in ("b.txt", "a.txt", "c/x.txt", "c/y.md", "d.md"):
        write_file(tmp_path / "in" / name, [name])
    (tmp_path / "in" / "c" / "y.md").write_text("y")
    (tmp_path / "in" / "d.md").write_text("d")
    manifest = prepared(
        tmp_path / "out", tmp_path / "in" / "d.md", f"{tmp_path}/in/*.txt", tmp_path / "in" / "c"
    )
    assert [each.name for each in manifest.inputs] == ["d.md", "a.txt", "b.txt", "x.txt", "y.md"]


def test_any_file_system_of_fsspec_is_read(tmp_path: Path) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    texts = numbered(30, "a")
    for kind in ("jsonl.gz", "parquet"):
        here = write_file(tmp_path / f"a.{kind}", texts)
        system.pipe(f"/bucket/web/a.{kind}", here.read_bytes())
        far = prepared(tmp_path / f"far {kind}", f"memory://bucket/web/*.{kind}")
        assert far == prepared(tmp_path / f"near {kind}", here)


def test_a_split_may_be_empty_but_not_both(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.jsonl", ["one", "two"])
    manifest = prepared(tmp_path / "out", source, val_fraction=0)
    assert manifest.val.tokens == 0 and opened(tmp_path / "out").bytes_per_token is None
    with pytest.raises(DataError, match=r"--val-fraction 1\.0 must be"):
        prepared(tmp_path / "out", source, val_fraction=1.0)
    assert read_manifest(tmp_path / "out") == manifest


def test_a_bundled_dataset_is_not_written_over(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    split = SplitEntry(documents=1, bytes=1, tokens=2, shards=())
    manifest = Manifest(
        format=1, source="python-stdlib", tokenizer="byte", vocab_size=257, dtype="<u2",
        val_fraction=0.1, fingerprint="0" * 16, train=split, val=split,
    )  # fmt: skip
    (out / "manifest.json").write_text(manifest.model_dump_json())
    with pytest.raises(DataError, match="holds the dataset of python-stdlib; choose another"):
        prepared(out, write_file(tmp_path / "a.jsonl", ["one"]))


def test_the_public_documents_have_the_public_counts(tmp_path: Path) -> None:
    manifest = prepared(tmp_path, PUBLIC / "simple.jsonl.gz", tokenizer=TOKENIZER)
    assert (manifest.counts.documents, manifest.counts.tokens) == (120, 58_323)
