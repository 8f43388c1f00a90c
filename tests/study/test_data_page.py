"""docs/data.md: every command that it has a reader run, run as it stands."""

from __future__ import annotations

import gzip
import json
import re
import shlex
from itertools import islice
from pathlib import Path

import pytest

import study.__main__
import workloads.__main__
from tests.command import run_main
from workloads.data.corpora.table import CORPORA

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MAINS = {"study": study.__main__.main, "workloads": workloads.__main__.main}
DOCUMENTS = 150


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the page starts from, with real text, and the page's YAML files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "web").mkdir()
    documents = [each.text for each in islice(CORPORA["python-stdlib"].documents(), DOCUMENTS)]
    lines = [json.dumps({"text": text, "lang": "en"}) + "\n" for text in documents]
    (tmp_path / "web" / "a.jsonl").write_text("".join(lines[:50]))
    (tmp_path / "web" / "b.jsonl.gz").write_bytes(gzip.compress("".join(lines[50:]).encode()))
    for language, block in BLOCKS:
        if language == "yaml":
            name = block.splitlines()[0].removeprefix("# ")
            (tmp_path / name).write_text(block)
    return tmp_path


def commands() -> list[list[str]]:
    """The page's commands in order; those of blocks of plain text need a cluster or the hub."""
    lines = [
        line for language, block in BLOCKS if language == "bash" for line in block.splitlines()
    ]
    return [shlex.split(line) for line in lines]


def run(command: list[str]) -> str:
    assert command[:2] == ["python", "-m"]
    done = run_main(MAINS[command[2]], *command[2:])
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def test_every_command_works(folder: Path) -> None:
    kept = [command for command in commands() if command[2:4] != ["study", "run"]]
    assert len(kept) == len(commands()) - 1
    shown = [(" ".join(command[2:]), run(command)) for command in kept]
    sound = [out for command, out in shown if command.startswith("workloads data verify")]
    assert [out.split("sound: format ")[1].split(",")[0] for out in sound] == [
        "shards",
        "litpkds",
        "megatron",
    ]
    (facts,) = [json.loads(out) for command, out in shown if command.endswith("--json")]
    assert 0.9 * DOCUMENTS < facts["documents"] <= DOCUMENTS and facts["tokenizer"] == "byte"


@pytest.mark.slow
def test_every_command_works_and_the_study_runs(folder: Path) -> None:
    for command in commands():
        run(command)
    assert (folder / "runs" / "web" / "scaling.png").exists()
    bits = (folder / "runs" / "web" / "runs.csv").read_text()
    assert "bits_per_byte" in bits
