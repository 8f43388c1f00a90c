"""The coordinate check: sizes against a plain pass, and what the command says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from typer.testing import CliRunner, Result

from workloads.checks.command import runs_of
from workloads.checks.coordinates import LOGITS, Coordinates, measure
from workloads.commands import app
from workloads.data.dataset import TokenDataset
from workloads.data.loader import BatchLoader
from workloads.errors import InputError
from workloads.nn.transformer import Block, Transformer
from workloads.optim.build import build_optimizer
from workloads.optim.update import use_gradients

LOWRANK = "preset: pico\nbatch_size: 4\nffn: {kind: lowrank, fraction: 0.5}\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(text)
    return path


def checked(path: Path, data_root: Path, *options: str) -> Result:
    arguments = ["coordinate-check", str(path), "--data-root", str(data_root), *options]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_sizes_are_those_of_a_plain_pass(stdlib: TokenDataset, tmp_path: Path) -> None:
    """Against the layers called one by one, after steps of the model alone."""
    runs = runs_of(written(tmp_path, LOWRANK + "recipe: mup\n"), "32,64")
    found = measure(runs, stdlib, steps=2, seeds=1)
    assert found.widths == (32, 64) and found.steps == 2
    for place, run in enumerate(runs):
        torch.manual_seed(0)
        model = Transformer(run.model)
        optimizer = build_optimizer(model, run.optimizer)
        loader = BatchLoader(stdlib.split("train"), run.model.block_size, run.batch_size, 0)
        inputs, _ = loader.batch(2)
        losses = []
        for step in range(2):
            loss = model(*loader.batch(step))
            loss.backward()
            use_gradients(model, optimizer.step, run.optimizer.max_grad_norm)
            losses.append(float(loss.detach()))
        assert found.losses[place] == pytest.approx(losses[-1])
        with torch.no_grad():
            x = model.wte(inputs)
            for index, layer in enumerate(model.layers):
                block = cast(Block, layer)
                attention = block.attention(block.ln1(x), model.rotation)
                x = x + attention
                ffn = block.mlp(block.ln2(x))
                x = x + ffn
                sizes = {"attention": attention, "FFN": ffn, "residual stream": x}
                for name, output in sizes.items():
                    measured = found.sizes[f"layer {index} {name}"][2][place]
                    assert measured == pytest.approx(float(output.square().mean().sqrt()), 1e-4)
            logits = model.logits(x)
        measured = found.sizes[LOGITS][2][place]
        assert measured == pytest.approx(float(logits.square().mean().sqrt()), 1e-4)


def test_spreads_are_the_largest_size_over_the_smallest() -> None:
    sizes = {"a": [[1.0, 1.0], [2.0, 3.0]], "b": [[1.0, 4.0], [2.0, 2.1]]}
    found = Coordinates((1, 2), sizes, [0.0, 0.0])
    assert found.spread("b", 0) == 4 and found.worst == ("a", 1.5)
    # Logits may fall with the width, and must not grow.
    logits = Coordinates((1, 2, 4), {LOGITS: [[3.0, 2.0, 1.0], [2.0, 1.0, 3.0]]}, [0.0])
    assert [logits.spread(LOGITS, step) for step in (0, 1)] == [1.0, 1.5]


def test_a_rule_is_flatter_than_none(data_root: Path, stdlib: TokenDataset, tmp_path: Path) -> None:
    reports: dict[str, Any] = {}
    for rule in ("fixed", "mup"):
        path = written(tmp_path, LOWRANK + f"recipe: {rule}\n")
        done = checked(path, data_root, "--seeds", "1", "--steps", "3", "--json")
        reports[rule] = json.loads(done.stdout)
        assert reports[rule]["widths"] == [32, 64, 128, 256]
        assert done.exit_code == (0 if reports[rule]["flat"] else 1)
    fixed, mup = (
        {name: spreads[-1] for name, spreads in reports[rule]["spreads"].items()}
        for rule in ("fixed", "mup")
    )
    assert all(fixed[name] > 2 * mup[name] for name in fixed if name.endswith("FFN"))
    assert reports["fixed"]["worst_spread"] == max(fixed.values())
    assert not reports["fixed"]["flat"]


def test_it_says_and_draws_what_it_found(
    data_root: Path, stdlib: TokenDataset, tmp_path: Path
) -> None:
    path, plot = written(tmp_path, LOWRANK), tmp_path / "check.svg"
    options = ("--widths", "64, 32", "--steps", "1", "--seeds", "1", "--plot", str(plot))
    done = checked(path, data_root, *options)
    lines = done.stdout.splitlines()
    assert lines[1].split()[:3] == ["layer", "32", "64"]
    assert sum(line.startswith("layer ") for line in lines) == 1 + 2 * 3
    assert ("not flat" in lines[-1]) == bool(done.exit_code)
    drawing = plot.read_bytes()
    assert b"before training" in drawing or drawing.startswith(b"<?xml")
    checked(path, data_root, *options)
    assert plot.read_bytes() == drawing


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--widths", "64"), "--widths 64: give two or more widths"),
        (("--widths", "64,x"), "--widths 64,x: give two or more widths"),
        (("--plot", "check.txt"), "check.txt: .txt is no figure; use .png, .svg, .pdf"),
        (("--widths", "32,33"), "width"),
    ],
)
def test_a_mistake_is_an_input_error(options: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.yaml|--widths|check\.txt") as caught:
        checked(written(tmp_path, LOWRANK), tmp_path, *options)
    assert words in str(caught.value)
