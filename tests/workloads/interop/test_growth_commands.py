"""`python -m workloads grow` and `growth-guideline`: what they print, write and refuse."""

import json
import re
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.command import run_main
from tests.workloads.grown import base_of, built, moved, plan_of, weights_of
from workloads.__main__ import main
from workloads.config.model import GuideConfig
from workloads.interop.model_file import load_model, save_model
from workloads.nn.growth.learn import Learn
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer

LOWRANK = {"kind": "lowrank", "rank": 3}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.safetensors"
    save_model(built(base_of(ffn=LOWRANK)), path)
    return path


def grow(base: Path, *options: str | Path) -> "subprocess.CompletedProcess[str]":
    return run_main(main, "workloads", "grow", base, base.with_name("out"), *options)


def refused(done: "subprocess.CompletedProcess[str]") -> str:
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line


def test_it_prints_what_was_done_and_writes_the_model(base: Path) -> None:
    done = grow(base, "--operator", "stack", "--layer-map", "0,1,1,0", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    record = json.loads(done.stdout)
    model = load_model(base.with_name("out"))
    assert record["layer_map"] == [0, 1, 1, 0]
    assert record["params"] == sum(p.numel() for p in model.parameters())
    assert record["preserves"] is False and record["operator"] == "stack"
    assert record["logits_moved"] > 0.1 and record["moves_after"] == {"copied layers": 1}
    assert model.config.num_layers == 4

    lines = grow(base, "--operator", "random", "--layers", "4").stdout.splitlines()
    assert lines[0] == "layer_map: 0,1,-,-"
    assert lines[1].startswith("params: ") and lines[3] == "moves_after: new layers 2"
    assert lines[2].startswith("preserves: false (logits of random tokens moved by up to ")


def test_a_file_in_float64_is_grown_and_read_in_float64(base: Path) -> None:
    before = load_model(base)
    assert {p.dtype for p in before.parameters()} == {torch.float64}
    for options in (("split", "--width", "48"), ("zero", "--width", "32", "--layers", "3")):
        done = grow(base, "--operator", *options, "--json")
        assert json.loads(done.stdout)["preserves"] is True
        assert moved(before, load_model(base.with_name("out"))) < 1e-12
    save_model(before.float(), base)
    grow(base, "--operator", "zero", "--width", "32")
    after = load_model(base.with_name("out"))
    assert {p.dtype for p in after.parameters()} == {torch.float32}
    assert moved(before.double(), after.double()) < 1e-5


def test_the_trained_matrices_of_learn_are_read(base: Path) -> None:
    model = load_model(base)
    operator = Learn(plan_of(model.config, operator="learn", width=32))
    matrices = {name: m + 0.1 for name, m in operator.start(weights_of(model)).items()}
    file = base.with_name("matrices.safetensors")
    save_file(matrices, file)
    done = grow(base, "--operator", "learn", "--width", "32", "--matrices", file)
    assert done.returncode == 0
    expected = Learn(operator.plan, matrices=matrices).grow(weights_of(model))
    written = weights_of(load_model(base.with_name("out")))
    assert all(
        torch.allclose(written[name], tensor, atol=1e-12) for name, tensor in expected.items()
    )

    save_file(matrices | {"width.ffn": torch.zeros(2, 2)}, file)
    line = refused(grow(base, "--operator", "learn", "--width", "32", "--matrices", file))
    assert line == f"{file}: width.ffn is (2, 2), and this growth takes (48, 24); change it"
    file.write_text("no tensors")
    line = refused(grow(base, "--operator", "learn", "--width", "32", "--matrices", file))
    assert line.startswith(f"{file}: is no safetensors file: ")
    line = refused(grow(base, "--operator", "stack", "--layers", "4", "--matrices", file))
    assert line == f"matrices {file} are for operator learn; leave them out"


def test_mistakes_are_one_line(base: Path) -> None:
    for options, expected in (
        ("stack --layer-map 0,1,2", f"{base}: layer_map 0,1,2 names layer 2, .* nearest is 1"),
        ("stack --layer-map 0,x", "layer_map 0,x is no list of layers; write numbers with commas"),
        ("stak --layers 4", r"operator stak: no such operator; the nearest is stack \(of "),
        ("split --width 32 --alpha 2", "alpha 2.0: must be less than 1; lower it"),
        ("stack --layers 20000", "layers 20000: must be at most 10000; lower it"),
        ("split --width 24", f"{base}: width 24 is no multiple .* nearest that works is 32"),
        ("stack --layers 2", f"{base}: layers 2 is not more than the base's 2; .* grows it is 3"),
    ):
        line = refused(grow(base, "--operator", *options.split()))
        assert re.search(expected, line), line
    assert not base.with_name("out").exists()
    line = refused(grow(base.with_name("none"), "--operator", "stack", "--layers", "4"))
    assert line.startswith(f"{base.with_name('none')}: is not a model of this platform: ")
    before = base.read_bytes()
    done = run_main(main, "workloads", "grow", base, base, "--operator", "stack", "--layers", "4")
    assert refused(done) == f"{base}: is the base itself; choose another name for the grown model"
    assert base.read_bytes() == before
    base.with_name("out").write_text("something else")
    line = refused(grow(base, "--operator", "stack", "--layers", "4"))
    assert line.endswith("out: exists and is not a model file; choose another name")
    assert base.with_name("out").read_text() == "something else"


def test_a_model_that_is_still_guided_is_refused(tmp_path: Path) -> None:
    guide = GuideConfig(ratio=0.5)
    model = Transformer(base_of(ffn=LOWRANK, guide=guide))
    path = tmp_path / "guided.safetensors"
    save_model(model, path)
    assert grow(path, "--operator", "stack", "--layers", "4").returncode == 0  # it has no guide
    add_guides(model, guide)
    save_model(model, path)
    line = refused(grow(path, "--operator", "stack", "--layers", "4"))
    assert "layers.1.mlp.fc1 still has its guide" in line


def test_the_guideline() -> None:
    done = run_main(
        main, "workloads", "growth-guideline", "--params", "1e9", "--tokens", "2e10", "--json"
    )
    found = json.loads(done.stdout)
    assert {*found} == {"base_tokens", "factor", "outside"}
    assert (found["factor"], found["outside"]) == (4, True)
    done = run_main(main, "workloads", "growth-guideline", "--params", "7e9", "--tokens", "2e12")
    assert done.stdout.splitlines() == ["base_tokens: 1.111e+10", "factor: 4", "outside: false"]
    done = run_main(main, "workloads", "growth-guideline", "--params", "0", "--tokens", "2e12")
    assert refused(done).startswith("params 0 is no count")
