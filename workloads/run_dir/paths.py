"""The names of the files and folders in a run's directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

METRICS_FILE, RESULT_FILE, OWNER_FILE = "metrics.jsonl", "result.json", "fingerprint"
# Names another run and its step, from whose checkpoint this run went on.
DONOR_FILE = "continued_from"
CHECKPOINT_FOLDER = "checkpoints"


def checkpoint_file(folder: Path, step: int) -> Path:
    """Return the path of the checkpoint of `step` in the run's CHECKPOINT_FOLDER."""
    return folder / f"step-{step:08d}.safetensors"


def saved_steps(folder: Path) -> list[int]:
    """Return the steps that have a checkpoint, sound or damaged, the newest first."""
    paths = folder.glob("step-*.safetensors")
    return sorted((int(path.stem.removeprefix("step-")) for path in paths), reverse=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at `target`, too, whole or not at all; as a link where the disk allows it."""
    temporary = target.with_name(f"{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # Not every shared file system has links.
        shutil.copy2(source, temporary)
    temporary.replace(target)
