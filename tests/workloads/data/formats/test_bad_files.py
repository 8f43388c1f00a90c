"""Damaged or unsuitable token data: one line with the file, the place and the remedy."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.formats.files import chunk, data, own_dataset, prepared, refused
from workloads.data.formats.opening import open_path
from workloads.data.manifest import DataError, PreparedManifest, parse_manifest


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def changed(path: Path, offset: int, content: bytes) -> Path:
    whole = bytearray(path.read_bytes())
    whole[offset : offset + len(content)] = content
    return write(path, bytes(whole))


def packed(folder: Path, numbers: tuple[int, ...] = (0, 1, 2)) -> list[Path]:
    return [chunk(folder / f"train_{number:010d}.bin", [1, 2, 3]) for number in numbers]


def test_an_odd_number_of_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "train.bin", bytes(7))
    assert refused("inspect", path) == (
        f"{path}: 7 bytes, which end 1 bytes into a uint16 token at byte 6; copy the file again, "
        "whole"
    )


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_an_empty_file(tmp_path: Path, command: str) -> None:
    path = write(tmp_path / "llama-train-tmp.bin", b"")
    assert refused(command, tmp_path).startswith(f"{path}: empty, 0 bytes hold no token; ")


def test_rows_that_are_cut_off(tmp_path: Path) -> None:
    path = write(tmp_path / "llama-train-tmp.bin", bytes(2 * (3 * 1025 + 7)))
    assert refused("inspect", path) == (
        f"{path}: 3082 tokens are 3 rows of 1025 and 7 tokens from byte 6150 on; copy the file "
        "again, whole, or say how long its rows are"
    )


@pytest.mark.parametrize(
    ("offset", "content", "problem"),
    [
        (0, b"litpkds", "byte 0: b'litpkds', not b'LITPKDS'; write the file again"),
        (7, b"\x02", "byte 7: version 2, and only version 1 is known; write the file again"),
        (15, b"\x06", "byte 15: type code 6, and only 1, 2, 3, 4, 5, 8 are of token ids; write"),
        (16, b"\x04", "byte 16: truncated: the header says 4 tokens, and 3 follow; copy the file"),
        (16, b"\x02", "byte 16: too long: the header says 2 tokens, and 3 follow; copy the file"),
    ],
)
def test_a_header_that_is_not_sound(
    tmp_path: Path, offset: int, content: bytes, problem: str
) -> None:
    path = changed(packed(tmp_path)[1], offset, content)
    assert refused("verify", tmp_path).startswith(f"{path}: {problem}")
    assert refused("inspect", path).startswith(f"{path}: {problem}")


def test_a_header_that_is_cut_off(tmp_path: Path) -> None:
    path = write(packed(tmp_path)[2], b"LITPKDS\x01")
    line = f"{path}: 8 bytes, and a header has 24; copy the file again"
    assert refused("inspect", tmp_path) == line


@pytest.mark.parametrize(("numbers", "missing"), [((0, 2), 1), ((1, 2), 0)])
def test_a_chunk_that_is_missing(tmp_path: Path, numbers: tuple[int, ...], missing: int) -> None:
    packed(tmp_path, numbers)
    path = tmp_path / f"train_{missing:010d}.bin"
    assert refused("inspect", tmp_path) == (
        f"{path}: missing, and train_{missing + 1:010d}.bin is there; put it back"
    )


def test_chunks_of_two_types(tmp_path: Path) -> None:
    packed(tmp_path)
    path = chunk(tmp_path / "val_0000000000.bin", [1, 2], "<i4", 4)
    assert refused("inspect", tmp_path) == (
        f"{path}: tokens of type int32, and train_0000000000.bin has uint16; keep tokens of one "
        "type in a folder"
    )


def test_ids_that_the_vocabulary_does_not_have(tmp_path: Path) -> None:
    path = write(tmp_path / "train.bin", np.array([1, 2, 500, 3], "<u2").tobytes())
    assert refused("verify", path, "--vocab", 500) == (
        f"{path}: byte 4: token 2 is id 500, and a vocabulary of 500 has ids 0 to 499; name the "
        "vocabulary that the tokens were made with, or copy the file again"
    )
    path = chunk(tmp_path / "x_0000000000.bin", [7, -1], "<i4", 4)
    assert refused("verify", path).startswith(f"{path}: byte 28: token 1 is id -1, and ")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a flipped byte": (lambda path: changed(path, 8, b"\x09"), "SHA-256 differs: "),
    "truncated": (lambda path: write(path, path.read_bytes()[:-2]), "truncated: 8 bytes, manifest"),
    "missing": (Path.unlink, "missing; "),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_own_shard_that_is_damaged(tmp_path: Path, damage: str) -> None:
    own = own_dataset(tmp_path / "own", [1, 2, 256, 3, 256, 4, 5, 6, 256], shard_tokens=5)
    path = own / "train-00000.bin"
    harm, problem = DAMAGES[damage]
    harm(path)
    assert refused("verify", own).startswith(f"{path}: {problem}")


def test_document_starts_that_are_damaged(tmp_path: Path) -> None:
    own = prepared(tmp_path / "own", [[1, 2], [3, 2], [2]])
    path = own / "train-documents.bin"
    assert path.read_bytes() == np.array([0, 2, 4], "<u8").tobytes()
    changed(path, 8, b"\x03")
    assert refused("verify", own).startswith(f"{path}: SHA-256 differs: ")
    write(path, bytes(23))
    expected = f"{path}: 23 bytes, manifest says 3 documents of 8; run its `python -m workloads"
    assert refused("inspect", own).startswith(expected)
    path.unlink()
    assert refused("inspect", own).startswith(f"{path}: missing; run its `python -m workloads")


def test_documents_that_do_not_follow_one_another(tmp_path: Path) -> None:
    own = prepared(tmp_path / "own", [[1, 2], [3, 2], [2]])
    path = own / "train-documents.bin"
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    changed(path, 8, b"\x05")
    manifest = own / "manifest.json"
    after = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.write_text(manifest.read_text().replace(before, after))
    line = f"{own}: document 1 does not begin where the one before ends; write the data again"
    assert refused("verify", own) == line


def test_an_own_dataset_whose_manifest_counts_other_documents(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", [1, 2, 256, 3, 256])
    manifest = own / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"documents": 2', '"documents": 3'))
    for command in ("inspect", "verify"):
        line = refused(command, own)
        assert line.startswith(f"{own}/train-00000.bin: 2 ends of documents, manifest says 3; ")


def test_what_is_no_token_data(tmp_path: Path) -> None:
    assert refused("inspect", tmp_path).startswith(f"{tmp_path}: no token data: neither a manifest")
    nowhere = tmp_path / "nowhere"
    expected = f"{nowhere}: no such file or folder, and no files that begin so"
    assert refused("inspect", nowhere) == expected
    write(tmp_path / "x" / "a.bin", bytes(2))
    write(tmp_path / "x" / "train.bin", bytes(2))
    assert refused("inspect", tmp_path / "x") == (
        f"{tmp_path}/x/a.bin: by its name it is of no split; name one file, or keep the files of "
        "one dataset in a folder of their own"
    )
    write(tmp_path / "y" / "train.bin", bytes(2))
    write(tmp_path / "y" / "web-train.bin", bytes(2))
    assert refused("inspect", tmp_path / "y").startswith(
        f"{tmp_path}/y/web-train.bin: by its name it is of the train split, as train.bin is; "
    )


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("litpkds",), "the last chunk lacks 2098171 tokens; give --pad an id to fill it with"),
        (("litpkds", "--pad", 257), "--pad 257 is not an id of the vocabulary, 0 to 256"),
        (("litpkds", "--chunk", 35, "--block", 17), "--chunk 35 is no multiple of --block 17: "),
        (("litpkds", "--prefix", "x"), "--prefix x would name the files of both splits; add"),
        (("rows", "--block", 6, "--split", "train"), "5 tokens fill no row of 6; give a smaller"),
        (("rows", "--pad", 1), "--pad says nothing in format rows; leave it out"),
        (("flat", "--chunk", 9), "--chunk says nothing in format flat; leave it out"),
    ],
)
def test_an_export_that_cannot_be(tmp_path: Path, options: tuple[str, ...], problem: str) -> None:
    own = own_dataset(tmp_path / "own", [1, 2, 256, 3, 256], [7, 256])
    line = refused("export", own, tmp_path / "out", "--format", *options)
    assert line.startswith(problem)
    assert not list(tmp_path.glob("out/*"))


def test_ids_that_a_format_cannot_store(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", [1, 70_000, 256], [7, 256], vocab_size=70_001)
    for name in ("rows", "flat"):
        line = refused("export", own, tmp_path / "out", "--format", name)
        assert line == (
            f"format {name} stores ids in 16 bits, and the vocabulary has 70001 ids; export as "
            "litpkds or megatron, which have 32"
        )


def test_files_of_an_earlier_export_are_left_alone(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", [1, 2, 256, 3, 256], [7, 256])
    path = chunk(tmp_path / "out" / "train_0000000001.bin", [1])
    line = refused("export", own, tmp_path / "out", "--format", "litpkds", "--chunk", 1)
    assert line == f"{path}: is there already; delete it, or choose another folder"
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_id_outside_the_vocabulary_is_not_exported(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", [1, 300, 256], [7, 256])
    line = refused("export", own, tmp_path / "out", "--format", "flat")
    assert line == f"{own}: an id is not of its vocabulary of 257; `data verify {own}` says where"
    assert not (tmp_path / "out").exists()


def test_tokens_of_a_dataset_that_were_overwritten_are_not_trained_on(tmp_path: Path) -> None:
    own = prepared(tmp_path / "own", [[1, 5, 2], [3, 2]])
    assert open_path(own).size.train_tokens == 5
    shard = own / "train-00000.bin"
    shard.write_bytes(bytes(shard.stat().st_size))
    with pytest.raises(DataError, match=f"{shard}: SHA-256 differs: "):
        open_path(own)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ('"documents": 2', '"documents": 3', "counts.documents is 3, and by what it counts 2"),
        ('"fingerprint": "', '"fingerprint": "f', "fingerprint is f"),
        ('"bytes": 5', '"bytes": 7', "counts.bytes is 7, and by what it counts 5"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_not_sound(
    tmp_path: Path, before: str, after: str, said: str
) -> None:
    own = prepared(tmp_path / "own", [[1, 5, 2]])
    manifest = own / "manifest.json"
    assert data("verify", own)[0] == 0
    assert before in manifest.read_text()
    manifest.write_text(manifest.read_text().replace(before, after))
    assert f"{manifest}: {said}" in refused("verify", own)


def test_text_is_not_taken_for_token_data(tmp_path: Path) -> None:
    source = tmp_path / "web" / "a.jsonl.gz"
    source.parent.mkdir()
    source.write_bytes(b"x")
    for path in (source, source.parent):
        assert refused("inspect", path) == (
            f"{path}: this is text; make token data of it: python -m workloads data prepare {path} "
            "--tokenizer T --out DIR"
        )


def test_rows_are_not_asked_of_a_dataset_that_has_none(tmp_path: Path) -> None:
    own = prepared(tmp_path / "own", [[1, 5, 2]])
    line = refused("inspect", own, "--block", 5)
    assert line == f"{own}: has no rows, as its manifest says; leave --block out"


def test_every_changed_byte_of_a_manifest_is_found(tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_text('{"text": "one"}\n{"text": "two"}\n')
    out = tmp_path / "out"
    assert data("prepare", source, "--tokenizer", "byte", "--out", out, "--val-fraction", 0)[0] == 0
    manifest = out / "manifest.json"
    content = manifest.read_bytes()
    assert isinstance(parse_manifest(content, manifest), PreparedManifest)
    for place, byte in enumerate(content):
        for flipped in (byte ^ 1, byte ^ 2, byte ^ 32, ord("0"), ord(" ")):
            if flipped != byte:
                changed_content = content[:place] + bytes([flipped]) + content[place + 1 :]
                with pytest.raises(DataError, match=str(manifest)):
                    parse_manifest(changed_content, manifest)
    shorter = content.replace(b'"text_field": "text"', b'"text_field": "tex"')
    manifest.write_bytes(shorter)
    line = refused("verify", out)
    assert line.startswith(f"{manifest}: SHA-256 differs: ") and "prepare` again" in line


def test_a_manifest_without_a_hash_of_its_own_is_read_and_said_not_to_be_covered(
    tmp_path: Path,
) -> None:
    own = prepared(tmp_path / "own", [[1, 5, 2]])
    code, out, _ = data("verify", own)
    sound, caution = out.splitlines()
    assert code == 0 and sound.startswith(f"{own}: sound: ")
    assert caution.startswith("caution: manifest.json itself is not covered: ")


@pytest.mark.parametrize("file", ["train-00000.bin", "val-documents.bin", "manifest.json"])
def test_one_file_of_a_dataset_is_not_read_alone(tmp_path: Path, file: str) -> None:
    own = prepared(tmp_path / "own", [[1, 5, 2]])
    line = f"{own / file}: is one file of the dataset {own}; name the folder"
    for command in ("inspect", "verify"):
        assert refused(command, own / file) == line
    assert refused("export", own / file, tmp_path / "out", "--format", "flat") == line
