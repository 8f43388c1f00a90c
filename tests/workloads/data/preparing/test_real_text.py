"""300 MB of real text: bounded memory, and the same files after kills and with any workers."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from tests.workloads.data.preparing.corpora import hashes
from workloads.data.shards import check_hashes

ROOT = Path(__file__).parents[4]
# Documentation in HTML and plain text; Debian and Ubuntu have them all.
PACKAGES = ["python3-doc", "sqlite3-doc", "postgresql-doc", "openjdk-17-doc", "linux-doc"]
WANTED_BYTES = 300e6
MOST_BYTES = 1e9

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("apt-get"), reason="no apt-get to fetch text with"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked documentation, with its images and other files that are not text."""
    folder = tmp_path_factory.mktemp("debian")
    (folder / "text").mkdir()
    for package in PACKAGES:
        for name in [package, *_dependencies(package)]:
            subprocess.run(["apt-get", "download", name], cwd=folder, capture_output=True)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, folder / "text"], check=True)
    files = [path for path in folder.rglob("*") if path.suffix in (".html", ".txt", ".rst")]
    if sum(path.stat().st_size for path in files if path.is_file()) < WANTED_BYTES:
        pytest.skip("the packages of this machine hold less than 300 MB of text")
    return folder / "text"


def _dependencies(package: str) -> list[str]:
    """The packages that a package without content of its own stands for."""
    shown = subprocess.run(["apt-cache", "depends", package], capture_output=True, text=True)
    names = [line.split()[-1] for line in shown.stdout.splitlines() if "Depends:" in line]
    return [name for name in names if "doc" in name or "headless" in name]


@pytest.fixture(scope="module")
def tokenizer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    pages = [path for path in corpus.rglob("*.html") if path.is_file()]
    words = ["train-tokenizer", str(max(pages, key=lambda page: page.stat().st_size))]
    command = [sys.executable, "-m", "workloads", "data", *words, "--vocab", "4096"]
    subprocess.run([*command, "--out", str(path)], cwd=ROOT, check=True)
    return path


class Memory(threading.Thread):
    """Watches the memory of a process and its children; pages that they share count once."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__(daemon=True)
        self.most = 0
        self._process = process
        self.start()

    def run(self) -> None:
        while self._process.poll() is None:
            try:
                root = psutil.Process(self._process.pid)
                found = [root, *root.children(recursive=True)]
                self.most = max(self.most, sum(each.memory_full_info().pss for each in found))
            except psutil.Error:
                pass
            time.sleep(0.2)


def start(corpus: Path, tokenizer: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    words = ["prepare", str(corpus), "--tokenizer", str(tokenizer), "--out", str(out)]
    command = [sys.executable, "-m", "workloads", "data", *words, "--skip-bad"]
    return subprocess.Popen([*command, "--workers", str(workers)], cwd=ROOT)


def test_memory_kills_and_workers(corpus: Path, tokenizer: Path, tmp_path: Path) -> None:
    for workers in (1, 2):
        begun = time.monotonic()
        process = start(corpus, tokenizer, tmp_path / str(workers), workers)
        memory = Memory(process)
        assert process.wait() == 0
        print(f"{workers} workers: {time.monotonic() - begun:.0f} s, {memory.most / 1e6:.0f} MB")
        assert memory.most < MOST_BYTES
    seconds = time.monotonic() - begun
    draw = random.Random(0)
    for _ in range(3):
        process = start(corpus, tokenizer, tmp_path / "killed", 2)
        time.sleep(draw.uniform(0.1, 0.3) * seconds)
        process.kill()
        process.wait()
    assert start(corpus, tokenizer, tmp_path / "killed", 2).wait() == 0
    assert hashes(tmp_path / "1") == hashes(tmp_path / "2") == hashes(tmp_path / "killed")
    check_hashes(tmp_path / "killed")
