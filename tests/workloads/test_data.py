"""Data: real text built for real, read back, damaged, raced for, and cut into batches."""

import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from workloads.config import DataConfig
from workloads.data import shards
from workloads.data.loader import IGNORED, Batch, BatchLoader, eval_batches
from workloads.data.shards import DataError, TokenDataset, TokenSplit
from workloads.data.sources import SOURCES, Document, python_files
from workloads.data.tokenizer import TOKENIZERS, ByteTokenizer

ROOT = Path(__file__).parents[2]
STDLIB = DataConfig(source="python-stdlib", tokenizer="byte")
BLOCK = 64
# Window orders of two epochs with seed 7: numbers that must never change, or runs do not resume.
ORDERS = [[4, 5, 9, 8, 1, 7, 6, 0, 2, 3], [8, 6, 9, 5, 0, 7, 3, 4, 1, 2]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, DataConfig]:
    """A small folder of Python files, registered as a source, and the config that reads it."""
    root = tmp_path / "source"
    for number in range(20):
        write(root / f"module_{number:02d}.py", f"# Module {number}.\n" + "x = 'é'\n" * number)
    monkeypatch.setitem(SOURCES, "folder", lambda: python_files(root))
    return root, STDLIB.model_copy(update={"source": "folder", "val_fraction": 0.3})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def stream(split: TokenSplit) -> np.ndarray:
    return np.concatenate(split.shards).astype(np.int64)


def documents_of(split: TokenSplit) -> list[str]:
    """The documents of a split, decoded from its tokens."""
    tokens = stream(split)
    ends = np.flatnonzero(tokens == ByteTokenizer.end_of_document)
    assert ends[-1] == tokens.size - 1
    return [ByteTokenizer().decode(part) for part in np.split(tokens, ends + 1)[:-1]]


def tiny_split(*sizes: int) -> TokenSplit:
    """Shards whose tokens count up from zero through all of them, so that a token is its place."""
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    return TokenSplit("train", Path("tiny"), tuple(part.astype("<u2") for part in parts))


# Sources and the tokenizer


def test_stdlib_is_sorted_real_text_without_tests_or_packages() -> None:
    paths = [document.path for document in SOURCES["python-stdlib"]()]
    assert paths == sorted(paths)
    assert {"argparse.py", "json/decoder.py", "unittest/mock.py"} <= set(paths)
    excluded = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    assert not [path for path in paths if excluded & set(path.split("/"))]


def test_files_that_are_tests_or_not_python_or_not_utf8_are_left_out(tmp_path: Path) -> None:
    kept = ["b/a.py", "b.py", "testing.py"]
    dropped = ["test_a.py", "a_test.py", "test/a.py", "b/tests/a.py", "site-packages/a.py", "a.txt"]
    for name in kept + dropped:
        write(tmp_path / name, f"# {name}\r\n")
    (tmp_path / "latin1.py").write_bytes("é".encode("latin-1"))
    (tmp_path / "dangling.py").symlink_to(tmp_path / "nowhere.py")
    expected = [Document(name, f"# {name}\r\n") for name in ["b.py", "b/a.py", "testing.py"]]
    assert list(python_files(tmp_path)) == expected


def test_byte_tokenizer_round_trip() -> None:
    tokenizer = TOKENIZERS["byte"]
    text = "def f():\r\n    return 'é, 漢, 🙂'\n"
    ids = tokenizer.encode(text)
    assert ids.dtype == np.uint16 and ids.size == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([104, 105, 256]) == "hi"
    assert tokenizer.decode([0xFF, 33]) == "\ufffd!"
    with pytest.raises(ValueError, match="token id 257"):
        tokenizer.decode([257])


# Building


def test_every_document_comes_back_from_its_tokens(stdlib: TokenDataset) -> None:
    sources = list(SOURCES["python-stdlib"]())
    for name in ("train", "val"):
        split = stdlib.split(name)
        texts = [d.text for d in sources if shards.split_of(d.path, 0.05) == name]
        assert documents_of(split) == texts
        entry = stdlib.manifest.split(name)
        assert entry.documents == len(texts)
        assert entry.bytes == sum(len(text.encode()) for text in texts)
        assert entry.tokens == entry.bytes + entry.documents == split.num_tokens


