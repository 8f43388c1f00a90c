"""`python -m workloads bench memory`: rows as they are measured, on a CPU of a small model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import run_main
from workloads.__main__ import main
from workloads.bench import memory


def test_a_row_is_written_and_printed_as_it_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("plain", "bf16, all on the host")
    monkeypatch.setattr(memory, "SETTINGS", {name: memory.SETTINGS[name] for name in names})
    monkeypatch.setattr(memory, "CPU_LENGTHS", 1)
    out = tmp_path / "rows.jsonl"
    done = run_main(main, "workloads", "bench", "memory", "--device", "cpu", "--out", out)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["setting"] for row in rows] == list(names)
    for row, printed in zip(rows, done.stdout.splitlines()[1:], strict=True):
        assert row["failure"] == "" and row["seconds"] > 0 and row["planned_bytes"] > 0
        assert row["setting"] in printed and f"{row['seconds']:.3g}" in printed
    assert rows[1]["planned_host_bytes"] > 0


@pytest.mark.slow
def test_every_setting_takes_a_step() -> None:
    for setting in memory.SETTINGS:
        config = memory._config("cpu", 64, setting, {})
        assert memory.step_in_this_process(config.model_dump_json(), "cpu")["seconds"] > 0


def test_no_row_begins_after_the_time() -> None:
    assert memory.measure("cpu", 0.0, lambda row: None) == []


def test_what_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.torch.cuda, "is_available", lambda: False)
    done = run_main(main, "workloads", "bench", "memory", "--device", "cuda")
    assert done.returncode == 2 and "no CUDA device; use --device cpu" in done.stderr
    monkeypatch.setattr(memory.torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(memory.SHAPES, "cuda", "llama-x")
    done = run_main(main, "workloads", "bench", "memory", "--device", "cuda")
    assert done.returncode == 2 and "preset llama-x, which is not there" in done.stderr
