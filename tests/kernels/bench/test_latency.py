"""`python -m kernels bench latency`: the settings of its sweep, and the file that it writes."""

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from kernels.bench import latency
from kernels.bench.app import app
from kernels.machine import cpu_name


def test_latency_writes_what_the_figure_reads(tmp_path: Path) -> None:
    from analysis.tables.latency import load_latencies

    out = tmp_path / "new" / "latency.csv"
    sizes = ("--width", "32", "--width", "64", "--tokens", "64")
    command = ["bench", "latency", "--device", "cpu", *sizes, "--rounds", "1", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    found = load_latencies([out])
    assert (found.measured, found.hardware) == ("forward", cpu_name())
    assert {(one.width, one.tokens) for one in found.timings} == {
        (32, 64), (64, 64), (32, 16), (64, 16)
    }  # fmt: skip
    at_widest = [one for one in found.timings if (one.width, one.tokens) == (64, 64)]
    assert len(at_widest) == 4 * 3 - 1  # Blockshuffle has no 47%.
    for one in found.timings:
        assert one.params == pytest.approx(one.fraction * 8 * one.width**2)
        assert min(one.seconds, one.dense_seconds) > 0


def test_the_sweep_on_cuda_is_the_papers() -> None:
    sweep = latency.Sweep.of(torch.device("cuda"))
    settings = list(sweep.settings())
    assert len(settings) == len(set(settings))
    assert sweep.tokens == 30_720 and sweep.weights_width == 5120
    assert {w for w, n, _ in settings if n == 2048} == {2048, 3072, 5120, 6144}
    assert {fraction for w, n, fraction in settings if (w, n) == (5120, 30_720)} == {
        0.625, 0.46875, 0.3125, 0.15625
    }  # fmt: skip
