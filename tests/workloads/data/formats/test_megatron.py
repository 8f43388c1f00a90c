"""Megatron's indexed datasets, against the layout of its `.idx` formulated here."""

from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.formats.files import (
    END,
    bytes_of,
    data,
    megatron,
    own_dataset,
    prepared,
    refused,
)
from workloads.data.formats.opening import read_path

DOCUMENTS = [[5, 6, 7, END], [END], [9] * 2500 + [END], [1, END]]
TOKENS = np.concatenate(DOCUMENTS)


@pytest.mark.parametrize(("vocab_size", "dtype", "code"), [(257, "<u2", 8), (65_500, "<i4", 4)])
def test_a_document_is_a_sequence(tmp_path: Path, vocab_size: int, dtype: str, code: int) -> None:
    own = own_dataset(tmp_path / "own", TOKENS, vocab_size=vocab_size)
    options = ("--format", "megatron", "--split", "train", "--prefix", "web_text_document")
    assert data("export", own, tmp_path / "out", *options)[0] == 0
    expected = tmp_path / "expected" / "web_text_document"
    megatron(expected, [[document] for document in DOCUMENTS], dtype, code)
    assert bytes_of(tmp_path / "out") == bytes_of(expected.parent)


def test_a_prepared_dataset_hands_on_where_its_documents_begin(tmp_path: Path) -> None:
    documents = [[7, 2], [2], [5, 5, 2]]
    own = prepared(tmp_path / "own", documents)
    assert data("export", own, tmp_path / "out", "--format", "megatron", "--split", "train")[0] == 0
    expected = megatron(tmp_path / "expected" / "train", [[document] for document in documents])
    assert bytes_of(tmp_path / "out") == bytes_of(expected.parent)


@pytest.mark.parametrize("named", ["folder", "prefix", "prefix.bin", "prefix.idx"])
def test_a_path_names_the_pair_in_any_way(tmp_path: Path, named: str) -> None:
    prefix = megatron(tmp_path / "prefix", [[document] for document in DOCUMENTS])
    found = read_path(tmp_path if named == "folder" else tmp_path / named)
    assert found.format == "megatron"
    assert np.array_equal(np.concatenate(list(found.streams["train"].blocks())), TOKENS)
    assert data("verify", prefix, "--vocab", END + 1)[0] == 0
    assert data("verify", prefix, "--vocab", END)[0] == 2


def test_documents_of_many_sequences_or_none_begin_where_they_do(tmp_path: Path) -> None:
    prefix = megatron(tmp_path / "x", [[], [[1, 2], [3]], [], [[4], [], [5, 6, 7]], []])
    documents = read_path(prefix).streams["train"].documents
    assert documents and documents.count == 5
    assert documents.read(0, 5).tolist() == [0, 0, 3, 3, 7]
    assert [edges.tolist() for edges in documents.blocks(7, size=2)] == [
        [0, 0, 3],
        [3, 3, 7],
        [7, 7],
    ]


def test_an_index_with_modes_is_read(tmp_path: Path) -> None:
    prefix = megatron(tmp_path / "x", [[[1, 2], [3]]])
    with prefix.with_suffix(".idx").open("ab") as file:
        file.write(bytes(2))
    assert read_path(prefix).streams["train"].tokens == 3


def test_a_vocabulary_of_int32_is_trained_on_as_it_is(tmp_path: Path) -> None:
    prefix = megatron(tmp_path / "x", [[[100_000, 2]]], "<i4", 4)
    assert np.concatenate(list(read_path(prefix).streams["train"].blocks())).tolist() == [
        100_000,
        2,
    ]


def test_data_without_documents_is_refused(tmp_path: Path) -> None:
    np.arange(9, dtype="<u2").tofile(tmp_path / "train.bin")
    line = refused("export", tmp_path, tmp_path / "out", "--format", "megatron")
    assert line.startswith("format megatron stores where each document begins, which this data")
    assert not (tmp_path / "out").exists()


def test_an_index_of_another_file_is_refused(tmp_path: Path) -> None:
    prefix = megatron(tmp_path / "x", [[[1, 2], [3]]])
    bin_file, idx_file = prefix.with_suffix(".bin"), prefix.with_suffix(".idx")
    bin_file.write_bytes(bytes(8))
    assert refused("inspect", tmp_path) == (
        f"{idx_file}: byte 50: the last sequence ends at token 3, and x.bin has 4; copy both files "
        "again, from one place"
    )
    bin_file.unlink()
    assert refused("inspect", prefix) == f"{bin_file}: missing; put it back"
    idx_file.unlink()
    bin_file.write_bytes(bytes(6))
    assert refused("inspect", prefix) == f"{idx_file}: missing, and x.bin is there; put it back"


@pytest.mark.parametrize(
    ("offset", "content", "problem"),
    [
        (0, b"X", "byte 0: b'XMIDIDX"),
        (9, b"\x02", "byte 9: version 2, and only version 1 is known"),
        (17, b"\x06", "byte 17: type code 6, and only 1, 2, 3, 4, 5, 8 are of token ids"),
        (18, b"\x09", "byte 18: 9 sequences and 2 document edges are 158 bytes, and the file has"),
        (18, bytes(8), "byte 18: 0 sequences"),
        (67, b"\x01", "byte 66: documents reach from sequence 0 to 258, and not from 0 to 2"),
    ],
)
def test_an_index_that_is_not_sound_is_refused(
    tmp_path: Path, offset: int, content: bytes, problem: str
) -> None:
    prefix = megatron(tmp_path / "x", [[[1, 2], [3]]])
    path = prefix.with_suffix(".idx")
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    path.write_bytes(whole)
    assert refused("inspect", prefix).startswith(f"{path}: {problem}")


def test_sequences_that_leave_a_gap_are_found_by_verify(tmp_path: Path) -> None:
    prefix = megatron(tmp_path / "x", [[[1, 2], [3]], [[4, 5]]])
    path = prefix.with_suffix(".idx")
    whole = bytearray(path.read_bytes())
    second_pointer = 34 + 3 * 4 + 8
    whole[second_pointer] = 2
    path.write_bytes(whole)
    assert refused("verify", prefix) == (
        f"{path}: byte {second_pointer}: sequence 1 begins at byte 2 of the .bin, and the one "
        "before ends at 4; write both files again"
    )


def test_a_document_that_begins_at_no_sequence_is_refused(tmp_path: Path) -> None:
    prefix = megatron(tmp_path / "x", [[[1, 2]], [[3]], [[4]]])
    path = prefix.with_suffix(".idx")
    whole = bytearray(path.read_bytes())
    whole[-9] |= 0x80  # the sign of the edge before the last
    path.write_bytes(whole)
    for command in ("inspect", "verify"):
        line = refused(command, prefix)
        assert line.startswith(f"{path}: byte {len(whole) - 16}: document 2 begins at sequence -")
