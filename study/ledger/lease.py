"""One driver a study, wherever its runs folder is: the study's own run in MLflow names it.

The lock on the study's directory keeps two drivers of one folder apart; this keeps those apart
that share nothing but the ledger. MLflow has no compare-and-swap: whoever takes the lease looks
again some seconds later, and of two that took it at once the last to write is the driver.
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

from workloads.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

TAG = "driver"
BEAT_SECONDS = 10.0
EXPIRY_SECONDS = 60.0


@dataclass(frozen=True)
class Holder:
    """The driver that holds a study; `seen` is when it last said so, in seconds since 1970.

    `machine` and `process` tell whether it is a live process of this machine.
    """

    host: str
    machine: str
    pid: int
    process: str
    seen: float

    @classmethod
    def this(cls) -> Self:
        """This process, now."""
        pid = os.getpid()
        return cls(platform.node(), _machine(), pid, _process(pid), time.time())

    @property
    def alive(self) -> bool:
        """Whether it may still be driving: on this machine it is looked up, elsewhere believed."""
        if self.machine and self.machine == _machine():
            return self.process == _process(self.pid)
        return time.time() - self.seen < EXPIRY_SECONDS

    def same(self, other: Holder) -> bool:
        """Whether both are one process."""
        return (self.machine, self.pid, self.process) == (other.machine, other.pid, other.process)


def holder(tags: Mapping[str, str]) -> Holder | None:
    """The driver that the tags of a study's own run name; None when nobody holds it."""
    return Holder(**json.loads(tags[TAG])) if tags.get(TAG) else None


class Lease:
    """This process's hold on a study, as a tag of the study's own run."""

    def __init__(self, client: MlflowClient, parent_id: str, study: str) -> None:
        self._client, self._parent_id, self._study = client, parent_id, study
        self._next_beat = 0.0

    def take(self) -> None:
        """Take the study. Raises InputError, naming the other, when another driver is alive."""
        self.check()
        self._client.set_tag(self._parent_id, TAG, json.dumps(asdict(Holder.this())))

    def check(self) -> None:
        """Raise InputError when another live driver holds the study."""
        other = holder(self._client.get_run(self._parent_id).data.tags)
        if other and other.alive and not other.same(Holder.this()):
            raise InputError(
                f"study {self._study} is run by another driver: pid {other.pid} on {other.host}, "
                f"last seen {max(0.0, time.time() - other.seen):.0f} s ago; wait for it, or stop it"
            )

    def beat(self) -> None:
        """Say, where it is due, that the driver lives. Raises InputError when another took over."""
        if time.monotonic() >= self._next_beat:
            self.take()
            self._next_beat = time.monotonic() + BEAT_SECONDS

    def release(self) -> None:
        """Let the study go, if it is still this process's."""
        self.check()
        self._client.set_tag(self._parent_id, TAG, "")


def _machine() -> str:
    """Names this machine's pids until it is restarted; empty where there is no /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process(pid: int) -> str:
    """When the process with this pid started, in the kernel's ticks; empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return ""
    # Fields after the command's name, which is in parentheses and may hold anything.
    return stat.rpartition(")")[2].split()[19]
