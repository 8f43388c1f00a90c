"""What a training run records in each row, beyond its losses."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.workloads.small_runs import pico
from workloads.cost.flops import train_flops_at
from workloads.data.dataset import TokenDataset
from workloads.data.loader import Batch, BatchLoader
from workloads.nn.transformer import Transformer
from workloads.run_dir.metrics_log import Row, read_rows
from workloads.training import hardware
from workloads.training.trainer import train

pytestmark = pytest.mark.usefixtures("on_cpu")


def rows_of(run_dir: Path) -> list[Row]:
    return read_rows(run_dir / "metrics.jsonl")[0]


def test_the_share_of_the_guides_is_that_of_the_step(stdlib: TokenDataset, tmp_path: Path) -> None:
    guide = {"ratio": 0.5, "schedule": "linear", "mode": "fixed_steps"}
    train(pico(budget={"steps": 8}, guide=guide), stdlib, tmp_path / "guided")
    shares = [row["guide_share"] for row in rows_of(tmp_path / "guided")]
    np.testing.assert_allclose(shares, [1.0, 0.75, 0.5, 0.25, 0, 0, 0, 0])
    train(pico(budget={"steps": 1}), stdlib, tmp_path / "unguided")
    assert "guide_share" not in rows_of(tmp_path / "unguided")[0]


def test_a_spike_between_rows_is_seen(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spiking(BatchLoader):
        def batch(self, step: int, rows: slice | range | None = None) -> Batch:
            inputs, targets = super().batch(step, rows)
            # No text: nothing that was learnt helps with it.
            return (inputs, targets) if step != 16 else (inputs, 256 - targets)

    monkeypatch.setattr("workloads.training.trainer.BatchLoader", Spiking)
    for interval in (1, 5):
        runtime = {"log_interval": interval, "eval_interval": 100, "checkpoint_interval": 7}
        train(pico(budget={"steps": 20}, runtime=runtime), stdlib, tmp_path / str(interval))
    every = [row["train_loss"] for row in rows_of(tmp_path / "1")]
    assert max(every[15:]) == every[16] > every[14] + 0.5, "there was no spike"
    assert [row["train_loss_max"] for row in rows_of(tmp_path / "1")] == every
    rows = rows_of(tmp_path / "5")
    assert [row["step"] for row in rows] == [5, 10, 15, 20]
    assert [row["train_loss_max"] for row in rows] == [
        max(every[at : at + 5]) for at in range(0, 20, 5)
    ]
    assert rows[-1]["train_loss"] == every[-1] < every[16]


def test_a_spike_before_the_checkpoint_is_seen_after_it(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row that is due between a checkpoint and the next covers the steps before it too."""
    runtime = {"log_interval": 9, "eval_interval": 100, "checkpoint_interval": 4}
    config = pico(budget={"steps": 9}, runtime=runtime)
    train(config, stdlib, tmp_path / "undisturbed")

    class Stopping(BatchLoader):
        def batch(self, step: int, rows: slice | range | None = None) -> Batch:
            if step == 6:
                raise KeyboardInterrupt
            return super().batch(step, rows)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("workloads.training.trainer.BatchLoader", Stopping)
        train(config, stdlib, tmp_path / "stopped")
    assert train(config, stdlib, tmp_path / "stopped").resumed_step == 4
    (found,), (wanted,) = rows_of(tmp_path / "stopped"), rows_of(tmp_path / "undisturbed")
    # The first steps have the highest loss.
    assert found["train_loss_max"] == wanted["train_loss_max"] > wanted["train_loss"] + 0.1


def test_gradient_norms_of_layers_and_the_rest_make_up_the_whole(
    stdlib: TokenDataset, tmp_path: Path
) -> None:
    config = pico(
        model={"num_layers": 3}, budget={"steps": 3}, guide={"ratio": 0.34, "mode": "fixed_steps"}
    )
    train(config, stdlib, tmp_path)
    first = rows_of(tmp_path)[0]
    torch.manual_seed(config.seed)
    model = Transformer(config.model).double()
    inputs, targets = BatchLoader(stdlib.split("train"), 128, 8, config.seed).batch(0)
    # At a share of 1 and at the product of the factors, a guide W gets the gradient of the
    # matrix, and its factors get none.
    for layer in model.layers[1:]:
        for side in ("fc1", "fc2"):
            projection = layer.get_submodule(f"mlp.{side}")
            projection.add_guide("effective")  # type: ignore[operator]  # a Projection
    model(inputs, targets).backward()
    squares = {
        name: float((p.grad**2).sum()) for name, p in model.named_parameters() if p.grad is not None
    }
    rest = 0.0
    for index in range(3):
        own = sum(value for name, value in squares.items() if name.startswith(f"layers.{index}."))
        assert first[f"layer_grad_norm/{index:02d}"] == pytest.approx(math.sqrt(own), rel=1e-4)
        rest += own
    outside = sum(value for name, value in squares.items() if not name.startswith("layers."))
    assert first["grad_norm"] == pytest.approx(math.sqrt(rest + outside), rel=1e-4)
    for row in rows_of(tmp_path):
        layers = [row[f"layer_grad_norm/{index:02d}"] for index in range(3)]
        assert sum(norm**2 for norm in layers) < row["grad_norm"] ** 2
        assert "layer_grad_norm/03" not in row


def test_peak_memory_never_falls_and_holds_the_model(stdlib: TokenDataset, tmp_path: Path) -> None:
    train(pico(budget={"steps": 5}), stdlib, tmp_path)
    peaks = [row["peak_memory_bytes"] for row in rows_of(tmp_path)]
    assert peaks == sorted(peaks)
    assert 50e6 < peaks[0] < 100e9  # A process with torch in it.


def test_utilization_is_recorded_only_where_the_peak_is_known(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = pico(
        budget={"steps": 8},
        guide={"ratio": 0.5},
        runtime={"log_interval": 3, "eval_interval": 100},
    )
    train(config, stdlib, tmp_path / "unknown")
    assert not any("mfu" in row for row in rows_of(tmp_path / "unknown"))
    monkeypatch.setattr("workloads.training.records.peak_flops_per_second", lambda device: 1e12)
    train(config, stdlib, tmp_path / "known")
    last = 0
    for row in rows_of(tmp_path / "known"):
        step = int(row["step"])
        seconds = (step - last) * config.tokens_per_step / row["tokens_per_second"]
        flops = train_flops_at(config, step) - train_flops_at(config, last)
        assert row["mfu"] == pytest.approx(flops / seconds / 1e12, rel=1e-9)
        last = step


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        # Dense bf16 of the data sheets.
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA B200", 2250e12),
        ("Tesla T4", None),
        ("NVIDIA GeForce RTX 4090", None),
    ],
)
def test_peaks_are_those_of_the_device_by_name(
    monkeypatch: pytest.MonkeyPatch, name: str, peak: float | None
) -> None:
    monkeypatch.setattr("torch.cuda.get_device_name", lambda device: name)
    assert hardware.peak_flops_per_second(torch.device("cuda", 0)) == peak
    assert hardware.peak_flops_per_second(torch.device("cpu")) is None
