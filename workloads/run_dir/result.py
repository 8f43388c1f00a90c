"""How a run ended: `result.json` in its directory."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from workloads.run_dir.paths import RESULT_FILE

# `stopped` is by a scheduler, which compared the run with others of its sweep.
EndStatus = Literal["finished", "diverged", "stopped"]


@dataclass(frozen=True)
class Result:
    """How a run ended. Losses in nats per token.

    `train_seconds` is the training loop's own time over all its lives; `resumed_step` is the step
    after which the last life began, 0 for a run that was never killed. `executed_flops` counts
    every life's training FLOPs, `train_flops` those of the steps that stand, and `hardware_flops`
    the products that those steps really carry out. `identity_version` names the rules by which the
    run's identity was made (`config.fingerprint`).
    """

    status: EndStatus
    fingerprint: str
    step: int
    tokens: int
    train_flops: int
    train_seconds: float
    resumed_step: int
    val_loss: float | None = None
    bits_per_byte: float | None = None
    executed_flops: int = 0
    hardware_flops: int = 0
    environment: dict[str, Any] = field(default_factory=dict)
    identity_version: int = 1

    def write(self, run_dir: Path) -> None:
        """Write `result.json`, whole or not at all."""
        path = run_dir / RESULT_FILE
        temporary = path.with_suffix(".tmp")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def read_result(run_dir: Path, fingerprint: str) -> Result | None:
    """The result of the run with this fingerprint, if it has ended."""
    path = run_dir / RESULT_FILE
    if not path.exists():
        return None
    result = Result(**json.loads(path.read_text(encoding="utf-8")))
    return result if result.fingerprint == fingerprint else None
