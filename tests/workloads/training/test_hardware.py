"""What a run records of the machine, and the library that it has its products made by."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernels import gemm
from kernels.gemm import Verdict
from kernels.paths import kernel_path
from tests.workloads.small_runs import ROOT, pico
from workloads.data.shards import TokenDataset
from workloads.files import measured_here
from workloads.training.hardware import environment, use_faster_gemm
from workloads.training.trainer import train

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing was measured of this machine yet; and the library stays as it is."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


def test_the_environment_names_the_paths() -> None:
    recorded = environment(CPU)
    assert recorded["kernel_path"] == kernel_path(CPU)
    assert {"hardware", "precision", "num_threads", "torch", "triton", "cuda", "host"} < set(
        recorded
    )


def test_the_choice_is_kept_with_what_else_was_measured_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gemm, "probe", lambda: Verdict(3e-7, 2.0))
    use_faster_gemm(CPU)
    assert len(list(measured_here("gemm").iterdir())) == 1
    assert "gemm=onednn" in environment(CPU)["kernel_path"]


def test_on_cuda_nothing_is_chosen() -> None:
    use_faster_gemm(torch.device("cuda"))
    assert not measured_here("gemm").exists()


def test_a_run_trains_by_the_choice_and_records_it(
    stdlib: TokenDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gemm, "probe", lambda: Verdict(3e-7, 0.5))
    gemm.use(True)  # As a run before it in this process may have had it.
    result = train(pico(budget={"steps": 2}), stdlib, tmp_path / "run")
    assert result.environment["kernel_path"] == kernel_path(CPU)
    assert gemm.library() != "onednn" and "gemm=onednn" not in kernel_path(CPU)


def test_a_second_process_does_not_measure_again(tmp_path: Path) -> None:
    code = """
import torch
from kernels import gemm
from workloads.training.hardware import use_faster_gemm
measured = []
probe = gemm.probe
gemm.probe = lambda: measured.append(1) or probe()
use_faster_gemm(torch.device("cpu"))
print(len(measured), gemm.library())
"""
    shown = [
        subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for _ in range(2)
    ]
    assert [count for count, _ in shown] == ["1", "0"] and shown[0][1] == shown[1][1]