def test_stdlib_dataset_describes_itself(stdlib: TokenDataset, data_root: Path) -> None:
    assert stdlib.directory == data_root / f"python-stdlib-byte-{stdlib.fingerprint}"
    assert stdlib.fingerprint == shards.fingerprint(STDLIB)
    assert stdlib.vocab_size == 257
    assert stdlib.split("train").num_tokens > 5_000_000
    assert stdlib.split("val").num_tokens > 100_000
    val = stdlib.manifest.val
    assert math.isclose(stdlib.bytes_per_token, val.bytes / (val.bytes + val.documents))
    assert [path.name for path in data_root.iterdir()] == [stdlib.directory.name]


def test_a_second_prepare_does_not_rebuild(stdlib: TokenDataset, data_root: Path) -> None:
    def times() -> dict[str, int]:
        return {path.name: path.stat().st_mtime_ns for path in stdlib.directory.iterdir()}

    before = times()
    again = shards.prepare(STDLIB, data_root)
    assert times() == before
    assert again == stdlib


def test_adding_a_document_moves_no_other(tmp_path: Path, folder: tuple[Path, DataConfig]) -> None:
    root, config = folder
    before = shards.prepare(config, tmp_path / "data")
    write(root / "another.py", "# Another.\n")
    after = shards.prepare(config, tmp_path / "data")
    assert after.directory != before.directory
    train, val = (set(documents_of(after.split(name))) for name in ("train", "val"))
    assert not train & val
    assert train - {"# Another.\n"} == set(documents_of(before.split("train")))
    assert val - {"# Another.\n"} == set(documents_of(before.split("val")))


def test_fingerprint_changes_with_whatever_changes_the_tokens(
    folder: tuple[Path, DataConfig],
) -> None:
    root, config = folder
    seen = [shards.fingerprint(config)]
    assert len(seen[0]) == 16 and shards.fingerprint(config) == seen[0]
    seen.append(shards.fingerprint(config.model_copy(update={"tokenizer": "other"})))
    seen.append(shards.fingerprint(config.model_copy(update={"val_fraction": 0.31})))
    write(root / "module_03.py", "# Changed.\n")
    seen.append(shards.fingerprint(config))
    (root / "module_03.py").rename(root / "module_03b.py")  # The order stays.
    seen.append(shards.fingerprint(config))
    assert len(set(seen)) == len(seen)


def test_several_shards_hold_the_same_stream(
    tmp_path: Path, folder: tuple[Path, DataConfig]
) -> None:
    _, config = folder
    whole = shards.prepare(config, tmp_path / "whole")
    cut = tmp_path / "cut"
    shards.build_dataset(config, whole.fingerprint, cut, shard_tokens=100)
    dataset = shards.open_dataset(cut)
    for name in ("train", "val"):
        split = dataset.split(name)
        assert len(split.shards) > 1
        assert {shard.size for shard in split.shards[:-1]} == {100}
        assert 0 < split.shards[-1].size <= 100
        np.testing.assert_array_equal(stream(split), stream(whole.split(name)))


def test_a_split_without_documents_is_refused_and_leaves_nothing(
    tmp_path: Path, folder: tuple[Path, DataConfig]
) -> None:
    _, config = folder
    empty = config.model_copy(update={"val_fraction": 1e-9})
    with pytest.raises(DataError, match="no document for the val split"):
        shards.prepare(empty, tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


# Damage


@pytest.fixture
def damaged(tmp_path: Path, folder: tuple[Path, DataConfig]) -> Iterator[TokenDataset]:
    """A dataset to damage; afterwards, that the error's remedy works."""
    _, config = folder
    dataset = shards.prepare(config, tmp_path / "data")
    yield dataset
    with pytest.raises(DataError, match=f"delete the directory {dataset.directory} ") as error:
        shards.prepare(config, tmp_path / "data")
    assert "\n" not in str(error.value)
    for path in dataset.directory.iterdir():
        path.unlink()
    dataset.directory.rmdir()
    assert shards.prepare(config, tmp_path / "data") == dataset


def test_a_truncated_shard_is_refused_by_name(damaged: TokenDataset) -> None:
    path = damaged.directory / "train-00000.bin"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-3])
    expected = f"{path}: truncated: {size - 3} bytes, manifest says {size};"
    with pytest.raises(DataError, match=expected):
        shards.open_dataset(damaged.directory)


