"""A dataset's identity: its value is fixed, and unchanged text is not read again for it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workloads.data import shards, unchanged
from workloads.data.config import DataConfig
from workloads.data.corpora.corpus import Document
from workloads.data.corpora.python_stdlib import PythonFiles
from workloads.data.corpora.table import CORPORA
from workloads.data.fingerprint import fingerprint

ROOT = Path(__file__).parents[3]


class Counted(PythonFiles):
    """Counts how often its documents are read."""

    reads = 0

    def documents(self) -> Iterator[Document]:
        self.reads += 1
        return super().documents()


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """A folder of files that nobody changed lately, registered, with a cache of its own."""
    root = tmp_path / "corpus"
    root.mkdir()
    for number in range(20):
        (root / f"m{number}.py").write_text(f"# Module {number}, é.\n", encoding="utf-8")
    corpus = Counted(root)
    monkeypatch.setitem(CORPORA, "counted", corpus)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(unchanged, "SETTLED_NANOSECONDS", 0)
    return corpus


CONFIG = DataConfig(val_fraction=0.3).model_copy(update={"source": "counted"})


def by_definition(corpus: Counted) -> str:
    """The fingerprint as it was defined at first."""
    settings = {"format": 1, "source": "counted", "tokenizer": "byte", "val_fraction": 0.3}
    content = json.dumps(settings, sort_keys=True).encode()
    for document in PythonFiles.documents(corpus):
        for part in (document.path.encode(), document.text.encode()):
            content += len(part).to_bytes(8, "little") + part
    return hashlib.sha256(content).hexdigest()[:16]


def records(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob("unchanged/*"))


def restore_time(path: Path, before: os.stat_result) -> None:
    """Give a file its old time back; the clock of its inode's time may tick slowly."""
    while (
        path.stat().st_ctime_ns == before.st_ctime_ns
        or path.stat().st_mtime_ns != before.st_mtime_ns
    ):
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_the_value_is_the_defined_one_and_text_is_read_once(corpus: Counted) -> None:
    expected = by_definition(corpus)
    assert [fingerprint(CONFIG) for _ in range(3)] == [expected] * 3
    assert corpus.reads == 1


def test_other_settings_have_records_of_their_own(corpus: Counted) -> None:
    other = CONFIG.model_copy(update={"val_fraction": 0.4})
    assert fingerprint(other) != fingerprint(CONFIG)
    assert fingerprint(other) != fingerprint(CONFIG)
    assert corpus.reads == 2


def test_a_touched_file_is_read_again_and_changes_nothing(corpus: Counted) -> None:
    before = fingerprint(CONFIG)
    os.utime(corpus.root / "m3.py", ns=(10**18, 10**18))
    assert fingerprint(CONFIG) == before
    assert corpus.reads == 2


def test_a_change_of_the_same_size_and_time_is_seen(corpus: Counted) -> None:
    path = corpus.root / "m3.py"
    before, times = fingerprint(CONFIG), path.stat()
    path.write_text(path.read_text(encoding="utf-8").replace("3", "8"), encoding="utf-8")
    restore_time(path, times)
    assert fingerprint(CONFIG) == by_definition(corpus) != before


@pytest.mark.parametrize("change", ["added", "removed", "renamed"])
def test_another_set_of_files_is_seen(corpus: Counted, change: str) -> None:
    before, path = fingerprint(CONFIG), corpus.root / "m3.py"
    if change == "added":
        (corpus.root / "n.py").write_text("", encoding="utf-8")
    elif change == "removed":
        path.unlink()
    else:
        path.rename(corpus.root / "m3b.py")
    assert fingerprint(CONFIG) == by_definition(corpus) != before


def test_nothing_is_remembered_of_a_file_that_has_just_changed(
    corpus: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unchanged, "SETTLED_NANOSECONDS", 3600 * 10**9)
    fingerprint(CONFIG)
    fingerprint(CONFIG)
    assert corpus.reads == 2 and not records(tmp_path)


@pytest.mark.parametrize("damage", ["", "0123456789abcdef\n", "ff" * 40, "\x00\n\x00\n"])
def test_a_damaged_record_is_not_believed(corpus: Counted, tmp_path: Path, damage: str) -> None:
    expected = fingerprint(CONFIG)
    (record,) = records(tmp_path)
    record.write_text(damage, encoding="utf-8")
    assert fingerprint(CONFIG) == expected
    assert corpus.reads == 2
    assert fingerprint(CONFIG) == expected  # The record is whole again.
    assert corpus.reads == 2


def test_a_record_of_another_value_is_not_believed(corpus: Counted, tmp_path: Path) -> None:
    expected = fingerprint(CONFIG)
    (record,) = records(tmp_path)
    text = record.read_text()
    record.write_text(("0" if text[0] != "0" else "1") + text[1:])
    assert fingerprint(CONFIG) == expected


def test_the_cache_may_vanish_or_be_unwritable(
    corpus: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = fingerprint(CONFIG)
    records(tmp_path)[0].unlink()
    assert fingerprint(CONFIG) == expected
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [fingerprint(CONFIG) for _ in range(2)] == [expected] * 2
    assert corpus.reads == 4


def test_two_processes_at_once_agree(tmp_path: Path) -> None:
    code = (
        "from workloads.data.config import DataConfig\n"
        "from workloads.data.fingerprint import fingerprint\n"
        "print(fingerprint(DataConfig()))"
    )
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    found = {process.communicate()[0] for process in both}
    assert found == {f"{fingerprint(DataConfig())}\n"}
    assert len(list(tmp_path.rglob("unchanged/*"))) == 1


def test_unchanged_shards_are_not_hashed_again_and_changed_ones_are(
    corpus: Counted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = shards.prepare(CONFIG, tmp_path / "data")
    path = dataset.directory / "val-00000.bin"
    with monkeypatch.context() as patch:
        patch.setattr("workloads.data.shards._sha256", lambda path: pytest.fail("hashed again"))
        assert shards.prepare(CONFIG, tmp_path / "data") == dataset
    content, times = bytearray(path.read_bytes()), path.stat()
    content[0] ^= 1
    path.write_bytes(content)
    restore_time(path, times)
    with pytest.raises(shards.DataError, match="SHA-256 differs"):
        shards.prepare(CONFIG, tmp_path / "data")


def test_a_pipe_in_the_place_of_the_cache_keeps_nobody_waiting(
    corpus: Counted, tmp_path: Path
) -> None:
    made = fingerprint(CONFIG)
    (record,) = records(tmp_path)
    record.unlink()
    os.mkfifo(record)
    assert fingerprint(CONFIG) == made
    assert corpus.reads == 2
