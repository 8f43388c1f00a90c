"""A study whose arms are mixtures of two texts: planned, trained, killed, and tabulated."""

from __future__ import annotations

import csv
import json
import signal
from pathlib import Path
from typing import cast

import psutil
import pytest
import torch
from mlflow import MlflowClient

from study.display.ui import view
from study.ledger.store import tracking_uri
from study.plan import planner
from tests.study.launching import in_process, launch, records_of, study_cli, wait_for
from workloads.data.preparing.display import Progress
from workloads.data.preparing.plan import Request
from workloads.data.preparing.prepare import prepare
from workloads.data.texts import opened, opened_one, placed, placed_one
from workloads.run_dir.metrics_log import read_rows
from workloads.run_dir.paths import CHECKPOINT_FOLDER, METRICS_FILE
from workloads.training.trainer import train

SPEC = """\
study: mixed
max_total_flops: 1.0e13
grid:
  preset: [pico]
  ffn: [{kind: dense}]
  mixture: [{prose: 0.75, code: 0.25}, {prose: 0.25, code: 0.75}]
budget: {steps: 100}
eval_tokens: 1280
data:
  sources:
    prose: {path: prose}
    code: {path: code}
eval_sets: {other: {path: code}}
runtime: {log_interval: 5, eval_interval: 50, checkpoint_interval: 20}
resources: {num_workers: 0}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two datasets and the study, which is the working directory: paths are relative
    to it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    for name, words in (("prose", "the quick brown fox "), ("code", "def f(x): return x\n")):
        texts = (json.dumps({"text": f"{name} {i} {words * (1 + i % 40)}"}) for i in range(400))
        Path(f"{name}.jsonl").write_text("\n".join(texts) + "\n")
        request = Request((f"{name}.jsonl",), "byte", Path(name), val_fraction=0.1)
        prepare(request, map, Progress())
    Path("study.yaml").write_text(SPEC)
    return tmp_path


@pytest.mark.slow
def test_a_killed_study_of_two_mixtures_ends_as_one_that_was_not(folder: Path) -> None:
    spec, runs = folder / "study.yaml", folder / "runs"
    study = planner.load(spec, runs)
    assert [point.id.partition("e10-")[2] for point in study.points] == [
        "prose0.75-code0.25-seed0",
        "prose0.25-code0.75-seed0",
    ]
    driver = launch(spec, runs)
    first = study.run_dir(study.points[0])
    wait_for(lambda: any((first / CHECKPOINT_FOLDER).glob("step-*.safetensors")))
    family = [*psutil.Process(driver.pid).children(recursive=True), psutil.Process(driver.pid)]
    for process in family:
        process.send_signal(signal.SIGKILL)
    driver.wait()
    study_cli("run", spec, "--runs", runs)

    torch.set_num_threads(1)  # as its trial does: sums depend on it
    records = records_of(runs, "mixed")
    for point in study.points:
        data = opened(placed(point.config.data, runs / "data"))
        other = opened_one(placed_one(study.spec.value.eval_sets["other"], runs / "data"))
        scratch = folder / "scratch" / point.id
        whole = train(point.config, data, scratch, eval_sets={"other": other})
        assert records[point.id].metrics["val_loss"] == whole.val_loss
        assert records[point.id].tag("fingerprint") == whole.fingerprint
        losses = [
            {name: row[name] for name in row if "loss" in name or "bits" in name}
            for directory in (study.run_dir(point), scratch)
            for row in read_rows(directory / METRICS_FILE)[0]
        ]
        assert losses[: len(losses) // 2] == losses[len(losses) // 2 :]
        last = losses[-1]
        # The main loss is over equal parts of both sources, whatever the weights.
        assert last["val_loss"] == pytest.approx(
            (last["val_loss/prose"] + last["val_loss/code"]) / 2, rel=1e-6
        )
        assert last["val_loss/other"] == pytest.approx(last["val_loss/code"], abs=0.1)
        assert last["bits_per_byte/other"] > 0

    with (runs / "mixed" / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["mixture"] for row in rows] == ["prose 0.25 code 0.75", "prose 0.75 code 0.25"]
    assert {row["arm"] for row in rows} == {f"dense {row['mixture']}" for row in rows}
    assert all(float(row["val_loss/other"]) > 0 for row in rows)

    client = MlflowClient(tracking_uri(runs))
    run = client.get_run(records[study.points[0].id].run_id)
    inputs = {
        each.dataset.name: (each.dataset.digest, each.tags[0].value, each.dataset.source)
        for each in (run.inputs.dataset_inputs if run.inputs else ())
    }
    digests = {
        name: json.loads(Path(name, "manifest.json").read_text())["fingerprint"]
        for name in ("prose", "code")
    }
    assert inputs == {
        "prose": (digests["prose"], "training", '{"uri": "prose"}'),
        "code": (digests["code"], "training", '{"uri": "code"}'),
        "other": (digests["code"], "evaluation", '{"uri": "code"}'),
    }


def test_the_plan_says_how_often_each_source_is_repeated(folder: Path) -> None:
    spec = folder / "study.yaml"
    plan = json.loads(in_process("plan", spec, "--json", "--runs", folder / "runs").stdout)
    read = 100 * 16 * 128
    tokens = {t["name"]: t["train_tokens"] for t in plan["texts"]}
    first = plan["points"][0]
    assert first["passes_by_source"] == {
        "prose": pytest.approx(0.75 * read / tokens["sources.prose"]),
        "code": pytest.approx(0.25 * read / tokens["sources.code"]),
    }
    assert first["passes"] == max(first["passes_by_source"].values())
    shown = in_process("plan", spec, "--runs", folder / "runs").stdout
    assert f"sources.prose: {tokens['sources.prose']:,} tokens, up to 1.1 passes" in shown


def test_mlflows_page_shows_the_mixture_and_the_loss_on_every_text(folder: Path) -> None:
    columns = view(planner.load(folder / "study.yaml", folder / "runs"))["selectedColumns"]
    wanted = {f"metrics.`val_loss/{name}`" for name in ("prose", "code", "other")}
    assert wanted | {"params.`mixture`", "params.`arm`"} <= set(cast(list[str], columns))


def test_where_a_dataset_lies_is_no_part_of_its_identity(folder: Path) -> None:
    spec = folder / "study.yaml"
    before = [point.fingerprint for point in planner.load(spec, folder / "runs").points]
    Path("elsewhere").mkdir()
    Path("prose").rename("elsewhere/prose")
    spec.write_text(SPEC.replace("path: prose", "path: elsewhere/prose"))
    assert [point.fingerprint for point in planner.load(spec, folder / "runs").points] == before
    # Other content is another run, under the same id.
    prepare(Request(("code.jsonl",), "byte", Path("third")), map, Progress())
    spec.write_text(SPEC.replace("path: prose", "path: third"))
    assert before[0] not in [p.fingerprint for p in planner.load(spec, folder / "runs").points]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("prose: 0.25, code: 0.75", "prose: 0.25, code: 0.7"), "the weights sum to 0.95"),
        (("prose: 0.25, code: 0.75", "prose: 0.25, cod: 0.75"), "the nearest is code"),
        (("path: prose", "pth: prose"), "study.yaml:11: data.sources.prose.pth"),
        (("    code: {path: code}\n", "    code: {source: python}\n"), "no such corpus"),
        (("prose: 0.75, code: 0.25", "prose: 0.25, code: 0.75"), "stands in the list already"),
        (
            ("prose: 0.75, code: 0.25", "code: 0.75, prose: 0.25"),
            "study.yaml:6: grid.mixture[1]: stands in the list already",
        ),
        (("eval_tokens: 1280", "eval_tokens: 200"), "one sequence of 128 tokens of each source"),
        (("  mixture: [{prose: 0.75, code: 0.25}, {prose: 0.25, code: 0.75}]\n", ""), "give some"),
        (("{path: code}}", "{path: code, vocab_size: 300}}"), "its vocabulary has 257 ids"),
    ],
)
def test_a_mistake_is_one_line(folder: Path, change: tuple[str, str], said: str) -> None:
    spec = folder / "study.yaml"
    assert change[0] in SPEC
    spec.write_text(SPEC.replace(*change, 1))
    done = in_process("plan", spec, "--runs", folder / "runs", check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr


def test_weights_without_sources_and_other_vocabularies_are_refused(folder: Path) -> None:
    spec = folder / "study.yaml"
    text = SPEC[: SPEC.index("data:")] + "resources: {num_workers: 0}\n"
    spec.write_text(text)
    done = in_process("plan", spec, "--runs", folder / "runs", check=False)
    assert done.returncode == 2 and "study.yaml:6: grid.mixture" in done.stderr, done.stderr
    assert "mixture weighs the sources of data" in done.stderr