def test_a_flipped_byte_is_refused_by_name(
    tmp_path: Path, damaged: TokenDataset, folder: tuple[Path, DataConfig]
) -> None:
    path = damaged.directory / "val-00000.bin"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    shards.open_dataset(damaged.directory)  # Sizes only.
    with pytest.raises(DataError, match=f"{path}: SHA-256 differs: "):
        shards.prepare(folder[1], tmp_path / "data")


def test_a_missing_shard_is_refused_by_name(damaged: TokenDataset) -> None:
    path = damaged.directory / "val-00000.bin"
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: missing;"):
        shards.open_dataset(damaged.directory)


def test_an_invalid_manifest_is_refused_by_name(damaged: TokenDataset) -> None:
    path = damaged.directory / "manifest.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(DataError, match=f"{path}: format: Input should be 1;"):
        shards.open_dataset(damaged.directory)


def test_a_missing_manifest_is_refused_by_name(damaged: TokenDataset) -> None:
    path = damaged.directory / "manifest.json"
    path.unlink()
    with pytest.raises(DataError, match=f"{path}: missing;"):
        shards.open_dataset(damaged.directory)


# Processes

BUILDER = """
import sys
from pathlib import Path
from workloads.config import DataConfig
from workloads.data.shards import prepare
config = DataConfig(source="python-stdlib", tokenizer="byte")
print("ready", flush=True)
sys.stdin.readline()
print(prepare(config, Path(sys.argv[1])).fingerprint)
"""


