"""What one launch of a study brought to an end."""

from __future__ import annotations

from dataclasses import dataclass, field

from workloads.run_dir.result import Result


@dataclass
class Outcome:
    """What one launch brought to an end, by point id, `slots` points at a time; 0 if none was due.

    `earlier_seconds` is the training time that these points had on record when it began; work
    repeated after a kill does not count a second time. `delivered` counts results of earlier
    launches that MLflow had not got; `undelivered` is why it lacks some still. `stopped` is true
    when it was told to stop, or stopped because its GPU-hours were spent: `out_of_hours` says so.
    """

    slots: int = 0
    results: dict[str, Result] = field(default_factory=dict)
    delivered: int = 0
    undelivered: str = ""
    stopped: bool = False
    out_of_hours: str = ""
    earlier_seconds: float = 0.0

    @property
    def train_seconds(self) -> float:
        """The training loops' own time within this launch."""
        return sum(r.train_seconds for r in self.results.values()) - self.earlier_seconds
