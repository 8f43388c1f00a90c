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
    assert [attempts.start(tmp_path) for _ in range(6)] == [1, 2, 3, 4, 0, 0]
    # The numbers of attempts go on in the next launch.
    attempts.allow_retries(tmp_path)
    assert (attempts.latest(tmp_path), attempts.start(tmp_path)) == (4, 5)


def test_a_newer_checkpoint_makes_the_next_failure_the_first(tmp_path: Path) -> None:
    for step in range(10, 110, 10):
        assert attempts.start(tmp_path) and attempts.start(tmp_path)
        save(tmp_path, step)
    assert [attempts.start(tmp_path) for _ in range(5)] == [21, 22, 23, 24, 0]


def test_the_driver_learns_that_the_last_attempt_was_in_vain(tmp_path: Path) -> None:
    for _ in range(4):
        assert not attempts.is_given_up(tmp_path)
        attempts.start(tmp_path)
    assert attempts.is_given_up(tmp_path)
    save(tmp_path, 10)
    assert not attempts.is_given_up(tmp_path)


@pytest.mark.parametrize("text", ['{"ste', '{"step": 40, "count": 4}'])
def test_counts_that_an_earlier_version_left_are_read(tmp_path: Path, text: str) -> None:
    save(tmp_path, 80)
    (tmp_path / attempts.FILE).write_text(text)
    assert attempts.start(tmp_path) == 1


def test_an_earlier_versions_file_is_read_and_a_new_launch_allows_all_retries(
    tmp_path: Path,
) -> None:
    (tmp_path / attempts.FILE).write_text('{"step": 0, "count": 4, "later": 1}')
    assert attempts.is_given_up(tmp_path) and attempts.start(tmp_path) == 0
    attempts.allow_retries(tmp_path)
    assert attempts.start(tmp_path) == 1


@pytest.mark.parametrize("content", ["", "[]", "null", '{"step": "a", "count": 1}'])
def test_a_damaged_file_counts_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / attempts.FILE).write_text(content)
    assert attempts.start(tmp_path) == 1
