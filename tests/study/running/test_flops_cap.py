"""The cap on executed FLOPs: who is let begin, and who is refused, however many ask at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from study.ledger.reader import Record
from study.plan import planner
from study.running import flops_cap
from study.running.flops_cap import admission_check
from tests.study.launching import ROOT, SPEC
from workloads.errors import Refused
from workloads.files import exclusive
from workloads.run_dir import executed_flops
from workloads.run_dir.executed_flops import AttemptFlops, Spent, spent
from workloads.run_dir.paths import RESULT_FILE

# One of many processes that ask for 30 FLOPs each, all at once.
ASKING = """
import sys, time
from pathlib import Path
from study.running.flops_cap import admission_check
from workloads.errors import Refused
from workloads.run_dir.executed_flops import AttemptFlops
points_dir, name = Path(sys.argv[1]), sys.argv[2]
run_dir = points_dir / name
run_dir.mkdir(parents=True)
while not (points_dir.parent / "go").exists():
    time.sleep(0.001)
attempt = AttemptFlops(run_dir, 0, 30)
try:
    admission_check(points_dir, run_dir, 100)()
    attempt.reach(30)
    print("admitted")
except Refused:
    with attempt:
        print("refused")
"""


def test_a_run_that_does_not_fit_is_told_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    AttemptFlops(tmp_path / "first", 0, 60).reach(10)
    with AttemptFlops(tmp_path / "second", 0, 40):
        admission_check(tmp_path, tmp_path / "second", 100)()
    with AttemptFlops(tmp_path / "second", 0, 41), pytest.raises(Refused) as refused:
        admission_check(tmp_path, tmp_path / "second", 100)()
    assert str(refused.value) == (
        "over budget: needs 41 FLOPs more, and of max_total_flops 100 60 are executed or reserved; "
        "raise max_total_flops"
    )


def test_a_run_that_ended_early_reserves_nothing(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    AttemptFlops(tmp_path / "first", 0, 60).reach(10)
    (tmp_path / "first" / RESULT_FILE).touch()
    with AttemptFlops(tmp_path / "second", 0, 90):
        admission_check(tmp_path, tmp_path / "second", 100)()


def test_processes_that_ask_at_once_never_pass_the_cap_together(tmp_path: Path) -> None:
    points_dir = tmp_path / "points"
    asking = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING, str(points_dir), str(number)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(6)
    ]
    (tmp_path / "go").touch()
    answers = [process.communicate(timeout=60)[0].strip() for process in asking]
    assert answers.count("admitted") == 3 and answers.count("refused") == 3
    assert sum(spent(points_dir / str(number)).committed for number in range(6)) == 90


def test_a_launch_counts_what_was_executed_elsewhere_and_frees_the_dead(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(SPEC.format(name="balanced", preset="pico", steps=20, num_workers=0))
    study = planner.load(path, tmp_path / "runs")
    first, second = study.points
    study.run_dir(first).mkdir(parents=True)
    AttemptFlops(study.run_dir(first), 0, 500).reach(100)
    study.run_dir(second).mkdir(parents=True)
    AttemptFlops(study.run_dir(second), 0, 500).reach(100)
    records = {
        first.id: Record("a", {"status": "interrupted"}, {"executed_flops": 130.0}),
        "elsewhere": Record("b", {"status": "finished"}, {"executed_flops": 7.0}),
    }
    with exclusive(study.run_dir(second), patience_seconds=0):  # it is still alive
        flops_cap.prepare_launch(study, records)
    assert spent(study.run_dir(first)) == Spent(130, 0)
    assert spent(study.run_dir(second)) == Spent(100, 400)
    assert executed_flops.spent(study.points_dir / "elsewhere") == Spent(7, 0)
    flops_cap.prepare_launch(study, records)
    assert spent(study.run_dir(first)) == Spent(130, 0)
    assert spent(study.run_dir(second)) == Spent(100, 0)
