"""`data inspect` and `data verify` on data that is sound."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer as Library

from tests.workloads.data.formats.files import PUBLIC, chunk, data, own_dataset, prepared

TEXT = [104, 105, 256, *b"a longer text", 256]


def inspected(path: Path, *options: str | int) -> dict[str, Any]:
    code, out, err = data("inspect", path, "--json", *options)
    assert (code, err) == (0, "")
    return json.loads(out)


def test_an_own_dataset_shows_its_documents_and_text(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", TEXT, [255, 256], shard_tokens=10)
    found = inspected(own)
    expected = {"format": "shards", "tokens": 19, "documents": 3, "dtype": "uint16", "max_id": 256}
    expected |= {"tokenizer": "byte", "vocab_size": 257, "first_ids": TEXT[:16]}
    assert {name: found[name] for name in expected} == expected
    train = found["splits"]["train"]
    assert (train["documents"], train["files"], train["longest_document"]) == (2, 2, 14)
    assert train["samples"] == ["hia longe", "ext"]
    assert found["splits"]["val"]["samples"][0] == "\ufffd"
    code, out, _ = data("inspect", own)
    assert code == 0 and "hia longe" in out and "documents             3" in out


def test_a_prepared_dataset_is_decoded_by_the_tokenizer_beside_it(tmp_path: Path) -> None:
    ids = Library.from_file(str(PUBLIC / "tokenizer.json")).encode("plain words of text").ids
    own = prepared(tmp_path / "own", [[*ids, 2], [2]], tokenizer=PUBLIC / "tokenizer.json")
    found = inspected(own)
    assert (found["documents"], found["vocab_size"]) == (3, 512)
    train = found["splits"]["train"]
    assert (train["documents"], train["longest_document"]) == (2, len(ids) + 1)
    assert train["samples"][0] == "plain words of text"
    (own / "tokenizer.json").unlink()
    assert inspected(own)["splits"]["train"]["samples"] is None


def test_rows_that_a_recipe_has_shuffled_know_no_documents(tmp_path: Path) -> None:
    own = prepared(tmp_path / "own", [[1, 2, 3, 4], [5, 6, 7, 8]], [[1, 2, 3, 4]], row_tokens=4)
    found = inspected(own)
    assert (found["row_tokens"], found["documents"]) == (4, None)
    assert found["splits"]["train"]["rows"] == 2
    assert data("verify", own)[1].startswith(f"{own}: sound: format shards, 12 tokens in 2 files, ")


def test_a_dataset_without_validation_tokens_has_one_split(tmp_path: Path) -> None:
    own = prepared(tmp_path / "own", [[1, 2], [3, 2]], val=())
    assert list(inspected(own)["splits"]) == ["train"]
    assert data("verify", own)[0] == 0
    out = tmp_path / "out"
    options = ("--format", "litpkds", "--chunk", 4, "--prefix", "web")
    assert data("export", own, out, *options)[:2] == (0, f"{out}/web_0000000000.bin\n")


def test_a_foreign_format_shows_what_it_knows(tmp_path: Path) -> None:
    found = inspected(PUBLIC / "slimpajama_packed")
    expected = {"format": "litpkds", "tokens": 41_280, "documents": None, "dtype": "uint16"}
    expected |= {"max_id": 511, "row_tokens": None}
    assert {name: found[name] for name in expected} == expected
    assert found["splits"]["train"]["samples"] is None
    rows = np.arange(21, dtype="<u2").reshape(3, 7)
    rows.tofile(tmp_path / "llama-val-tmp.bin")
    found = inspected(tmp_path, "--block", 7)
    assert (found["format"], found["row_tokens"], found["splits"]["val"]["rows"]) == ("rows", 7, 3)


def test_verify_says_what_was_compared(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", TEXT, [7, 256], shard_tokens=10)
    code, out, err = data("verify", own)
    assert (code, err) == (0, "")
    assert out == (
        f"{own}: sound: format shards, 19 tokens in 3 files, the SHA-256 of 3 compared; the "
        "greatest id is 256, all below 257\n"
        "caution: manifest.json itself is not covered: it was written by an earlier version, "
        "without a SHA-256 of its own\n"
    )
    path = chunk(tmp_path / "x_0000000000.bin", [3, 4])
    assert data("verify", path)[1] == (
        f"{path}: sound: format litpkds, 2 tokens in 1 files, no SHA-256 to compare; the greatest "
        "id is 4\n"
    )
