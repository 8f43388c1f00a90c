"""The provenance of a measurement: the commit, the sources, the machine and its software."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import torch

from kernels.machine import KERNELS, device_name, software, source_hash
from kernels.paths import kernel_path


def provenance(device: torch.device) -> dict[str, Any]:
    """Return the provenance of a measurement that is made now on the device."""
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
    """Return the commit of this code and whether files differ from it; both None outside of git.

    The results files do not count, because the benchmarks append to them. Git is asked once a
    process, because it takes longer than many measurements.
    """
    return dict(_checkout(KERNELS))


@cache
def _checkout(folder: Path) -> dict[str, Any]:
    git = ("git", "-C", str(folder))
    changes = _output(*git, "status", "--porcelain", "--", ":/", ":(exclude)bench/results")
    differs = None if changes is None else bool(changes)
    return {"commit": _output(*git, "rev-parse", "HEAD"), "uncommitted_changes": differs}


@cache
def _driver() -> str | None:
    return _output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def _output(*command: str) -> str | None:
    """Return what the command prints; None if it fails or does not exist."""
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
