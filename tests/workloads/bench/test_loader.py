"""`python -m workloads bench loader`: its table and its record, on a small text."""

import json
import re
from pathlib import Path

import pytest

import workloads.__main__
from tests.command import run_main
from workloads.bench import loader as bench


def test_the_command_prints_a_table_and_writes_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = (bench.Case("micro", 128, 16, 1, 2), bench.Case("split", 64, 8, 3, 2))
    monkeypatch.setattr(bench, "CASES", cases)
    out = tmp_path / "loader.json"
    done = run_main(
        workloads.__main__.main,
        "workloads",
        *("bench", "loader", "--tokens", str(2**20), "--rounds", "2", "--out", str(out)),
    )
    record = json.loads(out.read_text())
    passes = [row["passes"] for row in record["rows"]]
    share = record["step"]["share"]
    assert done.returncode == (0 if all(passes) and share["median"] < 0.01 else 1), done.stderr
    head, *lines, step, order = done.stdout.splitlines()
    assert head.split()[:2] == ["case", "M"]
    found = [re.match(r"(\w+) +(\d+) +(\d+)  (pass|slow) +\d", line) for line in lines]
    assert [match and match[1] for match in found] == ["micro", "split"]
    assert [match and match[4] == "pass" for match in found] == passes
    assert step.startswith("a batch of micro over its step: ") and "500,000,000 windows" in order
    assert 0 < share["low"] <= share["median"] <= share["high"]
    assert all(len(row["together"]) == 2 for row in record["rows"])
    assert all(min(each) > 0 for row in record["rows"] for each in row["samples"].values())
