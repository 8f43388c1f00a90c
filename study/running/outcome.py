"""What one launch of a study came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from study.ledger.reader import Record
from study.plan.planner import Study
from workloads.run_dir.result import Result


@dataclass
class Outcome:
    """What one launch came to.

    `study` has the recorded samples of its searches among its points, and `records` are what the
    ledger held when the launch began. `slots` is how many points trained at a time, 0 if none was
    due; `results` are those of this launch, by point id.

    `earlier_seconds` is the training time that these points had recorded before the launch. Steps
    that were repeated after a kill count once. `uploaded` counts the results of earlier launches
    that MLflow lacked; `not_uploaded` says why it still lacks some. `stopped` is true when a signal
    stopped the launch, when its GPU-hours were spent (`hours_spent` then says so), or when it was
    cut short (`cut_short` then says why).
    """

    study: Study
    records: dict[str, Record]
    slots: int = 0
    results: dict[str, Result] = field(default_factory=dict)
    uploaded: int = 0
    not_uploaded: str = ""
    stopped: bool = False
    hours_spent: str = ""
    cut_short: str = ""
    earlier_seconds: float = 0.0

    @property
    def changed_nothing(self) -> bool:
        """Whether the ledger still holds `records` alone."""
        return not (self.slots or self.uploaded)

    @property
    def train_seconds(self) -> float:
        """The training loops' own time within this launch."""
        return sum(r.train_seconds for r in self.results.values()) - self.earlier_seconds
