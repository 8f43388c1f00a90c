"""The device a run trains on, and the record of hardware and software it ran with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


def training_device() -> torch.device:
    """The process's CUDA device if there is one, otherwise the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def environment(device: torch.device) -> dict[str, Any]:
    """What the numbers depend on besides the configuration, for provenance."""
    import torch

    cuda = device.type == "cuda"
    return {
        "hardware": torch.cuda.get_device_name(device) if cuda else cpu_name(),
        "precision": "bf16 autocast" if cuda else "fp32",
        "kernel_path": "torch",
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "host": platform.node(),
    }


def cpu_name() -> str:
    """Model name and number of logical CPUs."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{models[0] if models else platform.processor()} ({os.cpu_count()} CPUs)"
