"""`study prepare`: a named corpus becomes a dataset over Ray, the same as on one process."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import pytest

from study.plan import planner
from study.running import ray_session
from tests.study.launching import ROOT, in_process, wait_for
from workloads.data import texts
from workloads.data.corpora.named import NAMED, NamedCorpus
from workloads.data.manifest import PreparedManifest, TextSize, read_manifest
from workloads.data.preparing.display import Progress
from workloads.data.preparing.plan import Request
from workloads.data.preparing.prepare import prepare

# 120 documents and a tokenizer of 512 ids (see tests/workloads/data/public/README.md).
PUBLIC = ROOT / "tests" / "workloads" / "data" / "public"
SPEC = """\
study: named
max_total_flops: 1.0e13
grid:
  preset: [pico]
  model: {{vocab_size: 512}}
  ffn: [{{kind: dense}}]
budget: {{steps: 20}}
eval_tokens: 512
data: {{source: letters, tokenizer: {tokenizer}}}
eval_sets: {{again: {{source: letters, tokenizer: {tokenizer}}}}}
runtime: {{log_interval: 5, eval_interval: 10, checkpoint_interval: 10}}
resources: {{num_workers: 0}}
"""


@dataclass(frozen=True)
class Here(NamedCorpus):
    """A row of the table whose files are on this machine."""

    @property
    def files(self) -> tuple[str, ...]:
        return self.patterns


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of a corpus of two files."""
    folder = tmp_path / "letters"
    folder.mkdir()
    lines = [json.dumps({"body": f"letter {i} " + "abc " * (i % 50)}) for i in range(600)]
    for name, part in (("a", lines[:400]), ("b", lines[400:])):
        (folder / f"{name}.jsonl").write_text("\n".join(part) + "\n")
    size = TextSize(512, 9_000_000, 80_000)
    row = Here("", "", (f"{folder}/*.jsonl",), "body", "default", "a/b", size)
    monkeypatch.setitem(NAMED, "letters", row)
    path = tmp_path / "study.yaml"
    path.write_text(SPEC.format(tokenizer=PUBLIC / "tokenizer.json"))
    return path


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def prepare_command(spec: Path, runs: Path) -> list[str]:
    """Return `study prepare` in a process that knows the corpus, and a Ray of its own."""
    script = (
        "import sys; from tests.study.corpus.test_prepare import Here; import study.__main__\n"
        "from workloads.data.corpora.named import NAMED; from workloads.data.manifest import *\n"
        f"files = {NAMED['letters'].files!r}\n"
        "NAMED['letters'] = Here('', '', files, 'body', 'default', 'a/b', TextSize(1, 1, 1))\n"
        f"sys.argv = ['study', 'prepare', {str(spec)!r}, '--runs', {str(runs)!r}]\n"
        "study.__main__.main()\n"
    )
    return [sys.executable, "-c", script]


