"""What a run records of the machine, and the precision of its products."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernels.paths import kernel_path
from tests.workloads.small_runs import pico
from workloads.data.dataset import TokenDataset
from workloads.training.hardware import environment
from workloads.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture
def low_precision() -> Iterator[None]:
    """Float32 products may round to bfloat16, as code before in this process may have asked."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def test_the_environment_names_the_paths() -> None:
    recorded = environment(CPU)
    assert recorded["kernel_path"] == kernel_path(CPU)
    assert {"hardware", "precision", "num_threads", "torch", "triton", "cuda", "host"} < set(
        recorded
    )


@pytest.mark.usefixtures("low_precision", "on_cpu")
def test_a_run_multiplies_in_full_precision(stdlib: TokenDataset, tmp_path: Path) -> None:
    result = train(pico(budget={"steps": 2}), stdlib, tmp_path / "run")
    assert torch.get_float32_matmul_precision() == "highest"
    assert result.environment["kernel_path"] == kernel_path(CPU)
