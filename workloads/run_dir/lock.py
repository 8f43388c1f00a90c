"""Who may use a directory: the run that claimed it.

A directory belongs to one run: the first to train there leaves its fingerprint, and other runs are
refused. `workloads.files.exclusive` keeps two processes of one run apart.
"""

from __future__ import annotations

from pathlib import Path

from kernels.files import write_atomically
from workloads.errors import InputError
from workloads.run_dir.paths import OWNER_FILE


def claim(run_dir: Path, fingerprint: str) -> None:
    """Claim the directory for this run. Raises InputError when it belongs to another run."""
    path = run_dir / OWNER_FILE
    owner = path.read_text(encoding="utf-8") if path.exists() else ""
    if not owner:
        write_atomically(path, fingerprint)
    elif owner != fingerprint:
        raise InputError(
            f"{run_dir} belongs to run {owner}, not {fingerprint}; choose another directory or "
            "delete this one"
        )
