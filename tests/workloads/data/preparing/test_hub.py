"""Datasets of the `datasets` library: their rows are copied once, and prepared like any files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as arrow
import pytest

from tests.workloads.data.preparing.corpora import hashes, numbered, prepared, watched, write_file
from workloads.data.manifest import DataError
from workloads.data.preparing import hub

TEXTS = numbered(95, "a")


@pytest.fixture
def saved(tmp_path: Path) -> str:
    datasets = pytest.importorskip("datasets", reason="needs the extra hub")
    found = datasets.Dataset.from_dict({"text": TEXTS, "meta": [{"set": "Web"}] * len(TEXTS)})
    datasets.DatasetDict(train=found, other=found.select(range(5))).save_to_disk(tmp_path / "saved")
    return f"hub:{tmp_path / 'saved'}"


def test_a_saved_dataset_is_prepared(
    tmp_path: Path, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ROWS_PER_FILE", 10)
    manifest = prepared(tmp_path / "out", saved, where=("meta.set=Web",))
    plain = prepared(tmp_path / "plain", write_file(tmp_path / "a.jsonl", TEXTS))
    assert manifest.fingerprint == plain.fingerprint and len(manifest.inputs) == 10
    before = hashes(tmp_path / "out")
    monkeypatch.setattr(hub, "_tables", lambda *arguments: pytest.fail("fetched again"))
    assert watched(tmp_path / "out", saved, where=("meta.set=Web",))[1].texts == 0
    assert hashes(tmp_path / "out") == before


def test_a_copy_goes_on_where_it_stopped(
    tmp_path: Path, saved: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "ROWS_PER_FILE", 10)
    original, starts = hub._tables, []

    def stopped(source: str, start: int) -> Iterator[arrow.Table]:
        starts.append(start)
        for number, table in enumerate(original(source, start)):
            if number == 3 and len(starts) == 1:
                raise KeyboardInterrupt
            yield table

    monkeypatch.setattr(hub, "_tables", stopped)
    with pytest.raises(KeyboardInterrupt):
        prepared(tmp_path / "out", saved)
    assert prepared(tmp_path / "out", saved).counts.documents == 95
    assert starts == [0, 30]


def test_splits_and_mistakes(tmp_path: Path, saved: str) -> None:
    assert prepared(tmp_path / "out", f"{saved}?split=other", val_fraction=0).counts.documents == 5
    with pytest.raises(DataError, match="seed is no option; there are split and config"):
        prepared(tmp_path / "out", f"{saved}?seed=1")
    with pytest.raises(DataError, match=r"hub:.*split=none: .*; run again"):
        prepared(tmp_path / "out", f"{saved}?split=none")
