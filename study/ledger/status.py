"""How a point stands: the words that plan, ledger, commands and tables share."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """How a point stands. `queued` is planned only; the others are recorded."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Its study was stopped, or its driver died: the next launch goes on with it."""
    FINISHED = "finished"
    DIVERGED = "diverged"
    """Its loss or gradient was not finite."""
    STOPPED = "stopped"
    """By a scheduler, which compared it with others of its sweep."""
    FAILED = "failed"
    """All its attempts were in vain, or it was refused."""


# Training such a point again could only repeat it.
ENDED = frozenset({Status.FINISHED, Status.DIVERGED, Status.STOPPED})
# A run that a scheduler stopped says nothing outside its sweep.
ADOPTABLE = frozenset({Status.FINISHED, Status.DIVERGED})
MLFLOW_STATUS = {
    Status.RUNNING: "RUNNING",
    Status.INTERRUPTED: "KILLED",
    Status.FINISHED: "FINISHED",
    Status.DIVERGED: "FAILED",
    Status.STOPPED: "KILLED",
    Status.FAILED: "FAILED",
}
