"""The size of a text, known before its dataset is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from workloads.data import shards, unchanged
from workloads.data.config import DataConfig
from workloads.data.corpora.python_stdlib import PythonFiles
from workloads.data.corpora.table import CORPORA
from workloads.data.manifest import DataError
from workloads.data.size import text_size


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataConfig:
    """Twenty small files as a corpus, a part of them for validation."""
    root = tmp_path / "corpus"
    root.mkdir()
    for number in range(20):
        (root / f"m{number}.py").write_text(f"# Module {number}, é.\n" * number, encoding="utf-8")
    monkeypatch.setitem(CORPORA, "small", PythonFiles(root))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(unchanged, "SETTLED_NANOSECONDS", 0)
    return DataConfig(val_fraction=0.3).model_copy(update={"source": "small"})


def test_it_is_that_of_the_dataset_and_follows_the_text(config: DataConfig, tmp_path: Path) -> None:
    size = text_size(config)
    assert size == text_size(config) == shards.prepare(config, tmp_path / "data").size
    assert size.vocab_size == 257 and min(size.train_tokens, size.val_tokens) > 100
    (tmp_path / "corpus" / "more.py").write_text("abc")
    larger = text_size(config)
    added = larger.train_tokens + larger.val_tokens - size.train_tokens - size.val_tokens
    assert added == 4  # three bytes and the end of the document


@pytest.mark.parametrize(("fraction", "empty"), [(1e-9, "val"), (1 - 1e-9, "train")])
def test_a_split_without_a_document_is_refused_as_it_is_when_the_dataset_is_built(
    config: DataConfig, fraction: float, empty: str, tmp_path: Path
) -> None:
    config = config.model_copy(update={"val_fraction": fraction})
    message = rf"has no document for the {empty} split .*; change val_fraction"
    with pytest.raises(DataError, match=message):
        text_size(config)
    with pytest.raises(DataError, match=message):
        shards.prepare(config, tmp_path / "data")
