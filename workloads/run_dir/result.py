"""How a run ended: `result.json` in its directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from kernels.files import write_atomically
from workloads.run_dir.paths import RESULT_FILE

# A scheduler that compares runs of a sweep has `stopped` a run before its end.
EndStatus = Literal["finished", "diverged", "stopped"]


@dataclass(frozen=True)
class Result:
    """The end of a run. Losses in nats per token.

    `train_seconds` is the training loop's own time over all attempts; `resumed_step` is the step
    after which the last attempt began, 0 for a run that was never interrupted. `executed_flops`
    counts the training FLOPs of every attempt, `train_flops` those of the steps that stand, and
    `hardware_flops` the matrix products that those steps carry out. `identity_version` names the
    rules by which the run's identity was made (`config.fingerprint`). `clock_seconds` are
    those of its budget that a run has spent which a clock ends.
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
    clock_seconds: float | None = None

    def write(self, run_dir: Path) -> None:
        """Write `result.json`, whole or not at all, and on the disk when this returns."""
        write_atomically(run_dir / RESULT_FILE, json.dumps(asdict(self), indent=1), durable=True)


def read_result(run_dir: Path, fingerprint: str) -> Result | None:
    """Return the result of the run with this fingerprint; None where it has not ended."""
    path = run_dir / RESULT_FILE
    if not path.exists():
        return None
    result = Result(**json.loads(path.read_text(encoding="utf-8")))
    return result if result.fingerprint == fingerprint else None
