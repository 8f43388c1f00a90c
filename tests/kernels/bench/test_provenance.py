"""The provenance of a measurement: asked once, and nothing unknown reads as clean."""

import subprocess
from pathlib import Path

from kernels.bench import provenance
from kernels.bench.provenance import _checkout


def test_outside_of_git_commit_and_changes_are_unknown(tmp_path: Path) -> None:
    assert _checkout(tmp_path) == {"commit": None, "uncommitted_changes": None}


def test_a_checkout_is_clean_until_a_file_differs(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init")
    (tmp_path / "file").write_text("as committed")
    git("add", "file")
    git("commit", "-m", "first")
    commit = git("rev-parse", "HEAD")
    ask = _checkout.__wrapped__
    assert ask(tmp_path) == {"commit": commit, "uncommitted_changes": False}
    (tmp_path / "file").write_text("changed")
    assert ask(tmp_path) == {"commit": commit, "uncommitted_changes": True}


def test_git_is_asked_once_a_process() -> None:
    provenance.checkout()
    asked = _checkout.cache_info().misses
    assert provenance.checkout() == provenance.checkout()
    assert _checkout.cache_info().misses == asked
