"""`python -m workloads bench train`: its table, its record, its comparisons."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from workloads.bench import train as bench
from workloads.commands import app
from workloads.errors import InputError

ROOT = Path(__file__).parents[3]
NAMES = ["lowrank r16", "lowrank r8", "blockdense r20 b2", "blockdense r12 b2"]
NAMES += ["blockshuffle b2", "blockshuffle b4"]


def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "workloads", "bench", "train", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def test_the_command_prints_a_table_and_writes_its_samples(tmp_path: Path) -> None:
    out = tmp_path / "new" / "bench.json"
    done = run("--width", "32", "--tokens", "64", "--rounds", "3", "--out", out)
    assert done.returncode == 0, done.stderr
    head, *lines = done.stdout.splitlines()
    assert head.split()[:2] == ["FFN", "FLOPs"]
    number = r"(\d+\.\d{3})"
    ratio = rf"{number} \({number}-{number}\)"
    row = re.compile(
        rf"(\w+(?: \w+)+?) +(0\.\d{{4}})  {ratio} +{number}  (pass|over) +({ratio}|-)$"
    )
    matches = [row.match(line) for line in lines]
    assert [match and match[1] for match in matches] == NAMES

    record = json.loads(out.read_text())
    assert record["size"] == {"width": 32, "tokens": 64, "rounds": 3, "threads": 1}
    assert record["environment"]["torch"] == torch.__version__
    assert record["environment"]["num_threads"] == 1
    assert record["cpu"] and {"commit", "uncommitted_changes"} <= record.keys()
    for written, match in zip(record["rows"], matches, strict=True):
        assert match is not None
        assert written["passes"] == (match[7] == "pass")
        assert written["limit"] == pytest.approx(written["fraction"] + 0.15)
        assert 0 < written["cost"]["low"] <= written["cost"]["median"] <= written["cost"]["high"]
        assert written["cost"]["median"] == pytest.approx(float(match[3]), abs=1e-3)
        block = written["name"].startswith("block")
        assert set(written["samples"]) == {"dense", "structured"} | (
            {"baseline"} if block else set()
        )
        assert all(len(s) == 3 and min(s) > 0 for s in written["samples"].values())
        assert (written["speedup"] is not None) == block == (match[8] != "-")


def test_a_width_that_blocks_do_not_divide_is_refused() -> None:
    with pytest.raises(InputError, match="--width 30 must be a multiple of 4"):
        CliRunner().invoke(app, ["bench", "train", "--width", "30"], catch_exceptions=False)


def test_fractions_are_those_of_the_weights() -> None:
    rows = bench.measure(bench.Size(512, 1, 1, 1), lambda name: None)
    fractions = {row.name: round(row.fraction, 4) for row in rows}
    assert list(fractions.values()) == [0.625, 0.3125, 0.6445, 0.293, 0.625, 0.3125]
    assert "blockdense r352 b2" in fractions


def test_ratios_are_of_one_round() -> None:
    row = bench.Row("name", 0.5, {"dense": [2.0, 4.0, 8.0], "structured": [1.0, 3.0, 4.0]})
    assert (row.cost.median, row.cost.low, row.cost.high) == (0.5, 0.5, 0.75)
    assert row.limit == 0.65 and row.passes and row.speedup is None


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("block")])
def test_the_baseline_computes_the_same(name: str) -> None:
    config = bench.structured_ffns(32)[name]
    layer = bench.build(32, config).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    x = torch.randn(3, 5, 32, dtype=torch.float64, requires_grad=True)
    direction = torch.randn_like(x)
    found, expected = (
        (y, *torch.autograd.grad(y, [x, *layer.parameters()], direction))
        for y in (layer(x), bench.with_product(layer, bench.BASELINES[config.kind])(x))
    )
    torch.testing.assert_close(found, expected)
