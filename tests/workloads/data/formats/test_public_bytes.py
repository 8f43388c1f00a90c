"""The files of the public systems: written to the byte, and read as they are."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.formats.files import (
    PACKED_DOCUMENTS,
    PUBLIC,
    bytes_of,
    data,
    own_dataset,
)
from workloads.data.formats.opening import read_path

ROWS = np.load(PUBLIC / "simple_rows_1025.npy")
FLAT = np.fromfile(PUBLIC / "llm_baselines_train.bin", "<u2")
PACKED = np.concatenate(PACKED_DOCUMENTS)


def packed_tokens(folder: Path) -> np.ndarray:
    return np.concatenate([np.fromfile(f, "<u2", offset=24) for f in sorted(folder.iterdir())])


def stream(path: Path) -> np.ndarray:
    return np.concatenate(list(read_path(path).streams["train"].blocks()))


def export(directory: Path, out: Path, *options: str | int) -> Path:
    code, printed, _ = data("export", directory, out, "--split", "train", *options)
    assert code == 0
    assert sorted(map(Path, printed.splitlines())) == sorted(out.iterdir())
    return out


def test_rows_are_written_as_the_public_code_writes_them(tmp_path: Path) -> None:
    dropped = np.arange(923) % 512  # what fills no row, as many as in the public case
    tokens = np.append(ROWS.reshape(-1), dropped)
    own = own_dataset(tmp_path / "own", tokens, vocab_size=512, shard_tokens=10_007)
    out = export(own, tmp_path / "out", "--format", "rows", "--block", 1025)
    assert bytes_of(out) == {"llama-train-tmp.bin": ROWS.tobytes()}
    (rows,) = read_path(out).streams["train"].files
    assert np.array_equal(rows.map().reshape(-1, 1025), ROWS)


@pytest.mark.parametrize("shard_tokens", [7, 68, 100, 5000])
def test_packed_chunks_are_written_as_the_public_builder_writes_them(
    tmp_path: Path, shard_tokens: int
) -> None:
    own = own_dataset(tmp_path / "own", PACKED, vocab_size=300, shard_tokens=shard_tokens)
    options = ("--format", "litpkds", "--chunk", 68, "--block", 17, "--pad", 1)
    out = export(own, tmp_path / "out", *options, "--prefix", "train_slimpajama_0")
    assert bytes_of(out) == bytes_of(PUBLIC / "packed")
    padding = {"id": 1, "tokens": -PACKED.size % 68}
    (out / "padding-train_slimpajama_0.json").write_text(json.dumps(padding))
    assert np.array_equal(stream(out), PACKED)


def test_a_whole_corpus_is_packed_as_the_public_builder_packs_it(tmp_path: Path) -> None:
    tokens = packed_tokens(PUBLIC / "slimpajama_packed")
    tokens = tokens[: np.flatnonzero(tokens != 1)[-1] + 1]
    own = own_dataset(tmp_path / "own", tokens, vocab_size=512, shard_tokens=9999)
    options = ("--format", "litpkds", "--chunk", 129 * 64, "--pad", 1)
    out = export(own, tmp_path / "out", *options, "--prefix", "train_slimpajama_0")
    assert bytes_of(out) == bytes_of(PUBLIC / "slimpajama_packed")


def test_a_flat_file_is_written_as_the_public_code_writes_it(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", FLAT, vocab_size=512, shard_tokens=4096)
    out = export(own, tmp_path / "out", "--format", "flat")
    assert bytes_of(out) == {"train.bin": FLAT.tobytes()}


def test_public_files_are_read_where_they_are() -> None:
    padding = np.ones(68 - PACKED.size % 68, int)
    assert np.array_equal(stream(PUBLIC / "packed"), np.append(PACKED, padding))
    assert np.array_equal(
        stream(PUBLIC / "packed" / "train_slimpajama_0"), stream(PUBLIC / "packed")
    )
    whole = PUBLIC / "slimpajama_packed"
    assert np.array_equal(stream(whole), packed_tokens(whole))
    assert np.array_equal(stream(PUBLIC / "llm_baselines_train.bin"), FLAT)


def test_a_last_chunk_that_is_full_needs_no_padding(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", range(12), shard_tokens=5)
    out = export(own, tmp_path / "out", "--format", "litpkds", "--chunk", 4)
    assert [path.name for path in sorted(out.iterdir())] == [
        f"train_{number:010d}.bin" for number in range(3)
    ]
    assert np.array_equal(packed_tokens(out), np.arange(12))


def test_a_large_vocabulary_is_packed_as_int32(tmp_path: Path) -> None:
    tokens = [0, 65_499, 65_500, 99_999]
    for vocab_size, dtype, code in ((65_499, "<u2", 8), (65_500, "<i4", 4), (100_000, "<i4", 4)):
        kept = [token for token in tokens if token < vocab_size]
        own = own_dataset(tmp_path / f"{vocab_size}", kept, [0], vocab_size=vocab_size)
        out = tmp_path / f"out-{vocab_size}"
        export(own, out, "--format", "litpkds", "--chunk", len(kept))
        content = (out / "train_0000000000.bin").read_bytes()
        assert content[15] == code
        assert np.frombuffer(content, dtype, offset=24).tolist() == kept
        assert stream(out).tolist() == kept


def test_every_split_is_written_where_none_is_named(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", range(30), range(50, 70))
    out = tmp_path / "out"
    assert data("export", own, out, "--format", "rows", "--block", 9, "--prefix", "web")[0] == 0
    assert np.fromfile(out / "web-train-tmp.bin", "<u2").tolist() == list(range(27))
    assert np.fromfile(out / "web-val-tmp.bin", "<u2").tolist() == list(range(50, 68))
