"""Datasets: real text built for real, read back, damaged, and raced for."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from tests.workloads.splits import documents_of, stream
from workloads.data import shards
from workloads.data.config import DataConfig
from workloads.data.corpora.corpus import Document
from workloads.data.corpora.python_stdlib import PythonFiles
from workloads.data.corpora.table import CORPORA
from workloads.data.dataset import TokenDataset
from workloads.data.fingerprint import fingerprint
from workloads.data.loader import BatchLoader
from workloads.data.manifest import DataError, read_manifest, token_type
from workloads.data.tokenizers.table import TOKENIZERS
from workloads.data.tokenizers.tokenizer import Tokenizer

ROOT = Path(__file__).parents[3]
STDLIB = DataConfig(source="python-stdlib", tokenizer="byte")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, DataConfig]:
    """A small folder of Python files, registered as a corpus, and the config that reads it."""
    root = tmp_path / "source"
    for number in range(20):
        write(root / f"module_{number:02d}.py", f"# Module {number}.\n" + "x = 'é'\n" * number)
    monkeypatch.setitem(CORPORA, "folder", PythonFiles(root))
    return root, STDLIB.model_copy(update={"source": "folder", "val_fraction": 0.3})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# Sources and the tokenizer


def test_stdlib_is_sorted_real_text_without_tests_or_packages() -> None:
    paths = [document.path for document in CORPORA["python-stdlib"].documents()]
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
    assert list(PythonFiles(tmp_path).documents()) == expected


def test_byte_tokenizer_round_trip() -> None:
    tokenizer = TOKENIZERS["byte"]
    text = "def f():\r\n    return 'é, 漢, 🙂'\n"
    ids = tokenizer.encode(text)
    assert ids.dtype.kind == "u" and ids.size == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode([104, 105, 256]) == "hi"
    assert tokenizer.decode([0xFF, 33]) == "\ufffd!"
    with pytest.raises(ValueError, match="token id 257"):
        tokenizer.decode([257])


# Building


def test_every_document_comes_back_from_its_tokens(stdlib: TokenDataset) -> None:
    sources = list(CORPORA["python-stdlib"].documents())
    for name in ("train", "val"):
        split = stdlib.split(name)
        texts = [d.text for d in sources if shards.split_of(d.path, 0.05) == name]
        assert documents_of(split) == texts
        entry = read_manifest(stdlib.directory).split(name)
        assert entry.documents == len(texts)
        assert entry.bytes == sum(len(text.encode()) for text in texts)
        assert entry.bytes is not None
        assert entry.tokens == entry.bytes + len(texts) == split.num_tokens


def test_stdlib_dataset_describes_itself(stdlib: TokenDataset, data_root: Path) -> None:
    assert stdlib.directory == data_root / f"python-stdlib-byte-{stdlib.fingerprint}"
    assert stdlib.fingerprint == fingerprint(STDLIB)
    assert stdlib.vocab_size == 257
    assert stdlib.split("train").num_tokens > 5_000_000
    assert stdlib.split("val").num_tokens > 100_000
    val = read_manifest(stdlib.directory).val
    assert val.bytes is not None and val.documents is not None
    assert stdlib.bytes_per_token == val.bytes / (val.bytes + val.documents)
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
    seen = [fingerprint(config)]
    assert len(seen[0]) == 16 and fingerprint(config) == seen[0]
    seen.append(fingerprint(config.model_copy(update={"tokenizer": "other"})))
    seen.append(fingerprint(config.model_copy(update={"val_fraction": 0.31})))
    write(root / "module_03.py", "# Changed.\n")
    seen.append(fingerprint(config))
    (root / "module_03.py").rename(root / "module_03b.py")  # The order stays.
    seen.append(fingerprint(config))
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


def wide_ids(text: str) -> list[int]:
    """Ids that uint16 would not hold."""
    return [69_999 - ord(letter) for letter in text]


class WideTokenizer(Tokenizer):
    sha256 = "0" * 64
    vocab_size = 70_000
    end_of_document = 69_999

    def encode(self, text: str) -> np.ndarray:
        return np.array(wide_ids(text), dtype=np.int64)

    def decode(self, ids: Sequence[int] | np.ndarray) -> str:
        return "".join(chr(69_999 - token) for token in ids if token != self.end_of_document)


def test_a_large_vocabulary_is_stored_in_four_bytes(
    tmp_path: Path, folder: tuple[Path, DataConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOKENIZERS, "wide", WideTokenizer())
    config = folder[1].model_copy(update={"tokenizer": "wide"})
    dataset = shards.prepare(config, tmp_path / "data")
    manifest = read_manifest(dataset.directory)
    assert manifest.dtype == "<u4" and dataset.vocab_size == 70_000
    (shard,) = manifest.val.shards
    assert (dataset.directory / shard.file).stat().st_size == 4 * shard.tokens
    documents = [d for d in CORPORA["folder"].documents() if shards.split_of(d.path, 0.3) == "val"]
    expected = [token for d in documents for token in (*wide_ids(d.text), 69_999)]
    assert stream(dataset.split("val")).tolist() == expected
    inputs, targets = BatchLoader(dataset.split("train"), 8, batch_size=2, seed=0).batch(0)
    assert inputs.min() > 2**16 and targets.max() < 70_000


@pytest.mark.parametrize(("vocab_size", "dtype"), [(257, "<u2"), (2**16, "<u2"), (65_537, "<u4")])
def test_the_vocabulary_chooses_the_type_of_a_token(vocab_size: int, dtype: str) -> None:
    assert token_type(vocab_size) == dtype
    assert np.iinfo(dtype).max >= vocab_size - 1


def test_a_dataset_of_the_first_version_is_read(tmp_path: Path) -> None:
    tokens = np.array([104, 105, 256], dtype="<u2").tobytes()
    split = {"documents": 1, "bytes": 2, "tokens": 3}
    for name in ("train", "val"):
        (tmp_path / f"{name}.bin").write_bytes(tokens)
    entries = {
        name: split | {"shards": [{"file": f"{name}.bin", "tokens": 3, "sha256": "0" * 64}]}
        for name in ("train", "val")
    }
    manifest = {"format": 1, "source": "python-stdlib", "tokenizer": "byte", "vocab_size": 257}
    manifest |= {"dtype": "<u2", "val_fraction": 0.05, "fingerprint": "0123456789abcdef"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | entries))
    assert documents_of(shards.open_dataset(tmp_path).split("val")) == ["hi"]


@pytest.mark.parametrize(
    ("field", "wrong", "message"),
    [
        ("source", "python-stdlip", "no such corpus; the nearest is python-stdlib (of "),
        ("tokenizer", "bite", "no such tokenizer; the nearest is byte (of "),
    ],
)
def test_an_unknown_corpus_or_tokenizer_is_refused_with_the_nearest(
    field: str, wrong: str, message: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(message)):
        DataConfig.model_validate({field: wrong})


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
    path.write_text(path.read_text().replace('"format": 1', '"format": 3'))
    with pytest.raises(DataError, match=f"{path}: the file: .*'3'.* expected tags: 1, 2;"):
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
from workloads.data.config import DataConfig
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
    assert read_manifest(tmp_path / stdlib.directory.name) == read_manifest(stdlib.directory)


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
