"""The machine that a process runs on, and the software that its numbers depend on."""

from __future__ import annotations

import hashlib
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

KERNELS = Path(__file__).parent
# Sources that are not measured; changing them makes no measurement stale.
UNMEASURED = ("bench", "__main__.py", "command_line.py", "files.py", "nearest.py")


def cpu_name() -> str:
    """Return the CPU's model name and its number of logical CPUs."""
    return f"{_cpuinfo('model name') or platform.processor()} ({os.cpu_count()} CPUs)"


def instruction_sets() -> str:
    """Return the instruction sets that programs may use, or an empty string if unknown.

    CPUs of the same model name may differ in them: a virtual machine can hide some.
    """
    return _cpuinfo("flags") or _cpuinfo("Features")


def _cpuinfo(field: str) -> str:
    """Return a field of the first CPU in Linux's /proc/cpuinfo, or an empty string."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    found = (line.split(":", 1)[1].strip() for line in lines if line.startswith(field))
    return next(found, "")


def device_name(device: torch.device) -> str:
    """Return the name of the CUDA device, or of the CPU."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def software() -> dict[str, str | None]:
    """Return the versions of torch, CUDA, Triton and Python; None for what is not installed."""
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


def source_hash(folder: Path = KERNELS) -> str:
    """Return 12 hexadecimal digits of a hash of the kernels' sources, without the benchmarks."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        place = path.relative_to(folder)
        if place.parts[0] not in UNMEASURED:
            digest.update(f"{place.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
