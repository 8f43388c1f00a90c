"""Records of measured claims: their files, their former keys, and what makes them stale."""

import re
from pathlib import Path

import torch

from kernels.bench import records
from kernels.machine import source_hash
from tests.kernels.bench.tiny import record, write


def test_the_results_file_is_named_by_the_hardware() -> None:
    path = records.file_of(torch.device("cpu"))
    assert path.parent.parts[-3:] == ("kernels", "bench", "results")
    assert path.suffix == ".jsonl" and re.fullmatch("[a-z0-9-]+", path.stem)


def test_former_keys_are_read_for_ever(tmp_path: Path) -> None:
    present = record("b", samples={"candidate": [1.0], "baseline": [1.5]})
    former = {
        {present: former for former, present in records.FORMER_KEYS.items()}.get(key, key): value
        for key, value in present.items()
    }
    former["samples"] = {"subject": [1.0], "baseline": [1.5]}
    assert {"gate", "held", "ceilings", "share_of_gemm_ceiling"} <= former.keys()
    write(tmp_path / "machine.jsonl", former)
    assert records.read(tmp_path / "machine.jsonl") == [present]


def test_hashes_are_of_what_is_measured(tmp_path: Path) -> None:
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "a.py").write_text("1")
    (tmp_path / "operation.py").write_text("1")
    before = source_hash(tmp_path)
    (tmp_path / "bench" / "a.py").write_text("2")
    (tmp_path / "command_line.py").write_text("1")
    assert source_hash(tmp_path) == before
    (tmp_path / "operation.py").rename(tmp_path / "other.py")
    moved = source_hash(tmp_path)
    assert moved != before
    (tmp_path / "other.py").write_text("2")
    assert source_hash(tmp_path) not in (before, moved)
