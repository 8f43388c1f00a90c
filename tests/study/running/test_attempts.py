"""Attempts are bounded where they are in vain, and free where a point gets on."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.running import attempts
from workloads.run_dir.paths import CHECKPOINT_FOLDER, checkpoint_file


def save(run_dir: Path, step: int) -> None:
    folder = run_dir / CHECKPOINT_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint_file(folder, step).touch()


@pytest.mark.parametrize("saved", [None, 40])
def test_three_retries_from_the_same_checkpoint(tmp_path: Path, saved: int | None) -> None:
    if saved:
        save(tmp_path, saved)
    assert [attempts.begin(tmp_path) for _ in range(6)] == [True] * 4 + [False] * 2
    attempts.forget(tmp_path)
    assert attempts.begin(tmp_path)


def test_a_newer_checkpoint_makes_the_next_failure_the_first(tmp_path: Path) -> None:
    for step in range(10, 110, 10):
        assert attempts.begin(tmp_path) and attempts.begin(tmp_path)
        save(tmp_path, step)
    assert [attempts.begin(tmp_path) for _ in range(5)] == [True] * 4 + [False]


def test_the_driver_learns_that_the_last_attempt_was_in_vain(tmp_path: Path) -> None:
    for _ in range(4):
        assert not attempts.exhausted(tmp_path)
        attempts.begin(tmp_path)
    assert attempts.exhausted(tmp_path)
    save(tmp_path, 10)
    assert not attempts.exhausted(tmp_path)


def test_a_half_written_count_begins_anew(tmp_path: Path) -> None:
    (tmp_path / attempts.FILE).write_text('{"ste')
    assert attempts.begin(tmp_path)
