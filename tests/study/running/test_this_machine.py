"""What this machine offers, and which studies it cannot train."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from study.plan import planner
from study.running import this_machine
from tests.study.launching import in_process


def caution(tmp_path: Path, lines: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the plan says of this machine."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    path = tmp_path / "study.yaml"
    path.write_text(f"study: a\nmax_total_flops: 1.0e30\n{lines}\n")
    text = in_process("plan", path, "--runs", tmp_path).stdout
    said = this_machine.cannot_hold(planner.load(path, tmp_path))
    assert said in text
    return said


def test_a_small_study_fits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = "grid: {preset: [pico], ffn: [{kind: dense}]}\nresources: {num_workers: 0}"
    assert caution(tmp_path, grid, monkeypatch) == ""
    assert this_machine.resources()["CPU"] == os.cpu_count()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (
            "grid: {preset: [pico], ffn: [{kind: dense}]}\nresources: {cpus_per_worker: 100000}",
            "a point needs 1 x (100000 CPU, 0 GPU)",
        ),
        (
            "grid: {preset: [pico], ffn: [{kind: dense}]}\nresources: {gpus_per_worker: 1000}",
            "a point needs 1 x (1 CPU, 1000 GPU)",
        ),
        (
            "grid: {preset: [pico, transformer-xl], ffn: [{kind: dense}], width: [4]}\n"
            "budget: {steps: 1}\nruntime: {micro_batch_size: 16}\neval_tokens: 2048\n"
            "resources: {num_workers: 0}",
            "1 of 2 points need more memory than its ",
        ),
    ],
)
def test_what_it_cannot_hold_is_said_and_not_refused(
    lines: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "memory" in said and this_machine._memory_bytes() > 400e9:
        pytest.skip("this machine holds that model")
    assert said in caution(tmp_path, lines, monkeypatch)
