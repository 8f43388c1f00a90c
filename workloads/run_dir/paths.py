"""The names of the files and folders in a run's directory."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

METRICS_FILE, RESULT_FILE, OWNER_FILE = "metrics.jsonl", "result.json", "fingerprint"


# Names the run, and its step, whose checkpoint this one went on from.
DONOR_FILE = "continued_from"


CHECKPOINT_FOLDER = "checkpoints"


def checkpoint_file(folder: Path, step: int) -> Path:
    """Where the checkpoint of `step` is; `folder` is the run's CHECKPOINT_FOLDER."""
    return folder / f"step-{step:08d}.safetensors"


def saved_steps(folder: Path) -> list[int]:
    """The steps that there are checkpoints of, sound or not, the newest first."""
    paths = folder.glob("step-*.safetensors")
    return sorted((int(path.stem.removeprefix("step-")) for path in paths), reverse=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Put a file at `target` too, whole or not at all, and without a second copy if that goes."""
    temporary = target.with_name(f"{target.name}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:  # not every shared file system has links
        shutil.copy2(source, temporary)
    temporary.replace(target)
