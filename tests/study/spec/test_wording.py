"""Mistakes are told in words of YAML, at the key to blame, with a hint that is then accepted."""

from __future__ import annotations

from pathlib import Path

import pytest

from study.spec.study_file import load
from workloads.errors import InputError

HEAD = "study: a\nmax_total_flops: 1.0e12\n"
GRID = "grid: {preset: [pico], ffn: [{kind: dense}]}\n"
SEARCH = "search: {trials: 2, learning_rate: LR}\n"

# (file, message without the path, what the hint makes of it: old and new)
MISTAKES = {
    "no file": ("", ":1: file: this should be a mapping; its keys are study, max_total", None),
    "a name": (
        HEAD.replace("study: a", "study: My Study 3!") + GRID,
        ":1: study = 'My Study 3!': a name has only a-z, 0-9, - and _, the latter two inside; "
        "try my-study-3",
        ("My Study 3!", "my-study-3"),
    ),
    "a number for a list": (
        HEAD + GRID.replace("]}", "], batch_size: 16}"),
        ":3: grid.batch_size = 16: this should be a list; write [16]",
        ("batch_size: 16", "batch_size: [16]"),
    ),
    "a mapping for a list": (
        HEAD + GRID.replace("[{kind: dense}]", "{kind: dense}"),
        ":3: grid.ffn: this should be a list; put its items in [ ]",
        ("{kind: dense}", "[{kind: dense}]"),
    ),
    "an empty list": (
        HEAD + GRID.replace("[pico]", "[]"),
        ":3: grid.preset: this list needs 1 item or more; add to it",
        ("[]", "[pico]"),
    ),
    "a list for a mapping": (
        HEAD + GRID + "data: [wiki]\n",
        ":4: data: this should be a mapping; its keys are source, tokenizer, val_fraction",
        ("[wiki]", "{source: python-stdlib}"),
    ),
    "a kind that is null": (
        HEAD + GRID + "optimizer: {kind: null}\n",
        ":4: optimizer.kind: not a known value; the nearest is muon (of adamw, sophia_g, muon)",
        ("null", "muon"),
    ),
    "half of a pair": (
        HEAD + GRID + "optimizer: {betas: [0.9]}\n",
        ":4: optimizer.betas: this list is too short, with 1 of its items; add what is missing",
        ("[0.9]", "[0.9, 0.95]"),
    ),
    "more than a pair": (
        HEAD + GRID + SEARCH.replace("LR", "{log: [0.1, 0.2, 0.3]}"),
        ":4: search.learning_rate.log: this list takes 2 items or fewer; remove some",
        (", 0.3]", "]"),
    ),
    "a number in quotes": (
        HEAD + GRID + "budget: {steps: '20'}\n",
        ":4: budget.steps = '20': this should be a valid integer; write it without quotes",
        ("'20'", "20"),
    ),
    "a number as Python writes it": (
        HEAD.replace("1.0e12", ".5e12") + GRID,
        ":2: max_total_flops = '.5e12': this should be a valid number; write 500000000000",
        (".5e12", "500000000000"),
    ),
    "a number that is none": (
        HEAD.replace("1.0e12", "nan") + GRID,
        ":2: max_total_flops = 'nan': this should be a valid number; change it",
        ("nan", "1.0e12"),
    ),
    "a broken number for a whole one": (
        HEAD + GRID + "budget: {steps: '1.5'}\n",
        ":4: budget.steps = '1.5': this should be a valid integer; change it",
        ("'1.5'", "2"),
    ),
    "a number for a name": (
        HEAD + GRID.replace("pico", "3"),
        ":3: grid.preset[0] = 3: no such preset; the nearest is ",
        ("[3]", "[pico]"),
    ),
    "a date for a name": (
        HEAD.replace("study: a", "study: 2026-01-02") + GRID,
        ":1: study = 2026-01-02: this should be a valid string; write it in quotes",
        ("2026-01-02", "'2026-01-02'"),
    ),
    "a range of one value": (
        HEAD + GRID + SEARCH.replace("LR", "{log: [1.0e-3, 1.0e-3]}"),
        ":4: search.learning_rate: both ends of log are 0.001; move one of them",
        ("[1.0e-3, 1.0e-3]", "[1.0e-3, 2.0e-3]"),
    ),
    "a range from high to low": (
        HEAD + GRID + SEARCH.replace("LR", "{log: [2.0e-3, 1.0e-3]}"),
        ":4: search.learning_rate: log goes from a lower to a higher value; swap the two",
        ("[2.0e-3, 1.0e-3]", "[1.0e-3, 2.0e-3]"),
    ),
    "text without quotes": (
        HEAD + GRID.replace("kind: dense", "kind: dense, arm: 3"),
        ":3: grid.ffn[0].arm = 3: this should be a valid string; write it in quotes",
        ("arm: 3", "arm: '3'"),
    ),
    "a word for a switch": (
        HEAD + GRID + "runtime: {compile: yes}\n",
        ":4: runtime.compile = 'yes': this should be a valid boolean; write true or false",
        ("yes", "true"),
    ),
    "below the least": (
        HEAD + GRID + "optimizer: {weight_decay: -1}\n",
        ":4: optimizer.weight_decay = -1: must be at least 0; raise it",
        ("-1", "0"),
    ),
    "above the most": (
        HEAD + GRID + "hardware: {accelerator: h100, mfu: {dense: 40}}\n",
        ":4: hardware.mfu.dense = 40: must be at most 1; lower it",
        ("40", "1"),
    ),
    "a key that is a list": (
        HEAD + GRID + "? [a, b]\n: 2\n",
        ":4: a list is no key; write a word in its place",
        None,
    ),
    "a key that is a number": (
        HEAD + GRID.replace("kind: dense", "kind: dense, 3: 4"),
        ":3: 3 is no key; write a word in its place",
        (", 3: 4", ""),
    ),
    "one wrong item": (
        HEAD + GRID.replace("]}", "], seed: [zero]}"),
        ":3: grid.seed[0] = 'zero': this should be a valid integer; change it",
        ("zero", "0"),
    ),
    "a number for every kind": (
        HEAD + GRID + "hardware: {accelerator: h100, mfu: 40}\n",
        ":4: hardware.mfu = 40: must be greater than 0 and at most 1; write 0.4, say",
        ("40", "0.4"),
    ),
    "a kind that there is not": (
        HEAD + GRID + "hardware: {accelerator: h100, mfu: {dens: 0.4}}\n",
        ":4: hardware.mfu.dens = 0.4: no such FFN kind; the nearest is dense (of dense, ",
        ("dens:", "dense:"),
    ),
    "other GPUs than the points train on": (
        HEAD + GRID + "hardware: {accelerator: h100, gpus: 2}\n"
        "resources: {num_workers: 4, gpus_per_worker: 1}\n",
        ":4: hardware.gpus = 2: hardware.gpus 2 is not what resources give a point, 4 GPUs",
        ("gpus: 2", "gpus: 4"),
    ),
    "two units": (
        HEAD + GRID + "budget: {steps: 1, tokens: 2}\n",
        ":4: budget: a budget has exactly one of tokens, tokens_per_param, steps, train_flops, "
        "wall_seconds, isoflop; found tokens, steps",
        (", tokens: 2", ""),
    ),
    "an option of another schedule": (
        HEAD + GRID + "optimizer: {warmup_steps: 10}\n",
        ":4: optimizer.warmup_steps = 10: warmup_steps does not apply to schedule cosine; remove",
        ("warmup_steps: 10", ""),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_message_is_in_words_of_yaml_and_its_hint_is_accepted(
    mistake: str, tmp_path: Path
) -> None:
    text, message, hint = MISTAKES[mistake]
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as raised:
        load(path)
    found = str(raised.value).removeprefix(str(path))
    assert message in found
    assert not any(word in found for word in ("tuple", "dictionary", "Spec", "in this file"))
    if hint:
        path.write_text(text.replace(*hint))
        load(path)


def test_a_misspelt_key_is_one_mistake(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(HEAD + GRID.replace("preset", "prest"))
    with pytest.raises(InputError) as raised:
        load(path)
    assert "the nearest is preset" in str(raised.value)
    assert "in this file" not in str(raised.value)
    path.write_text(HEAD + GRID.replace("preset", "prest") + "eval_tokens: x\nsede: 1\n")
    with pytest.raises(InputError, match=r"\(and 2 more in this file\)"):
        load(path)
