"""The machine that a process runs on, and the software whose numbers depend on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def cpu_name() -> str:
    """Model name and number of logical CPUs."""
    return f"{_cpuinfo('model name') or platform.processor()} ({os.cpu_count()} CPUs)"


def instruction_sets() -> str:
    """Those that the system lets programs use, which CPUs of one name may differ in: a virtual
    machine can lack some. Empty where they are not known."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def _cpuinfo(field: str) -> str:
    """What Linux says of the first CPU, or nothing."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith(field))
    return next(found, "")


def device_name(device: torch.device) -> str:
    """The CUDA device's name, or the CPU's."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def software() -> dict[str, str | None]:
    """Versions of what the numbers are computed with; None where there is none."""
    import torch

    try:
        triton = version("triton")
    except PackageNotFoundError:
        triton = None
    return {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "triton": triton,
        "python": platform.python_version(),
    }
