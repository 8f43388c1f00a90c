"""A mistake in a study file is one line: file, line, value, remedy; exit code 2."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.plan import planner
from tests.study.launching import in_process, study_cli
from workloads.errors import InputError

GOOD = """\
study: example
max_total_flops: 1.0e12
grid:
  preset: [pico]
  ffn:
    - {kind: dense}
    - {kind: lowrank, rank: 8}
budget: {steps: 20}
"""

MISTAKES = {
    "misspelt key": ("preset:", "prest:", 4, "grid.prest", "the nearest is preset"),
    "misspelt top-level key": ("budget", "bugdet", 8, "bugdet", "the nearest is budget"),
    "unknown preset": ("pico", "pica", 4, "grid.preset[0] = 'pica'", "the nearest is pico"),
    "unknown kind": ("lowrank,", "lowrnk,", 7, "'lowrnk'", "the nearest is lowrank"),
    "rank of zero": ("rank: 8", "rank: 0", 7, "grid.ffn[1].rank = 0", "greater than 0"),
    "rank too large": ("rank: 8", "rank: 64", 7, "rank 64", "use 32 or less"),
    "no rank": (", rank: 8", "", 7, "needs rank", "add it"),
    "two budgets": ("steps: 20", "steps: 20, tokens: 10", 8, "budget", "exactly one"),
    "budget below a step": ("steps: 20", "tokens: 100", 8, "less than one step", "raise it"),
    "over the cap": ("1.0e12", "1.0e9", 2, "max_total_flops = 1000000000.0", "raise it to"),
    "point twice": ("rank: 8", "rank: 8}\n    - {kind: lowrank, rank: 8", 8, "already", "remove"),
    "true for a number": ("steps: 20", "steps: true", 8, "budget.steps = true", "valid integer"),
    "text for a number": ("steps: 20", 'steps: "20"', 8, "budget.steps = '20'", "valid integer"),
    "half a step": ("steps: 20", "steps: 2.5", 8, "budget.steps = 2.5", "valid integer"),
    "number for a switch": ("rank: 8", "rank: 8, keep_first_dense: 1", 7, "dense = 1", "boolean"),
    "width": (
        "[pico]",
        "[pico]\n  width: [1, 0.3]",
        5,
        "grid.width[1] = 0.3",
        "keeps heads is 0.5",
    ),
    "excluded kind": (
        "budget:",
        "exclude: [{ffn: {kind: blockdense}}]\nbudget:",
        8,
        "exclude[0].ffn.kind = 'blockdense': excludes nothing",
        "the nearest value is dense (of dense, lowrank)",
    ),
    "excluded number": (
        "budget:",
        "exclude: [{preset: pico, learning_rate: 1.0e-3}]\nbudget:",
        8,
        "exclude[0].learning_rate = 0.001: excludes nothing",
        "the nearest value is 0.006",
    ),
    "excluded guide": (
        "budget:",
        "exclude: [{ffn: {kind: lowrank}, guide: {ratio: 0.5}}]\nbudget:",
        8,
        "exclude[0].guide.ratio = 0.5: excludes nothing",
        "change or remove the row",
    ),
    "empty batch": ("[pico]", "[pico]\n  batch_size: [0]", 5, "batch_size[0] = 0", "greater than"),
    "excluded batch": (
        "budget:",
        "exclude: [{batch_size: 64}]\nbudget:",
        8,
        "exclude[0].batch_size = 64: excludes nothing",
        "the nearest value is 16",
    ),
    "excluded everything": (
        "budget:",
        "exclude: [{preset: pico}]\nbudget:",
        1,
        "no point is left",
        "exclude[0]",
    ),
    "empty exclude": ("budget:", "exclude: [{}]\nbudget:", 8, "matches everything", "give one of"),
    "two shares": (
        "rank: 8}",
        "rank: 8}\n  guide: [{ratio: 0.5, match_flops_of: dense}]",
        8,
        "grid.guide[0]",
        "exactly one of ratio and match_flops_of",
    ),
    "not YAML": ("[pico]", "[pico", 5, "not valid YAML", "correct the line"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_one_line_that_names_place_value_and_remedy(
    mistake: str, tmp_path: Path
) -> None:
    old, new, line, what, remedy = MISTAKES[mistake]
    path = tmp_path / "study.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        planner.load(path, tmp_path)
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: ")
    assert what in message and remedy in message
    assert "\n" not in message


def test_a_whole_number_may_have_an_exponent_and_a_switch_an_anchor(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    switch = "rank: 8, keep_first_dense: &no false}\n    - {kind: lowrank, rank: 4, "
    switch += "keep_first_dense: *no"
    path.write_text(GOOD.replace("steps: 20", "tokens: 1.0e+5").replace("rank: 8", switch))
    points = planner.load(path, tmp_path).points
    assert [point.config.steps for point in points] == [48, 48, 48]
    assert [point.config.model.ffn.keep_first_dense for point in points] == [True, False, False]


def test_good_file_has_its_points(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD)
    arms = [point.summary()["arm"] for point in planner.load(path, tmp_path).points]
    assert arms == ["dense", "lowrank r8"]


@pytest.mark.parametrize("command", ["plan", "run", "status", "report"])
def test_commands_exit_2_with_one_line_and_no_traceback(command: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(GOOD.replace("rank: 8", "rank: 0"))
    done = in_process(command, path, "--runs", tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"{path}:7: ") and done.stderr.count("\n") == 1


def test_missing_file_is_one_line(tmp_path: Path) -> None:
    done = in_process("plan", tmp_path / "absent.yaml", check=False)
    assert done.returncode == 2 and "absent.yaml" in done.stderr and done.stderr.count("\n") == 1


def test_unknown_kernel_switch_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KERNELS", "atention:reference")
    done = study_cli("plan", tmp_path / "study.yaml", check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("KERNELS=atention:reference: ") and "`attention:" in done.stderr
