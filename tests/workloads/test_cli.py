"""`python -m workloads`, as a person runs it: what it prints where, and its exit codes."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import run_main
from workloads.__main__ import main
from workloads.data.dataset import TokenDataset
from workloads.recipes.recipe import Recipe
from workloads.schema import strict_yaml

ROOT = Path(__file__).parents[2]
CONFIG = """\
preset: pico
ffn: {kind: lowrank, fraction: 0.3125}
budget: {steps: 6}
eval_tokens: 512
runtime: {log_interval: 2, eval_interval: 3}
"""


def workloads(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "workloads", *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )


def in_process(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return run_main(main, "workloads", *arguments)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG)
    return path


def refused(done: "subprocess.CompletedProcess[str]") -> str:
    """The one line of a user's mistake."""
    assert done.returncode == 2, done.stderr
    assert not done.stdout
    (line,) = done.stderr.splitlines()
    return line


def test_a_run_prints_json_on_stdout_and_progress_on_stderr(
    stdlib: TokenDataset, data_root: Path, tmp_path: Path, config: Path
) -> None:
    out = tmp_path / "out"
    done = workloads("train", config, "--out", out, "--data-root", data_root)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["status"], result["step"], result["tokens"]) == ("finished", 6, 6 * 2048)
    assert result == json.loads((out / "result.json").read_text())
    progress = [
        re.match(r"step +(\d+)/6  val_loss ([\d.]+)  train_loss [\d.]+  [\d,]+ tokens/s$", line)
        for line in done.stderr.splitlines()
    ]
    assert [match and match[1] for match in progress] == ["3", "6"]
    assert progress[-1] is not None
    assert float(progress[-1][2]) == pytest.approx(result["val_loss"], abs=1e-4)
    rows = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(row)["step"] for row in rows] == [2, 3, 4, 6]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "out"]

    again = workloads("train", config, "--out", out, "--data-root", data_root)
    assert (again.returncode, again.stderr) == (0, ""), "it trained again"
    assert again.stdout == done.stdout


@pytest.mark.usefixtures("on_cpu")
def test_a_run_that_diverges_exits_with_1(
    stdlib: TokenDataset,
    data_root: Path,
    tmp_path: Path,
    config: Path,
) -> None:
    config.write_text(CONFIG + "learning_rate: 1.0e6\n")
    done = run_main(
        main, "workloads", "train", config, "--out", tmp_path / "out", "--data-root", data_root
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout)["status"] == "diverged"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("sede: 1", ":6: sede = 1: no such key; the nearest is seed"),
        ("budget: {steps: 1}", ':6: not valid YAML: found duplicate key "budget"'),
        ("learning_rate: fast", ":6: learning_rate = 'fast': this should be a valid number"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_and_exit_2(
    tmp_path: Path, config: Path, line: str, expected: str
) -> None:
    config.write_text(CONFIG + line)
    done = in_process("train", config, "--out", tmp_path / "out")
    assert refused(done).startswith(f"{config}{expected}")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("fraction: 0.3125", "rank: 33", "rank 33 exceeds the projection's smaller side; use 32"),
        ("steps: 6", "tokens: 9", "the budget pays for less than one step of 16 x 128 tokens"),
        ("eval_tokens: 512", "eval_tokens: 5", "eval_tokens 5 is less than one sequence of 128"),
    ],
)
def test_parts_that_do_not_fit_are_one_line_and_exit_2(
    tmp_path: Path,
    config: Path,
    old: str,
    new: str,
    expected: str,
) -> None:
    config.write_text(CONFIG.replace(old, new))
    lines = config.read_text().splitlines()
    place = next(number for number, text in enumerate(lines, start=1) if new in text)
    line = refused(in_process("train", config, "--out", tmp_path / "out"))
    assert line.startswith(f"{config}:{place}: ") and expected in line


def test_a_missing_file_is_one_line_and_exit_2(tmp_path: Path) -> None:
    done = run_main(
        main, "workloads", "train", tmp_path / "nowhere.yaml", "--out", tmp_path / "out"
    )
    assert refused(done).startswith(f"{tmp_path / 'nowhere.yaml'}: cannot be read: ")


def test_a_corrupt_shard_is_one_line_that_names_it(
    stdlib: TokenDataset, tmp_path: Path, config: Path
) -> None:
    copy = tmp_path / "data" / stdlib.directory.name
    shutil.copytree(stdlib.directory, copy)
    shard = copy / "val-00000.bin"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 1
    shard.write_bytes(content)
    data_root = tmp_path / "data"
    done = run_main(
        main, "workloads", "train", config, "--out", tmp_path / "out", "--data-root", data_root
    )
    assert refused(done).startswith(f"{shard}: SHA-256 differs: ")


@pytest.mark.parametrize("option", ["--out", "--data-root"])
def test_a_file_where_a_directory_should_be_is_refused(
    tmp_path: Path, config: Path, option: str
) -> None:
    options = {"--out": tmp_path / "out", "--data-root": tmp_path / "data"} | {option: config}
    done = run_main(
        main, "workloads", "train", config, *(part for pair in options.items() for part in pair)
    )
    assert done.returncode == 2
    assert option in done.stderr and "Traceback" not in done.stderr


def test_the_example_in_the_help_works(tmp_path: Path) -> None:
    done = in_process("train", "--help")
    assert done.returncode == 0
    assert "python -m workloads train low-rank.yaml --out runs/low-rank" in done.stdout
    example = re.search(r"( +preset: .*?)\n\n", done.stdout, re.DOTALL)
    assert example is not None
    path = tmp_path / "low-rank.yaml"
    path.write_text(example[1])
    run = strict_yaml.load(path, Recipe).value.resolve()
    assert (run.model.ffn.kind, run.steps) == ("lowrank", 200)
