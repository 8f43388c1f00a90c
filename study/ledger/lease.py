"""The lease on a study: the study's own run in MLflow names the one driver that may run it.

A lock on the study's directory keeps two drivers of one folder apart. The lease keeps drivers apart
that share nothing but the ledger. MLflow cannot compare and swap, so a driver that has taken the
lease looks again some seconds later: of two that took it at once, the last to write has it.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from pydantic import TypeAdapter, ValidationError

from analysis.tables.tracking import LedgerError
from workloads.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "driver"
RENEWAL_SECONDS = 10.0
EXPIRY_SECONDS = 60.0


@dataclass(frozen=True)
class Holder:
    """The driver that has the lease; `seen` is when it last renewed it, in seconds since 1970.

    `machine` and `process` tell whether it is a live process of this machine.
    """

    host: str
    machine: str
    pid: int
    process: str
    seen: float

    @classmethod
    def this(cls) -> Self:
        """Return this process, seen now."""
        pid = os.getpid()
        return cls(platform.node(), _machine(), pid, _process(pid), time.time())

    @property
    def alive(self) -> bool:
        """Whether it may still be driving.

        A process of this machine is looked up. One of another machine is believed to be alive
        until it has not renewed the lease for EXPIRY_SECONDS.
        """
        if self.machine and self.machine == _machine():
            return self.process == _process(self.pid)
        return time.time() - self.seen < EXPIRY_SECONDS

    def is_same_process(self, other: Holder) -> bool:
        """Return whether both are one process, whenever they were seen."""
        return (self.machine, self.pid, self.process) == (other.machine, other.pid, other.process)


HOLDER = TypeAdapter(Holder)


def holder(tags: Mapping[str, str]) -> Holder | None:
    """Return the driver that the tags of a study's own run name; None if nobody has the lease.

    Raises LedgerError for a tag that no driver of this version wrote.
    """
    try:
        return HOLDER.validate_json(tags[TAG]) if tags.get(TAG) else None
    except ValidationError:
        raise LedgerError(
            f"the tag `{TAG}` of the study's own run names no driver: {tags[TAG]!r}",
            "delete it in MLflow, once no driver runs the study",
        ) from None


class Lease:
    """This process's lease on a study, kept as a tag of the study's own run."""

    def __init__(self, client: MlflowClient, parent_id: str, study: str) -> None:
        self._client, self._parent_id, self._study = client, parent_id, study
        self._next_renewal = 0.0

    def take(self) -> None:
        """Take the lease. Raises InputError, naming the other, while another driver is alive."""
        self.check()
        self._client.set_tag(self._parent_id, TAG, json.dumps(asdict(Holder.this())))

    def check(self) -> None:
        """Raise InputError when another live driver has the lease."""
        other = holder(self._client.get_run(self._parent_id).data.tags)
        if other and other.alive and not other.is_same_process(Holder.this()):
            raise InputError(
                f"study {self._study} is run by another driver: pid {other.pid} on {other.host}, "
                f"last seen {max(0.0, time.time() - other.seen):.0f} s ago; wait for it, or stop it"
            )

    def renew(self) -> None:
        """Renew the lease if that is due. Raises InputError when another driver took it."""
        if time.monotonic() >= self._next_renewal:
            self.take()
            self._next_renewal = time.monotonic() + RENEWAL_SECONDS

    def release(self) -> None:
        """Give the lease up. Raises InputError when another driver took it."""
        self.check()
        self._client.set_tag(self._parent_id, TAG, "")


def _machine() -> str:
    """Return what names this machine until it is restarted; empty where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """Return when the process started, in the kernel's ticks; empty if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    # Fields after the command's name, which is in parentheses and may hold anything.
    return stat.rpartition(")")[2].split()[19]
