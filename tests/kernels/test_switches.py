"""KERNELS in the environment: what it turns off, what it refuses, and what is recorded of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kernels import switches
from kernels.paths import kernel_path
from kernels.switches import OPERATIONS, UnknownSwitch, parse

ROOT = Path(__file__).parents[2]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def paths(device: torch.device) -> dict[str, str]:
    return dict(pair.split("=") for pair in kernel_path(device).split())


@pytest.mark.parametrize(
    ("value", "off"),
    [
        ("", set()),
        (" reference ", set(OPERATIONS)),
        ("rotary:reference", {"rotary"}),
        ("rotary:reference, attention:reference,", {"rotary", "attention"}),
        ("gemm:reference,rotary:reference", {"rotary"}),  # A switch of earlier versions.
    ],
)
def test_what_it_turns_off(value: str, off: set[str]) -> None:
    assert parse(value) == off


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("rotari:reference", "`rotary:reference`"),
        ("rotary", "`rotary:reference`"),
        ("rotary:slow", "`rotary:ref"),
    ],
)
def test_what_it_refuses(value: str, remedy: str) -> None:
    with pytest.raises(UnknownSwitch, match=f"KERNELS={value}: .* {remedy}"):
        parse(value)


def test_a_command_refuses_a_mistake_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "workloads", "train", "run.yaml", "--out", "out"],
        cwd=tmp_path,
        env=os.environ | {"KERNELS": "rotari:reference", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("KERNELS=rotari:reference: ") and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_without_a_command_the_first_operation_refuses_it() -> None:
    code = "from kernels import switches; print('imported'); switches.fast('rotary')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"KERNELS": "rotari"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == "imported\n"
    assert "UnknownSwitch: KERNELS=rotari" in done.stderr


def test_the_paths_on_a_cpu() -> None:
    found = paths(CPU)
    assert found.pop("gemm") == ("mkl" if torch.backends.mkl.is_available() else "torch")
    assert set(OPERATIONS) - set(found) == {"bias_activation"}
    assert found.pop("attention") == "sdpa"
    assert set(found.values()) == {"torch"}


def test_the_paths_on_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"triton", "flash-attn"}
    monkeypatch.setattr("kernels.paths.find_spec", lambda name: name in installed or None)
    monkeypatch.setattr("kernels.paths._flash_serves", lambda device: "flash-attn" in installed)
    found = paths(CUDA)
    assert set(OPERATIONS) - set(found) == {"feed_forward", "rotary"}
    assert (found["attention"], found["cross_entropy"]) == ("flash", "triton")
    assert found["block_dense"] == "torch"
    installed.clear()
    assert (paths(CUDA)["attention"], paths(CUDA)["cross_entropy"]) == ("sdpa", "torch")


def test_what_is_turned_off_runs_as_the_reference() -> None:
    with switches.reference("attention", "block_dense"):
        found = paths(CPU)
    assert (found["attention"], found["block_dense"]) == ("reference", "reference")
    assert found["block_shuffle"] == "torch"
    with switches.reference():
        found = paths(CPU)
    del found["gemm"]
    assert set(found.values()) == {"reference"}
