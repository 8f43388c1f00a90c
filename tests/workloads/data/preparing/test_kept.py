"""What is kept and what is not: parts of changed inputs, earlier datasets, files of others."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.workloads.data.preparing.corpora import (
    TOKENIZER,
    hashes,
    numbered,
    opened,
    prepared,
    watched,
    write_file,
)
from workloads.data.manifest import DataError
from workloads.data.preparing import parts
from workloads.data.preparing import prepare as module
from workloads.data.preparing.plan import Plan
from workloads.data.preparing.recipes.table import RECIPES

# Inputs that change


def same_size_and_time(source: Path) -> None:
    found = source.stat()
    source.write_bytes(source.read_bytes().replace(b"word", b"evil"))
    os.utime(source, ns=(found.st_atime_ns, found.st_mtime_ns))


def spoiled(source: Path) -> None:
    source.write_bytes(source.read_bytes()[:-20] + b"x" * 20)


@pytest.mark.parametrize("change", [same_size_and_time, spoiled])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_no_part_is_made_of_an_input_that_has_changed(
    tmp_path: Path,
    change: Callable[[Path], None],
    skip_bad: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = write_file(tmp_path / "a.jsonl", numbered(50, "word"))

    def plan_and_change(*arguments: object) -> Plan:
        plan = original(*arguments)  # pyright: ignore[reportArgumentType]
        change(source)
        return plan

    original = module.plan_pieces
    monkeypatch.setattr(module, "plan_pieces", plan_and_change)
    with pytest.raises(DataError, match=f"{source}: changed while it was read; run again"):
        prepared(tmp_path / "out", source, skip_bad=skip_bad)
    assert not list((tmp_path / "out").rglob("*.npz"))


def test_rows_left_out_once_are_no_error_of_other_files(tmp_path: Path) -> None:
    """Small files are one piece, and one part file."""
    write_file(tmp_path / "in" / "a.txt", ["a"])
    bad = tmp_path / "in" / "b.txt"
    bad.write_bytes(b"caf\xe9")
    out = tmp_path / "out"
    assert prepared(out, tmp_path / "in", skip_bad=True, val_fraction=0).counts.skipped == 1
    with pytest.raises(DataError, match=r"b\.txt: byte 3 is not UTF-8"):
        prepared(out, tmp_path / "in", val_fraction=0)
    bad.write_bytes("café".encode())
    assert prepared(out, tmp_path / "in", val_fraction=0).counts.documents == 2
    bad.unlink()
    manifest, seen = watched(out, tmp_path / "in", val_fraction=0)
    assert (manifest.counts.documents, seen.texts) == (1, 0)


def test_every_flipped_bit_of_a_part_is_noticed(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.jsonl", numbered(30, "word"))
    prepared(tmp_path / "out", source)
    (part,) = (tmp_path / "out" / "parts").iterdir()
    members = ("tokens", "documents", "units")
    good = {name: getattr(parts.PartFile(part), name).tobytes() for name in members}
    content, flipped = part.read_bytes(), tmp_path / "flipped.npz"
    with zipfile.ZipFile(part) as archive:
        headers = [(each.header_offset, each.header_offset + 190) for each in archive.infolist()]
    headers.append((len(content) - 400, len(content)))  # the directory
    noticed = 0
    for place in {at for start, stop in headers for at in range(start, min(stop, len(content)))}:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        flipped.write_bytes(damaged)
        name = members[place % 3]
        try:
            assert getattr(parts.PartFile(flipped), name).tobytes() == good[name]
        except parts.DamagedPart:
            noticed += 1
    assert noticed > 200


# What is in the folder already


def test_files_of_others_stay(tmp_path: Path) -> None:
    source, out = write_file(tmp_path / "a.txt", ["a"]), tmp_path / "out"
    prepared(out, source, val_fraction=0)
    for name in ("train-mine.bin", "val-2024.bin", "notes.txt"):
        (out / name).write_text("mine")
    prepared(out, write_file(tmp_path / "b.txt", ["b"]), val_fraction=0)
    assert all((out / n).exists() for n in ("train-mine.bin", "val-2024.bin", "notes.txt"))
    for name in ("train-00000.bin", "tokenizer.json", "manifest.json", "val-origins.bin"):
        other = tmp_path / name / "out"
        other.mkdir(parents=True)
        (other / name).write_text("mine")
        with pytest.raises(DataError, match=f"out/{name}: is there, and not of a dataset"):
            prepared(other, source)
        assert (other / name).read_text() == "mine"


def test_a_tokenizer_may_be_where_its_copy_goes(tmp_path: Path) -> None:
    source, out = write_file(tmp_path / "a.txt", ["a"]), tmp_path / "out"
    out.mkdir()
    shutil.copy(TOKENIZER, out / "tokenizer.json")
    prepared(out, source, val_fraction=0, tokenizer=str(out / "tokenizer.json"))
    assert (out / "tokenizer.json").read_bytes() == Path(TOKENIZER).read_bytes()
    prepared(out, source, val_fraction=0)
    assert not (out / "tokenizer.json").exists()


def test_a_run_that_fails_leaves_the_earlier_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = write_file(tmp_path / "a.jsonl", ["a"], n=1), tmp_path / "out"
    prepared(out, source, val_fraction=0, tokenizer=TOKENIZER)
    before = hashes(out)
    with pytest.raises(DataError, match="no document is left"):
        prepared(out, source, where=("n=2",))
    with pytest.raises(DataError, match="is not UTF-8; write it so"):
        prepared(out, source, where=(os.fsdecode(b"n!=\xff"),))
    assert hashes(out) == before

    changing = tmp_path / "t.json"
    shutil.copy(TOKENIZER, changing)
    monkeypatch.setattr(RECIPES["default"], "val_fraction", 0.0)
    original = RECIPES["default"].write

    def write(*arguments: object) -> None:
        original(*arguments)  # pyright: ignore[reportArgumentType]
        changing.write_text(changing.read_text() + " ")

    monkeypatch.setattr(RECIPES["default"], "write", write)
    with pytest.raises(DataError, match=r"t\.json: its file has changed; run again"):
        prepared(out, write_file(tmp_path / "b.txt", ["b"]), tokenizer=str(changing))
    assert hashes(out) == before and opened(out).size.train_tokens == 2


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_recipe_makes_a_dataset_of_nothing(tmp_path: Path, recipe: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\n")
    with pytest.raises(DataError, match="no document is left to train on, of 0"):
        prepared(tmp_path / "out", tmp_path / "a.jsonl", recipe=recipe)
