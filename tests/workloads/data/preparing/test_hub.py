"""Datasets of the `datasets` library: their rows are copied once, and prepared like any files.

The library is of the extra hub. Where it is not installed, these tests are run once more by the
last of them, in a virtual environment that has it.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pyarrow as arrow
import pytest

from tests.workloads.data.preparing.corpora import hashes, numbered, prepared, watched, write_file
from workloads.data.manifest import DataError
from workloads.data.preparing import hub

ROOT = Path(__file__).parents[4]
TEXTS = numbered(95, "a")
INSTALLED = importlib.util.find_spec("datasets") is not None
needs_the_library = pytest.mark.skipif(not INSTALLED, reason="needs the extra hub")


@pytest.fixture
def saved(tmp_path: Path) -> str:
    """A dataset that was saved to the disk."""
    datasets = pytest.importorskip("datasets")
    found = datasets.Dataset.from_dict({"text": TEXTS, "meta": [{"set": "Web"}] * len(TEXTS)})
    datasets.DatasetDict(train=found, other=found.select(range(5))).save_to_disk(tmp_path / "saved")
    return f"hub:{tmp_path / 'saved'}"


@pytest.fixture
def snapshot(tmp_path: Path) -> str:
    """A folder as the hub has a dataset: Parquet files, the names of which say the split."""
    for number, part in enumerate((TEXTS[:37], TEXTS[37:])):
        name = f"train-{number:05d}-of-00002.parquet"
        write_file(tmp_path / "snapshot" / "data" / name, part, meta={"set": "Web"})
    name = "other-00000-of-00001.parquet"
    write_file(tmp_path / "snapshot" / "data" / name, TEXTS[:5], meta={"set": "Web"})
    return f"hub:{tmp_path / 'snapshot'}"


@needs_the_library
@pytest.mark.parametrize("kind", ["saved", "snapshot"])
def test_a_dataset_is_prepared(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = request.getfixturevalue(kind)
    monkeypatch.setattr(hub, "ROWS_PER_FILE", 10)
    manifest = prepared(tmp_path / "out", source, where=("meta.set=Web",))
    plain = prepared(tmp_path / "plain", write_file(tmp_path / "a.jsonl", TEXTS))
    assert manifest.fingerprint == plain.fingerprint and len(manifest.inputs) == 10
    before = hashes(tmp_path / "out")
    monkeypatch.setattr(hub, "_tables", lambda *arguments: pytest.fail("fetched again"))
    assert watched(tmp_path / "out", source, where=("meta.set=Web",))[1].texts == 0
    assert hashes(tmp_path / "out") == before


@needs_the_library
@pytest.mark.parametrize("kind", ["saved", "snapshot"])
def test_a_copy_goes_on_where_it_stopped(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = request.getfixturevalue(kind)
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
        prepared(tmp_path / "out", source)
    plain = prepared(tmp_path / "plain", write_file(tmp_path / "a.jsonl", TEXTS))
    assert prepared(tmp_path / "out", source).fingerprint == plain.fingerprint
    assert starts == [0, 30]


@needs_the_library
@pytest.mark.parametrize("kind", ["saved", "snapshot"])
def test_splits_and_mistakes(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source = request.getfixturevalue(kind)
    assert prepared(tmp_path / "out", f"{source}?split=other", val_fraction=0).counts.documents == 5
    with pytest.raises(DataError, match="seed is no option; there are split and config"):
        prepared(tmp_path / "out", f"{source}?seed=1")
    with pytest.raises(DataError, match=r"hub:.*split=none: .*; run again"):
        prepared(tmp_path / "out", f"{source}?split=none")


@needs_the_library
def test_a_dataset_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        prepared(tmp_path / "out", f"hub:{tmp_path}/nowhere")
    assert "\n" not in str(refused.value) and "run again to go on" in str(refused.value)


@pytest.mark.slow
@pytest.mark.skipif(INSTALLED, reason="the tests above ran")
def test_all_this_with_the_library_in_an_environment_of_its_own(tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = str(folder / "bin" / "python")
    where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    own = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    (Path(own.stdout.strip()) / "shared.pth").write_text(sysconfig.get_paths()["purelib"])
    pip = [python, "-m", "pip", "install", "--quiet", "--retries=1", "-c", "constraints.txt"]
    installed = subprocess.run([*pip, "datasets"], cwd=ROOT, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"no index of packages: {installed.stderr.strip().splitlines()[-1]}")
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache")}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "7 passed" in done.stdout and "skipped" not in done.stdout, done.stdout
