"""Texts that configurations name: found, opened in any format, copied from a store, measured."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import fsspec
import numpy as np
import pytest
from tokenizers import Tokenizer

from workloads.data.config import DataConfig, MixtureConfig, NamedConfig, PathConfig
from workloads.data.corpora.named import NAMED, NamedCorpus
from workloads.data.dataset import Mixture, TokenDataset
from workloads.data.loader import BatchLoader
from workloads.data.manifest import DataError, TextSize
from workloads.data.preparing.display import Progress
from workloads.data.preparing.plan import Request
from workloads.data.preparing.prepare import prepare
from workloads.data.texts import find, named_place, opened, opened_one, placed, placed_one

PUBLIC = Path(__file__).parent / "public"
TOKENIZER = str(PUBLIC / "tokenizer.json")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of the public documents, of 512 ids."""
    out = tmp_path_factory.mktemp("prepared") / "simple"
    source = str(PUBLIC / "simple.jsonl.gz")
    prepare(Request((source,), TOKENIZER, out, val_fraction=0.3), map, Progress())
    return out


def test_a_path_is_relative_and_travels_as_an_absolute_one(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prepared.parent)
    text = PathConfig(path="simple")
    place = placed_one(text, tmp_path)
    assert Path(place.path) == prepared.resolve()
    monkeypatch.chdir(tmp_path)
    dataset = opened(place)
    assert isinstance(dataset, TokenDataset)
    assert find(place, tmp_path).fingerprint == dataset.fingerprint


def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path: Path) -> None:
    named = NamedConfig(source="refinedweb", tokenizer="llama.json")
    found = find(named, tmp_path)
    assert found.size == TextSize(32_000, 65_000_000_000, 700_000_000)
    (files,) = NAMED["refinedweb"].files
    assert files.startswith("hf://datasets/tiiuae/falcon-refinedweb@c735840575b629292b41da8dde11")
    assert found.command.startswith(f"python -m workloads data prepare '{files}' --text-field con")
    assert "--recipe structured-ffn --tokenizer llama.json --out" in found.command
    for text in (named, PathConfig(path="no/such"), DataConfig(tokenizer="no.json")):
        with pytest.raises(DataError, match="; make it: python -m workloads data "):
            placed(text, tmp_path)


