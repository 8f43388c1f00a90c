"""Tokenizers trained on text: the same one each time, for any text."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.workloads.data.preparing.corpora import AWKWARD, PUBLIC, numbered, prepared, write_file
from workloads.commands import app
from workloads.data.manifest import DataError
from workloads.data.tokenizers.table import load_tokenizer


def train(out: Path, *arguments: object) -> str:
    words = ["data", "train-tokenizer", *map(str, arguments), "--out", str(out)]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_a_tokenizer_is_the_same_each_time_and_for_any_text(tmp_path: Path) -> None:
    source = PUBLIC / "slimpajama.jsonl.gz"
    said = train(tmp_path / "1.json", source, "--vocab", 400)
    rows = gzip.decompress(source.read_bytes()).splitlines()
    size = sum(len(json.loads(row)["text"].encode()) for row in rows)
    assert said.startswith(f"{tmp_path}/1.json: 400 ids, from ")
    assert said.endswith(f" bytes a token over the first {size / 1e6:,.1f} MB\n")
    train(tmp_path / "2.json", source, "--vocab", 400)
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()
    tokenizer = load_tokenizer(str(tmp_path / "1.json"))
    assert (tokenizer.vocab_size, tokenizer.end_of_document) == (400, 0)
    for text in AWKWARD:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode("structured layers").size < len("structured layers") / 2


def test_only_chosen_rows_are_learned_from(tmp_path: Path) -> None:
    write_file(tmp_path / "a.jsonl", numbered(50, "zebra"), field="body", kind="web")
    write_file(tmp_path / "b.jsonl", numbered(50, "quokka"), field="body", kind="code")
    chosen = ("--text-field", "body", "--where", "kind=web")
    train(tmp_path / "t.json", tmp_path / "*.jsonl", "--vocab", 300, *chosen)
    tokenizer = load_tokenizer(str(tmp_path / "t.json"))
    assert tokenizer.encode(" zebra").size == 1 and tokenizer.encode(" quokka").size > 1


def test_text_without_words_is_refused_and_little_text_gives_fewer_ids(tmp_path: Path) -> None:
    little = write_file(tmp_path / "a.txt", ["ab ab"])
    assert "259 ids" in train(tmp_path / "t.json", little, "--vocab", 1000)
    empty = write_file(tmp_path / "b.jsonl", [])
    with pytest.raises(DataError, match=r"b\.jsonl: no text to learn words from"):
        train(tmp_path / "u.json", empty, "--vocab", 300)
    bad = tmp_path / "c.jsonl"
    bad.write_text('{"text": "a"}\n{"text": 3}\n')
    with pytest.raises(DataError, match=r"c\.jsonl: row 2: the field text is not text but int"):
        train(tmp_path / "u.json", bad, "--vocab", 300)
    train(tmp_path / "u.json", bad, little, "--vocab", 300, "--skip-bad")
    wrong = r"all 2 rows are left out, the first: .*c\.jsonl: row 1: no field body"
    with pytest.raises(DataError, match=wrong):
        train(tmp_path / "u.json", bad, "--vocab", 300, "--text-field", "body", "--skip-bad")


def test_the_bytes_of_a_token_are_those_of_a_dataset_of_that_tokenizer(tmp_path: Path) -> None:
    source = write_file(tmp_path / "a.jsonl", numbered(50, "zebra"))
    said = train(tmp_path / "t.json", source, "--vocab", 300)
    done = prepared(tmp_path / "out", source, tokenizer=str(tmp_path / "t.json"))
    assert f"from 50 documents; {done.counts.bytes / done.counts.tokens:.3f} bytes a token" in said
