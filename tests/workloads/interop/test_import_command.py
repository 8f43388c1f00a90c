"""`import-reference` as it is run: the model it writes, and mistakes in one line."""

import re
from pathlib import Path

import pytest
import torch

from tests.command import run_main
from tests.workloads import published
from tests.workloads.reference_models import (
    SHAPES,
    Malicious,
    batches_of,
    difference,
    saved,
    state_of,
)
from workloads.__main__ import main
from workloads.interop.model_file import load_model

CONFIG = """\
preset: pico
model: {vocab_size: 37, block_size: 11, num_layers: 3, hidden_dim: 18, ffn_dim: 45, num_heads: 3}
ffn: {kind: lowrank, rank: 5}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """The command's arguments; its files fit."""
    checkpoint, config, out = (tmp_path / name for name in ("0.pth", "c.yaml", "m.safetensors"))
    config.write_text(CONFIG)
    torch.save({"model": state_of(SHAPES["lowrank"]), "step": 0}, checkpoint)
    return checkpoint, config, out


def test_the_command_writes_the_model(files: tuple[Path, Path, Path]) -> None:
    checkpoint, _, out = files
    done = run_main(main, "workloads", "import-reference", *files)
    assert (done.returncode, done.stderr) == (0, "")
    shape, state = SHAPES["lowrank"], torch.load(checkpoint)["model"]
    model = load_model(out)
    numbers = sum(parameter.numel() for parameter in model.parameters())
    assert done.stdout == f"{out}: {numbers:,} parameters\n"
    ((tokens, _),) = batches_of(shape, 1)
    with torch.no_grad():
        assert difference(model(tokens), published.logits(shape, state, tokens)) < 1e-5


def test_the_command_refuses_pickled_objects_in_one_line(files: tuple[Path, Path, Path]) -> None:
    checkpoint, _, out = files
    made = out.with_name("made")
    checkpoint.write_bytes(saved({"model": {}, "config": Malicious(made)}))
    done = run_main(main, "workloads", "import-reference", *files)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{checkpoint}: holds pickled objects (")
    assert not made.exists() and not out.exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rank: 5", "rank: 7", r"/0.pth: model\.layers\.1\.mlp.*; set ffn.rank: 5$"),
        ("rank: 5", "rnak: 5", r"/c.yaml:3: ffn.rnak = 5: no such key; the nearest is rank"),
        (
            "rank: 5",
            "rank: 19",
            r"/c.yaml:3: ffn.rank = 19: rank 19 exceeds the projection's",
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    files: tuple[Path, Path, Path], old: str, new: str, expected: str
) -> None:
    _, config, out = files
    config.write_text(CONFIG.replace(old, new))
    done = run_main(main, "workloads", "import-reference", *files)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert re.search(expected, line)
    assert not out.exists()