def test_two_builders_at_once_both_end_with_the_dataset(
    tmp_path: Path, stdlib: TokenDataset
) -> None:
    builders = [
        subprocess.Popen(
            [sys.executable, "-c", BUILDER, str(tmp_path)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for builder in builders:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "ready\n"
    for builder in builders:
        assert builder.stdin is not None
        builder.stdin.write("go\n")
        builder.stdin.flush()
    assert [builder.communicate()[0] for builder in builders] == [f"{stdlib.fingerprint}\n"] * 2
    assert [path.name for path in tmp_path.iterdir()] == [stdlib.directory.name]
    assert shards.open_dataset(tmp_path / stdlib.directory.name).manifest == stdlib.manifest


def test_a_builder_that_lost_the_race_leaves_the_winner_alone(
    tmp_path: Path, folder: tuple[Path, DataConfig]
) -> None:
    _, config = folder
    dataset = shards.prepare(config, tmp_path / "data")
    before = [path.stat().st_ino for path in sorted(dataset.directory.iterdir())]
    shards.build_dataset(config, dataset.fingerprint, dataset.directory)
    assert [path.stat().st_ino for path in sorted(dataset.directory.iterdir())] == before
    assert list((tmp_path / "data").iterdir()) == [dataset.directory]


def test_planning_imports_no_torch() -> None:
    code = "import sys, workloads.data.shards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


# Batches


def test_batches_are_a_pure_function_of_the_step(stdlib: TokenDataset) -> None:
    split = stdlib.split("train")
    steps = 3 * (BatchLoader(split, 4096, 512, seed=0).num_windows // 512)  # Over three epochs.
    used = BatchLoader(split, 4096, 512, seed=0)
    for step in (0, steps, 1):
        used.batch(step, slice(0, 2))
    for step in (2, steps - 1):
        fresh = BatchLoader(split, 4096, 512, seed=0)
        assert torch.equal(used.batch(step, slice(0, 8))[0], fresh.batch(step, slice(0, 8))[0])
    other = BatchLoader(split, 4096, 512, seed=1)
    assert not torch.equal(used.batch(2, slice(0, 8))[0], other.batch(2, slice(0, 8))[0])


def test_the_order_is_the_same_on_every_machine() -> None:
    loader = BatchLoader(tiny_split(41), block_size=4, batch_size=10, seed=7)
    orders = [(loader.batch(epoch)[0][:, 0] // 4).tolist() for epoch in range(2)]
    assert orders == ORDERS


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_any_split_of_the_rows_reads_the_same_batch(stdlib: TokenDataset, parts: int) -> None:
    loader = BatchLoader(stdlib.split("train"), BLOCK, batch_size=12, seed=3)
    inputs, targets = loader.batch(5)
    assert inputs.shape == targets.shape == (12, BLOCK)
    size = 12 // parts
    pieces = [loader.batch(5, slice(at, at + size)) for at in range(0, 12, size)]
    assert torch.equal(torch.cat([piece[0] for piece in pieces]), inputs)
    assert torch.equal(torch.cat([piece[1] for piece in pieces]), targets)
    assert torch.equal(loader.batch(5, range(1, 12, parts))[1], targets[1::parts])
    with pytest.raises(IndexError):
        loader.batch(5, range(12, 13))


def test_an_epoch_reads_each_window_once_in_a_fresh_order() -> None:
    # 12 windows in batches of 8: the second batch straddles the two epochs.
    loader = BatchLoader(tiny_split(61), block_size=5, batch_size=8, seed=0)
    assert loader.num_windows == 12
    firsts = torch.cat([loader.batch(step)[0][:, 0] for step in range(3)]).tolist()
    epochs = [firsts[:12], firsts[12:]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(0, 60, 5))] * 2
    assert epochs[0] != epochs[1]


def test_targets_are_inputs_shifted_by_one(stdlib: TokenDataset) -> None:
    split = stdlib.split("val")
    tokens = stream(split)
    num_windows = (tokens.size - 1) // BLOCK
    expected_inputs = tokens[: num_windows * BLOCK].reshape(-1, BLOCK)
    expected_targets = tokens[1 : num_windows * BLOCK + 1].reshape(-1, BLOCK)
    batches = list(eval_batches(split, BLOCK, batch_size=1000, eval_tokens=tokens.size))
    inputs, targets = (torch.cat(column)[:num_windows] for column in zip(*batches, strict=True))
    assert inputs.dtype == targets.dtype == torch.int64
    np.testing.assert_array_equal(inputs.numpy(), expected_inputs)
    np.testing.assert_array_equal(targets.numpy(), expected_targets)


def test_windows_never_cross_a_shard_boundary() -> None:
    split = tiny_split(11, 3, 16, 10)  # 2, 0, 3 and 1 windows of 5 + 1 tokens.
    loader = BatchLoader(split, block_size=5, batch_size=6, seed=0)
    inputs, targets = loader.batch(0)
    assert torch.equal(targets, inputs + 1)
    assert sorted(inputs[:, 0].tolist()) == [0, 5, 14, 19, 24, 30]
    in_order = torch.cat([x for x, _ in eval_batches(split, 5, 3, eval_tokens=1000)])
    assert in_order[:, 0].tolist() == [0, 5, 14, 19, 24, 30]


def test_the_evaluation_slice_is_fixed(stdlib: TokenDataset) -> None:
    split = stdlib.split("val")
    batches = list(eval_batches(split, BLOCK, batch_size=4, eval_tokens=10 * BLOCK + BLOCK - 1))
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 4]
    inputs, targets = counted(batches)
    np.testing.assert_array_equal(inputs.numpy().ravel(), stream(split)[: 10 * BLOCK])
    np.testing.assert_array_equal(targets.numpy().ravel(), stream(split)[1 : 10 * BLOCK + 1])


@pytest.mark.parametrize(("batch_size", "workers"), [(3, 1), (4, 2), (2, 3), (100, 4)])
def test_workers_share_the_evaluation_slice_in_equal_batches(
    stdlib: TokenDataset, batch_size: int, workers: int
) -> None:
    split = stdlib.split("val")
    parts = [
        list(eval_batches(split, BLOCK, batch_size, 10 * BLOCK, rank, workers))
        for rank in range(workers)
    ]
    shapes = [[inputs.shape for inputs, _ in part] for part in parts]
    assert all(shape == shapes[0] for shape in shapes)
    rows = torch.cat([counted(part)[0] for part in parts]).tolist()
    whole = counted(list(eval_batches(split, BLOCK, 10, 10 * BLOCK)))[0].tolist()
    assert sorted(rows) == sorted(whole) and len(rows) == 10


def counted(batches: list[Batch]) -> Batch:
    """The rows that a loss counts, of all batches."""
    inputs, targets = (torch.cat(column) for column in zip(*batches, strict=True))
    counts = (targets != IGNORED).any(dim=1)
    assert (targets[counts] != IGNORED).all()
    return inputs[counts], targets[counts]


def test_too_few_tokens_for_a_window_are_refused() -> None:
    BatchLoader(tiny_split(6), block_size=5, batch_size=1, seed=0)
    with pytest.raises(DataError, match="has 10 tokens and no shard holds a window of 6; lower"):
        BatchLoader(tiny_split(5, 5), block_size=5, batch_size=1, seed=0)
    with pytest.raises(DataError, match="eval_tokens 4 is less than one window of block_size 5"):
        eval_batches(tiny_split(100), block_size=5, batch_size=1, eval_tokens=4)
