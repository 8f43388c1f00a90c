"""Any format opened for training as it is: which tokens are read, and what is known of them."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.workloads.data.formats.files import chunk, megatron, own_dataset
from workloads.data.dataset import TokenDataset
from workloads.data.formats.opening import open_path
from workloads.data.formats.scan import scan
from workloads.data.loader import BatchLoader
from workloads.data.manifest import DataError, TextSize

TRAIN, VAL = list(range(100)), list(range(200, 240))


def flat(folder: Path) -> None:
    for name, tokens in (("train", TRAIN), ("val", VAL)):
        np.array(tokens, "<u2").tofile(folder / f"{name}.bin")


def rows(folder: Path) -> None:
    for name, tokens in (("train", TRAIN), ("val", VAL)):
        np.array(tokens, "<u2").tofile(folder / f"llama-{name}-tmp.bin")


def packed(folder: Path) -> None:
    for number in range(4):
        part = TRAIN[number * 25 : (number + 1) * 25]
        chunk(folder / f"train_slimpajama_{number // 2}_{number % 2:010d}.bin", part, "<i4", 4)
    chunk(folder / "validation_slimpajama_0_0000000000.bin", VAL, "<i4", 4)


def pairs(folder: Path) -> None:
    megatron(folder / "web_train", [[TRAIN[:30]], [TRAIN[30:]]], "<i8", 5)
    megatron(folder / "web_valid", [[VAL]], "<i8", 5)


def inputs_read(dataset: TokenDataset, block_size: int) -> list[list[int]]:
    loader = BatchLoader(dataset.split("train"), block_size, 1, seed=0)
    batches = [loader.batch(step) for step in range(loader.num_windows)]
    assert all((targets == inputs + 1).all() for inputs, targets in batches)
    return sorted(inputs[0].tolist() for inputs, _ in batches)


@pytest.mark.parametrize("rows", [None, 10])
def test_shards_without_their_manifest_are_no_flat_files(tmp_path: Path, rows: int | None) -> None:
    """As a preparation that is killed while it replaces a dataset leaves them."""
    own = own_dataset(tmp_path / "own", np.arange(100), vocab_size=100)
    (own / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"manifest\.json: missing, and the shards .* again"):
        open_path(own, rows=rows)


@pytest.mark.parametrize(
    ("write", "row_tokens", "stream_tokens"),
    [(flat, None, 100), (rows, 10, 10), (packed, None, 25), (pairs, None, 100)],
)
def test_windows_of_every_format_are_read_where_they_lie(
    tmp_path: Path, write: Callable[[Path], None], row_tokens: int | None, stream_tokens: int
) -> None:
    write(tmp_path)
    dataset = open_path(tmp_path, rows=row_tokens)
    assert dataset.size == TextSize(240, 100, 40)
    assert (dataset.row_tokens, dataset.bytes_per_token) == (row_tokens, None)
    windows = [
        list(range(start, start + 4))
        for first in range(0, 100, stream_tokens)
        for start in range(first, first + stream_tokens - 4, 4)
    ]
    assert inputs_read(dataset, 4) == windows


def test_a_given_vocabulary_is_checked_and_kept(tmp_path: Path) -> None:
    flat(tmp_path)
    assert open_path(tmp_path, vocab_size=32_000).vocab_size == 32_000
    message = f"{tmp_path}/val.bin: byte 60: token 30 is id 230, and a vocabulary of 230 has ids 0"
    with pytest.raises(DataError, match=message):
        open_path(tmp_path, vocab_size=230)


def test_validation_tokens_may_lie_elsewhere_in_another_format(tmp_path: Path) -> None:
    flat(tmp_path)
    (tmp_path / "val.bin").unlink()
    held_out = chunk(tmp_path / "other" / "wiki_0000000000.bin", VAL)
    dataset = open_path(tmp_path / "train.bin", val=held_out)
    assert dataset.split("val").shards[0].tolist() == VAL
    with pytest.raises(DataError, match=r"no validation tokens: no file is named `val`; say where"):
        open_path(tmp_path / "train.bin")
    with pytest.raises(DataError, match=r"holds validation tokens only; name the training tokens"):
        open_path(chunk(tmp_path / "val_0000000000.bin", VAL))


def test_the_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        flat(tmp_path / name)
    first, second = (open_path(tmp_path / name) for name in ("a", "b"))
    assert first.fingerprint == second.fingerprint
    assert open_path(tmp_path / "a", vocab_size=241).fingerprint != first.fingerprint
    changed = np.array([*TRAIN[:-1], 5], "<u2")
    changed.tofile(tmp_path / "b" / "train.bin")
    assert open_path(tmp_path / "b").fingerprint != first.fingerprint


def test_an_own_dataset_is_opened_as_its_manifest_says(tmp_path: Path) -> None:
    own = own_dataset(tmp_path / "own", [1, 2, 256])
    assert open_path(own).fingerprint == "0" * 16
    assert open_path(own, vocab_size=257).vocab_size == 257
    with pytest.raises(DataError, match="its vocabulary has 257 ids, not 300"):
        open_path(own, vocab_size=300)


def test_a_file_larger_than_what_is_held_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workloads.data.formats.format.BLOCK_TOKENS", 7)
    flat(tmp_path)
    dataset = open_path(tmp_path)
    assert dataset.size == TextSize(240, 100, 40)
    counted: list[int] = []
    scan(dataset.files["train"][0], counted.append)
    assert (len(counted), sum(counted)) == (15, 200)
