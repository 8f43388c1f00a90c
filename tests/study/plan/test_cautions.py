"""What a plan says of points that can be trained and may say less than they seem to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from study.plan import planner
from study.plan.cautions import cautions
from study.plan.planner import Study
from tests.study.launching import in_process
from workloads.data.config import DataConfig
from workloads.data.size import text_size

HEAD = "study: a\nmax_total_flops: 1.0e30\nresources: {num_workers: 0}\n"
PICO = "grid: {preset: [pico], ffn: [{kind: dense}]}\n"


def written(tmp_path: Path, lines: str) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + lines)
    return path


def planned(tmp_path: Path, lines: str) -> Study:
    return planner.load(written(tmp_path, lines), tmp_path)


def test_passes_over_the_text_are_in_the_table_the_json_and_the_doctors_report(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, PICO + "budget: {tokens: 1.0e+9}\n")
    (point,) = planner.load(path, tmp_path).points
    train_tokens = text_size(DataConfig()).train_tokens
    assert point.passes == point.config.tokens / train_tokens
    said = f"{point.passes:.0f}"
    sentence = (
        f"1 of 1 points make more than 4 passes over the training text of {train_tokens:,} tokens, "
        f"{said} at most"
    )
    text = in_process("plan", path, "--runs", tmp_path).stdout
    header, row = text.splitlines()[:2]
    assert row.split()[header.split().index("passes")] == said
    assert f"caution: {sentence}" in text and "arXiv 2305.16264" in text
    found = json.loads(in_process("plan", path, "--json", "--runs", tmp_path).stdout)
    assert found["points"][0]["passes"] == point.passes
    assert len(found["cautions"]) == 1 and found["cautions"][0].startswith(sentence)
    doctor = in_process("doctor", path, "--runs", tmp_path, check=False).stdout
    assert f"up to {said} passes over the training text; {sentence}" in doctor


def test_tokens_that_a_guide_has_read_again_are_read(tmp_path: Path) -> None:
    alone, guided = planned(
        tmp_path,
        "grid: {preset: [pico], ffn: [{kind: lowrank, rank: 8}], guide: [null, {ratio: 0.5}]}\n",
    ).points
    assert guided.config.tokens == alone.config.tokens
    assert alone.passes and guided.passes == 1.5 * alone.passes


def test_a_search_says_the_passes_of_its_longest_sample(tmp_path: Path) -> None:
    study = planned(
        tmp_path,
        PICO + "budget: {tokens: 1.0e+8}\nsearch: {trials: 2, learning_rate: {choice: [0.1]}}\n",
    )
    (sentence,) = cautions(study)
    assert sentence.startswith("samples make more than 4 passes over the training text")


ASHA = "scheduler: {asha: {grace_flops: 5.0e+10}}\n"


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (PICO, ""),
        (PICO + "eval_tokens: 100_000_000\n", "an evaluation reads the whole validation text, "),
        (PICO + ASHA, ""),
        (PICO + ASHA.replace("e+10", "e+12"), "asha stops no point: none is evaluated between"),
        (PICO + ASHA + "runtime: {eval_interval: 200}\n", "asha stops no point: none is evaluated"),
        (PICO + ASHA + "runtime: {eval_interval: 199}\n", ""),
    ],
)
def test_other_cautions_are_said_where_they_hold(lines: str, said: str, tmp_path: Path) -> None:
    found = cautions(planned(tmp_path, lines))
    assert len(found) == bool(said) and all(said in sentence for sentence in found)


def test_evaluations_that_hours_leave_out_are_said_of_studies_on_gpus(tmp_path: Path) -> None:
    lines = PICO + "budget: {steps: 1000}\nruntime: {eval_interval: 100}\neval_tokens: 65_536\n"
    assert cautions(planned(tmp_path, lines)) == []  # the time on CPUs has them
    gpus = HEAD.replace("num_workers: 0", "num_workers: 1, gpus_per_worker: 1")
    path = tmp_path / "gpus.yaml"
    path.write_text(gpus.replace("study: a", "study: b") + lines)
    (said,) = cautions(planner.load(path, tmp_path))
    share = 10 * 65_536 / 3 / (1000 * 16 * 128)
    assert said.startswith(f"evaluations add {share:.0%} to {share:.0%} to the FLOPs of 1 of 1 ")
    assert said.endswith("raise runtime.eval_interval or lower eval_tokens")
    path.write_text(path.read_text().replace("eval_interval: 100", "eval_interval: 500"))
    assert cautions(planner.load(path, tmp_path)) == []
    # Nor is the time on CPUs told of what needs GPUs.
    shown = in_process("plan", path, "--runs", tmp_path).stdout
    assert " here, " not in shown and "Times here" not in shown
    assert " here, " in in_process("plan", written(tmp_path, lines), "--runs", tmp_path).stdout
