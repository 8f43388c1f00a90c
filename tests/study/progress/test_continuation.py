"""A study whose budget is raised: under constant and WSD only the new part is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from study.ledger.reader import Record
from study.plan import planner
from study.progress import continuation
from tests.study.launching import records_of, study_cli
from workloads.cost.flops import train_flops_at
from workloads.data import shards
from workloads.data.config import DataConfig
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.run_dir.paths import CHECKPOINT_FOLDER, METRICS_FILE, checkpoint_file
from workloads.training.trainer import train

SPEC = """\
study: {name}
max_total_flops: 1.0e13
grid:
  preset: [pico]
  ffn: [{{kind: lowrank, fraction: 0.3125}}]
  grow: [{grow}]
budget: {{steps: {steps}}}
optimizer: {{{optimizer}}}
eval_tokens: 4096
runtime: {{log_interval: 5, eval_interval: 10, checkpoint_interval: 10}}
resources: {{num_workers: 0}}
"""
CONSTANT = "schedule: constant, warmup_steps: 4"
WSD = "schedule: wsd, warmup_steps: 4"
TIMES = ("timestamp_ms", "tokens_per_second", "train_seconds", "peak_memory_bytes")


# After 12 steps.
GROW = "{operator: stack, factor: 2, at: {tokens: 24_576}, data: restart}"


def write(path: Path, steps: int, optimizer: str = WSD, grow: str = "null") -> Path:
    path.write_text(SPEC.format(name=path.stem, steps=steps, optimizer=optimizer, grow=grow))
    return path


def planned_note(spec: Path, runs_dir: Path) -> str:
    done = study_cli("plan", spec, "--runs", runs_dir, "--json")
    (point,) = json.loads(done.stdout)["points"]
    return point["note"]


def rows_of(run_dir: Path) -> list[Row]:
    rows, _ = read_rows(run_dir / METRICS_FILE)
    ours = ("executed_flops", *TIMES)
    return [{key: row[key] for key in row if key not in ours} for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("grow", "stable"), [("null", 32), (GROW, 12 + 22)], ids=["plain", "grown"]
)
def test_a_larger_budget_trains_its_new_part_alone(
    grow: str, stable: int, runs_dir: Path, tmp_path: Path
) -> None:
    name = f"extended-{stable}"
    spec = write(tmp_path / f"{name}.yaml", steps=40, grow=grow)
    assert planned_note(spec, runs_dir) == ""
    study_cli("run", spec, "--runs", runs_dir)
    (short,) = planner.load(spec, runs_dir).points
    write(spec, steps=80, grow=grow)
    # The decay of 40 steps began then, and checkpoints of 30 and 40 came and went.
    assert planned_note(spec, runs_dir) == f"continues {short.id} from step {stable}"
    done = study_cli("run", spec, "--runs", runs_dir)
    study = planner.load(spec, runs_dir)
    (point,) = study.points
    assert "steps recorded before" in done.stderr
    record = records_of(runs_dir, name)[point.id]
    assert record.tags["continued_from"] == f"{short.id} step {stable}"
    torch.set_num_threads(1)  # as its trial does: sums depend on it
    scratch = train(
        point.config, shards.prepare(DataConfig(), runs_dir / "data"), tmp_path / "scratch"
    )
    assert record.metrics["val_loss"] == scratch.val_loss
    assert rows_of(study.run_dir(point)) == rows_of(tmp_path / "scratch")
    new_part = point.train_flops - train_flops_at(point.config, stable)
    assert record.metrics["executed_flops"] == new_part
    assert record.metrics["train_flops"] == point.train_flops
    assert planned_note(spec, runs_dir) == ""


def notes_beside(
    tmp_path: Path, steps: int, optimizer: str, saved: tuple[int, ...], grow: str
) -> list[str]:
    """What the plan says of `steps` where a run of 20 is recorded, with checkpoints at `saved`."""
    spec = tmp_path / "beside.yaml"
    short = planner.load(write(spec, 20, optimizer, grow), tmp_path)
    (donor,) = short.points
    folder = short.run_dir(donor) / CHECKPOINT_FOLDER
    folder.mkdir(parents=True)
    for step in saved:
        checkpoint_file(folder, step).touch()
    record = Record("", {"identity": json.dumps(donor.identity), "status": "finished"})
    found = continuation.notes(
        planner.load(write(spec, steps, optimizer, grow), tmp_path), {donor.id: record}
    )
    return [note.replace(donor.id, "DONOR") for note in found.values()]


@pytest.mark.parametrize(
    ("steps", "optimizer", "saved", "grow", "note"),
    [
        (40, WSD, (10, 16, 20), "null", "continues DONOR from step 16"),
        (40, CONSTANT, (10, 20), "null", "continues DONOR from step 20"),
        # Its own decay begins after step 10 of 12: not from 16.
        (12, WSD, (10, 16, 20), "null", "continues DONOR from step 10"),
        (40, WSD, (20,), "null", "new, beside DONOR: no checkpoint of its stable phase is at hand"),
        (
            40,
            "schedule: cosine",
            (20,),
            "null",
            "new, beside DONOR: cosine's decay depends on the budget",
        ),
        (40, WSD, (12, 17, 20), GROW, "continues DONOR from step 17"),
        (
            40,
            WSD,
            (12, 17, 20),
            "{operator: stack, factor: 2, at: {fraction: 0.5}}",
            "new, beside DONOR: it grows at a fraction of its steps; grow.at: {tokens: N} would "
            "let it go on",
        ),
    ],
)
def test_the_plan_says_where_a_point_begins(
    steps: int, optimizer: str, saved: tuple[int, ...], grow: str, note: str, tmp_path: Path
) -> None:
    assert notes_beside(tmp_path, steps, optimizer, saved, grow) == [note]


def test_the_plan_says_nothing_of_other_runs(tmp_path: Path) -> None:
    assert notes_beside(tmp_path, 20, WSD, (16, 20), "null") == []
    study = planner.load(write(tmp_path / "beside.yaml", 40), tmp_path)
    (point,) = study.points
    identity = point.identity | {"seed": 1, "steps": 20}
    record = Record("", {"identity": json.dumps(identity)})
    assert continuation.notes(study, {"other": record}) == {}