def test_a_dataset_in_a_store_is_copied_once_and_checked(prepared: Path, tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for path in prepared.glob("*.*"):
        store.pipe(f"/texts/web/{path.name}", path.read_bytes())
    text = PathConfig(path="memory://texts/web")
    before = find(text, tmp_path)
    assert before.dataset is None and not before.missing and not any(tmp_path.iterdir())
    place = placed_one(text, tmp_path)
    assert Path(place.path).parent == tmp_path.resolve()
    copied, original = opened_one(place), opened_one(PathConfig(path=str(prepared)))
    assert before.fingerprint == copied.fingerprint == original.fingerprint
    for name in (
        *("train-00000.bin", "train-documents.bin", "train-origins.bin", "manifest.json"),
        "tokenizer.json",
    ):
        assert (Path(place.path) / name).read_bytes() == (prepared / name).read_bytes()
    # The copy serves where the shards are away; the manifest says that it is the same dataset.
    store.rm("/texts/web/train-00000.bin")
    assert placed_one(text, tmp_path) == place

    flipped = bytearray((prepared / "train-00000.bin").read_bytes())
    flipped[7] ^= 1
    store.pipe("/texts/web/train-00000.bin", bytes(flipped))
    with pytest.raises(DataError, match=r"web/train-00000\.bin: SHA-256 differs: .*copy the"):
        placed_one(text, tmp_path / "other")
    assert not any((tmp_path / "other").iterdir())
    store.rm("/texts/web/train-00000.bin")
    with pytest.raises(DataError, match=r"train-00000\.bin: not there"):
        placed_one(text, tmp_path / "other")


def test_foreign_data_has_the_tokenizer_that_is_named(prepared: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(TOKENIZER)
    texts = [f"Document {i}: naïve café — {'word ' * (i % 7)}" for i in range(50)]
    end = tokenizer.token_to_id("</s>")
    ids = [token for text in texts for token in (*tokenizer.encode(text).ids, end)]
    for name in ("train", "val"):
        np.array(ids, "<u2").tofile(tmp_path / f"{name}.bin")
    unknown = PathConfig(path=str(tmp_path), vocab_size=512)
    assert opened_one(unknown).tokenizer is None
    known = opened_one(unknown.model_copy(update={"tokenizer": TOKENIZER}))
    assert known.tokenizer and known.bytes_per_token is None
    size = sum(len(text.encode()) for text in texts)
    assert known.tokenizer.text_bytes(np.array(ids)) == size
    # Beside a dataset, it is the dataset's.
    beside = opened_one(PathConfig(path=str(tmp_path / "train.bin"), val=str(prepared)))
    assert beside.tokenizer and beside.tokenizer.sha256 == known.tokenizer_sha256
    # It is a matter of the metric, and not of the tokens.
    assert known.fingerprint == opened_one(unknown).fingerprint


def test_a_file_of_rows_is_read_by_its_rows(tmp_path: Path) -> None:
    for name in ("train", "val"):
        np.arange(40, dtype="<u2").tofile(tmp_path / f"{name}.bin")
    place = PathConfig(path=str(tmp_path / "train.bin"), val=str(tmp_path / "val.bin"), rows=10)
    dataset = opened_one(placed_one(place, tmp_path))
    assert dataset.split("train").row_tokens == 10
    stream = opened_one(place.model_copy(update={"rows": None}))
    assert stream.row_tokens is None and stream.fingerprint != dataset.fingerprint


def test_a_mixture_has_one_vocabulary(prepared: Path, stdlib: TokenDataset, tmp_path: Path) -> None:
    paths = {"a": prepared, "b": stdlib.directory}
    sources = {name: {"path": str(path)} for name, path in paths.items()}
    mixed = MixtureConfig.model_validate({"sources": sources, "mixture": {"a": 0.5, "b": 0.5}})
    with pytest.raises(DataError, match=r"different vocabularies \(a 512, b 257 token ids\); prep"):
        opened(placed(mixed, tmp_path))
    alone = opened(placed(mixed.weighted({"a": 1.0}), tmp_path))
    assert isinstance(alone, Mixture) and list(alone.sources) == ["a"]


def test_a_bundled_corpus_is_tokenized_by_any_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workloads.data.corpora.python_stdlib import PythonFiles
    from workloads.data.corpora.table import CORPORA

    folder = tmp_path / "code"
    folder.mkdir()
    for i in range(30):
        (folder / f"{i:02}.py").write_text(f"def f{i}(x):\n    return x + {i}\n")
    monkeypatch.setitem(CORPORA, "folder", PythonFiles(folder))
    text = DataConfig(source="folder", tokenizer=TOKENIZER, val_fraction=0.3)
    found = find(text, tmp_path / "data")
    dataset = opened_one(placed_one(text, tmp_path / "data"))
    assert dataset.size == found.size and found.size and found.size.vocab_size == 512
    assert dataset.directory.name == f"folder-tokenizer-{found.fingerprint}"
    size = sum(len(p.read_bytes()) for p in folder.iterdir())
    tokens = found.size.train_tokens + found.size.val_tokens
    assert dataset.bytes_per_token == pytest.approx(size / tokens, rel=0.1)
    assert math.isfinite(dataset.bytes_per_token or math.nan)
    # The tokenizer's file is kept; a dataset that was built without gets it.
    kept = dataset.directory / "tokenizer.json"
    kept.unlink()
    again = opened_one(placed_one(text, tmp_path / "data"))
    assert kept.read_bytes() == Path(TOKENIZER).read_bytes()
    assert dataset.tokenizer and again.tokenizer
    assert dataset.tokenizer.sha256 == again.tokenizer.sha256 == found.tokenizer_sha256
    # The tokenizer's content counts, and not its place.
    copy = tmp_path / "same.json"
    copy.write_bytes(Path(TOKENIZER).read_bytes())
    assert find(text.model_copy(update={"tokenizer": str(copy)}), tmp_path).fingerprint == (
        found.fingerprint
    )
    assert text.identity["tokenizer"] is None


def test_the_order_in_which_sources_are_written_decides_nothing(prepared: Path) -> None:
    place = {"path": str(prepared)}
    batches = []
    for names in (("a", "b"), ("b", "a")):
        text = {"sources": dict.fromkeys(names, place), "mixture": dict.fromkeys(names, 0.5)}
        mixture = opened(MixtureConfig.model_validate(text))
        assert isinstance(mixture, Mixture) and list(mixture.sources) == ["a", "b"]
        loader = BatchLoader(mixture.split("train"), 8, 5, seed=0)
        batches.append([loader.windows_of(step) for step in range(9)])
    assert batches[0] == batches[1]


def test_a_file_of_this_machine_may_be_named_like_a_url(
    prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(prepared, tmp_path / "pro:" / "co::lon")
    monkeypatch.chdir(tmp_path)
    found = find(PathConfig(path="pro://co::lon"), tmp_path)
    assert found.dataset and not found.missing
    source = tmp_path / "pro:" / "te::xt.jsonl"
    source.write_text('{"text": "a"}\n' * 9)
    request = Request(("pro://te::xt.jsonl",), "byte", tmp_path / "out")
    assert prepare(request, map, Progress()).counts.documents == 9


@pytest.mark.parametrize("path", ["x**y", "x[1", "no*"])
def test_a_path_is_no_pattern(path: str, tmp_path: Path) -> None:
    (tmp_path / "nothing").touch()
    assert find(PathConfig(path=str(tmp_path / path)), tmp_path).missing.startswith("there is no")


@pytest.mark.parametrize("recipe", ["default", "structured-ffn"])
def test_a_named_corpus_has_the_tokenizer_that_it_was_prepared_with(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = TextSize(512, 50_000, 5_000)
    row = NamedCorpus("", "", ("simple.jsonl.gz",), "text", recipe, "a/b", size)
    monkeypatch.setitem(NAMED, "letters", row)
    text = NamedConfig(source="letters", tokenizer=TOKENIZER)
    place, source = named_place(text, tmp_path), str(PUBLIC / "simple.jsonl.gz")
    prepare(Request((source,), TOKENIZER, place, recipe, "text", 0.3), map, Progress())
    dataset = opened_one(placed_one(text, tmp_path))
    assert dataset.tokenizer and dataset.tokenizer.sha256 == dataset.tokenizer_sha256
    # Earlier versions kept no copy of the tokenizer beside the shards.
    (place / "tokenizer.json").unlink()
    before = opened_one(placed_one(text, tmp_path))
    assert before == dataset and before.tokenizer
    assert before.tokenizer.sha256 == dataset.tokenizer.sha256


def test_one_file_of_a_dataset_is_no_text(prepared: Path, tmp_path: Path) -> None:
    shards = {name: str(prepared / f"{name}-00000.bin") for name in ("train", "val")}
    for text in (
        PathConfig(path=shards["train"]),
        PathConfig(path=shards["val"]),
        PathConfig(path=str(prepared), val=shards["val"]),
    ):
        with pytest.raises(DataError, match=f"-00000.bin: is one file of the dataset {prepared}; "):
            placed_one(text, tmp_path)
            opened_one(text)
    # A run of an earlier version, which took the shards for flat files, can still be read.
    both = PathConfig(path=shards["train"], val=shards["val"], vocab_size=512)
    found = find(both, tmp_path)
    assert found.size and found.size.vocab_size == 512
    assert found.unfit.endswith(f"is one file of the dataset {prepared}; name the folder")
