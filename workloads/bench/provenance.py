"""What stands beside every measurement: machine, versions and commit."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import torch

from workloads.hardware import environment


def provenance(device: torch.device) -> dict[str, Any]:
    """The device and software, the commit, and whether files differ from it."""
    return {
        "environment": environment(device),
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain")),
    }


def _git(*arguments: str) -> str | None:
    """What git answers about the checkout this file lies in; None where there is none."""
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