def test_a_named_corpus_is_planned_refused_prepared_and_trained_on(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = tmp_path / "runs"
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    before = json.loads(in_process("plan", spec, "--json", "--runs", runs).stdout)
    (point,) = before["points"]
    assert point["passes"] == pytest.approx(20 * 16 * 128 / 9_000_000)
    text, again = before["texts"]
    assert text["train_tokens"] == 9_000_000 and text["fingerprint"] is None
    assert text["missing"] and text["command"] == f"python -m study prepare {spec}"
    assert again["name"] == "eval_sets.again"
    shown = in_process("plan", spec, "--runs", runs).stdout
    assert f"missing: data: letters is not prepared in {runs / 'data'}; make it: " in shown

    refused = in_process("run", spec, "--runs", runs, check=False)
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1
    assert refused.stderr.endswith(f"make it: python -m study prepare {spec} (and 1 more)\n")
    assert not (runs / "mlflow.db").exists()
    doctor = in_process("doctor", spec, "--runs", runs, check=False)
    assert doctor.returncode == 1 and f"python -m study prepare {spec}" in doctor.stdout

    done = subprocess.run(
        prepare_command(spec, runs), cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "data: " in done.stdout and "made" in done.stdout and "there" in done.stdout
    (place,) = (runs / "data").iterdir()
    sources = (f"{tmp_path}/letters/*.jsonl",)
    request = Request(sources, str(PUBLIC / "tokenizer.json"), tmp_path / "one", text_field="body")
    prepare(request, map, Progress())
    assert files_of(place) == files_of(tmp_path / "one")

    # The second time there is nothing to do, and Ray is not started for it.
    monkeypatch.setattr(ray_session, "connected", lambda resources: pytest.fail("Ray started"))
    assert "made" not in in_process("prepare", spec, "--runs", runs).stdout
    monkeypatch.undo()
    row = Here("", "", sources, "body", "default", "a/b", TextSize(0, 0, 0))
    monkeypatch.setitem(NAMED, "letters", row)

    after = json.loads(in_process("plan", spec, "--json", "--runs", runs).stdout)
    manifest = read_manifest(place)
    assert isinstance(manifest, PreparedManifest)
    assert after["points"][0]["id"] == point["id"]
    assert after["points"][0]["fingerprint"] != point["fingerprint"]
    assert after["texts"][0]["fingerprint"] == manifest.fingerprint
    assert after["texts"][0]["train_tokens"] == manifest.train.tokens


def test_a_dataset_that_nothing_here_can_make_is_named(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "study: a\nmax_total_flops: 1.0e13\ngrid: {preset: [pico], ffn: [{}]}\n"
        "data: {path: no/such}\n"
    )
    done = in_process("prepare", path, "--runs", tmp_path, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "there is no dataset at no/such; make it: python -m workloads data prep" in done.stderr


def test_a_study_is_recognised_where_its_shards_are_not(spec: Path, tmp_path: Path) -> None:
    """A ledger on a server serves a machine that never had the corpus."""
    from study.ledger.identities import check_identities, recognised
    from study.ledger.reader import Record

    here, away = tmp_path / "here", tmp_path / "away"
    request = Request(
        NAMED["letters"].files,
        str(PUBLIC / "tokenizer.json"),
        texts.named_place(planner.load(spec, here).spec.value.data, here / "data"),  # type: ignore[arg-type]  # a named corpus
        text_field="body",
    )
    prepare(request, map, Progress())
    (point,) = planner.load(spec, here).points
    tags = {"point_id": point.id, "fingerprint": point.fingerprint, "status": "finished"}
    tags["identity"] = json.dumps(point.identity)
    records = {point.id: Record("1", tags)}
    study = planner.load(spec, away)
    assert study.points[0].fingerprint != point.fingerprint
    (found,) = recognised(study.points, records)
    assert (found.fingerprint, found.id) == (point.fingerprint, point.id)
    check_identities([found], records)


def test_another_tokenizer_of_the_same_name_is_told(spec: Path, tmp_path: Path) -> None:
    data = planner.load(spec, tmp_path).spec.value.data
    place = texts.named_place(data, tmp_path / "data")  # type: ignore[arg-type]  # a named corpus
    prepare(Request(NAMED["letters"].files, "byte", place, text_field="body"), map, Progress())
    done = in_process("plan", spec, "--runs", tmp_path, check=False)
    assert done.returncode == 2 and "was prepared with another tokenizer than" in done.stderr


@pytest.mark.slow
def test_a_killed_preparation_ends_with_the_same_files(spec: Path, tmp_path: Path) -> None:
    """The driver and its Ray are killed while pieces are tokenized; the same command goes on."""
    lines = (json.dumps({"body": f"{i} " + "quick brown fox " * (i % 4000)}) for i in range(2500))
    (tmp_path / "letters" / "c.jsonl").write_text("\n".join(lines) + "\n")
    runs, row = tmp_path / "runs", NAMED["letters"]
    command = prepare_command(spec, runs)
    for finished in (1, 2, 4):
        with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as driver:
            wait_for(partial(_ended_or_finished, driver, runs, finished))
            assert driver.poll() is None, "it was ready before it could be killed"
            for process in psutil.Process(driver.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            driver.kill()
    subprocess.run(command, cwd=ROOT, check=True)
    (place,) = (runs / "data").iterdir()
    request = Request(
        row.files, str(PUBLIC / "tokenizer.json"), tmp_path / "one", text_field="body"
    )
    prepare(request, map, Progress())
    assert files_of(place) == files_of(tmp_path / "one")


def _ended_or_finished(driver: subprocess.Popen[bytes], runs: Path, parts: int) -> bool:
    return driver.poll() is not None or len([*runs.glob("data/*/parts/*.npz")]) >= parts


def test_a_tokenizer_that_is_missing_is_said_before_anything_starts(
    spec: Path, tmp_path: Path
) -> None:
    spec.write_text(SPEC.format(tokenizer="no.json"))
    done = in_process("prepare", spec, "--runs", tmp_path / "runs", check=False)
    assert done.returncode == 2 and done.stderr.strip() == (
        f"{spec}: data: there is no tokenizer at no.json; fetch it: hf download a/b tokenizer.json "
        "--local-dir . && mv tokenizer.json no.json"
    )
