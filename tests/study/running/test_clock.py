"""A study of budgets in seconds, from its file to its report, through Ray and MLflow."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.tables import runs
from study.ledger import reader
from tests.study.launching import records_of, study_cli

pytestmark = pytest.mark.slow
SPEC = """\
study: by-clock
max_total_flops: 1.0e14
grid:
  preset: [pico]
  ffn: [{kind: dense}, {kind: lowrank, fraction: 0.3125}]
  learning_rate: [1.0e-2]
budget: {wall_seconds: 8}
eval_tokens: 8192
resources: {num_workers: 0}
"""


def test_a_study_of_seconds_has_what_its_runs_took(tmp_path: Path) -> None:
    spec = tmp_path / "by-clock.yaml"
    spec.write_text(SPEC)
    done = study_cli("run", spec, "--runs", tmp_path)
    records = records_of(tmp_path, "by-clock")
    assert sorted(records) == ["pico-dense-8s-lr0.01-seed0", "pico-lowrank-r8-8s-lr0.01-seed0"]
    table = runs.load_mlflow(reader.tracking_uri(tmp_path), "by-clock").set_index("point_id")
    for name, record in records.items():
        assert record.metrics["clock_seconds"] == pytest.approx(8, abs=1)
        assert record.metrics["learning_rate"] == pytest.approx(1e-3, rel=1e-9)
        assert record.tags["repeatable"].startswith("no")
        for total in ("tokens", "train_flops"):
            assert table.loc[name, total] == record.metrics[total] > 0
        assert table.loc[name, "steps"] == record.metrics["tokens"] / (16 * 128)
    assert "8 s, about" in done.stderr and "of 8 s" in done.stderr
    again = study_cli("run", spec, "--runs", tmp_path)
    assert "nothing to run" in again.stderr
    assert (tmp_path / "by-clock" / "report.md").exists()
    status = study_cli("status", spec, "--runs", tmp_path)
    assert "100%" in status.stdout
