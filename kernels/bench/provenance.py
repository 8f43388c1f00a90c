"""What stands beside every measurement: the commit, the sources, the machine and its software."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from kernels.machine import device_name, software
from kernels.paths import kernel_path

KERNELS = Path(__file__).parents[1]
# What measures, and is not measured.
APART = ("bench", "__main__.py")


def provenance(device: torch.device) -> dict[str, Any]:
    """All of it for one measurement of the kernels, as they are set now."""
    return {
        "hardware": device_name(device),
        "driver": _driver() if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "kernel_path": kernel_path(device),
        "source": source_hash(),
        "versions": software() | {"platform": platform.platform()},
        **checkout(),
    }


def checkout() -> dict[str, Any]:
    """The commit that this code is of, and whether files differ from it, but for those that a
    benchmark appends to; None outside of git."""
    git = ("git", "-C", str(KERNELS))
    changes = _output(*git, "status", "--porcelain", "--", ":/", ":(exclude)bench/results")
    return {"commit": _output(*git, "rev-parse", "HEAD"), "uncommitted_changes": bool(changes)}


def source_hash(folder: Path = KERNELS) -> str:
    """12 hexadecimal digits of the kernels' sources, without the benchmarks'."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        place = path.relative_to(folder)
        if place.parts[0] not in APART:
            digest.update(f"{place.as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def _driver() -> str | None:
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def _output(*command: str) -> str | None:
    """What the command prints; None where it fails, or there is none of that name."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
