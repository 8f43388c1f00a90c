"""The device a run trains on, and the record of hardware and software it ran with."""

from __future__ import annotations

import platform
import resource
from typing import TYPE_CHECKING, Any

from kernels.machine import cpu_name, software
from workloads.cost.accelerators import PEAK_FLOPS_PER_SECOND

if TYPE_CHECKING:
    import torch


def training_device() -> torch.device:
    """Return the process's CUDA device if there is one, otherwise the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def environment(device: torch.device, parameters: str = "fp32") -> dict[str, Any]:
    """Return what the numbers depend on besides the configuration, for provenance: of a run whose
    weights have this type."""
    import torch

    from kernels.paths import kernel_path

    cuda = device.type == "cuda"
    return {
        "hardware": torch.cuda.get_device_name(device) if cuda else cpu_name(),
        "precision": "bf16 autocast" if cuda and parameters == "fp32" else parameters,
        "kernel_path": kernel_path(device),
        "num_threads": torch.get_num_threads(),
        **software(),
        "host": platform.node(),
    }


def peak_flops_per_second(device: torch.device) -> float | None:
    """Return the device's dense bf16 peak, None where it is unknown, as it is of every CPU."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((peak for part, peak in PEAK_FLOPS_PER_SECOND.items() if part in name), None)


def peak_memory_bytes(device: torch.device) -> int:
    """Return the most bytes held so far: by tensors on a CUDA device, by the process on a CPU."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
