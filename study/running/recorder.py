"""What a launch records in MLflow, sent without waiting for it; and the study's lease meanwhile."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from study.ledger import reader
from study.ledger.lease import Lease
from study.ledger.provenance import capture
from study.ledger.reader import Record
from study.ledger.upload_queue import Courier
from study.ledger.writer import Tracker
from study.plan.planner import Point, Study
from study.running import flops_cap
from workloads.errors import InputError
from workloads.run_dir.paths import DONOR_FILE
from workloads.run_dir.result import Result

# How long a launch that has ended waits for a server that does not answer.
PATIENCE_SECONDS = 30.0


class Recorder:
    """Records one launch of a study, which no other driver can run meanwhile.

    Raises InputError when MLflow does not answer or another driver holds the study.
    """

    def __init__(self, study: Study, records: dict[str, Record]) -> None:
        uri = reader.tracking_uri(study.runs_dir)
        self._study, self.records = study, records
        self.lost: InputError | None = None
        with reader.answering(uri):
            self._tracker = Tracker(uri, study.name, study.runs_dir, study.spec.text, capture())
            self._lease = Lease(self._tracker.client, self._tracker.parent_id, study.name)
            self._lease.take()
        self._courier = Courier()

    def start(self, point: Point) -> None:
        """The point is being trained from now on."""
        donor = self._study.run_dir(point) / DONOR_FILE
        continued_from = donor.read_text(encoding="utf-8") if donor.exists() else ""
        record = self.records.get(point.id)
        self._courier.send(partial(self._tracker.start_point, point, record, continued_from))
        self._send_rows(point)

    def keep_up(self, running: Iterable[Point]) -> None:
        """Send what these points recorded since the last call, once all before is delivered."""
        if self._courier.idle:
            for point in running:
                self._send_rows(point)
            self._courier.send(self._beat)

    def end(self, point: Point, result: Result) -> None:
        """The point has ended, with this result."""
        self._send_rows(point)
        # A life that was stopped from outside may have gone on beyond its last row.
        executed = max(result.executed_flops, flops_cap.executed(self._study, point))
        ended = replace(result, executed_flops=executed)
        self._courier.send(partial(self._tracker.end_point, point, ended))

    def fail(self, point: Point, cause: str) -> None:
        """No attempt at the point is left."""
        self._send_rows(point)
        flops_cap.release(self._study.run_dir(point))
        executed = flops_cap.executed(self._study, point)
        self._courier.send(partial(self._tracker.fail_point, point, cause, executed))

    def interrupt(self, point: Point) -> None:
        """The study was stopped before the point ended."""
        self._send_rows(point)
        executed = flops_cap.executed(self._study, point)
        self._courier.send(partial(self._tracker.interrupt_point, point, executed))

    def close(self, complete: bool) -> str:
        """Deliver what is left and let the study go; returns why if that did not succeed."""
        if self.lost:
            return str(self.lost)
        self._courier.send(partial(self._tracker.close, complete))
        self._courier.send(self._lease.release)
        return self._courier.close(PATIENCE_SECONDS)

    def _send_rows(self, point: Point) -> None:
        self._courier.send(partial(self._tracker.deliver, point, self._study.run_dir(point)))

    def _beat(self) -> None:
        try:
            self._lease.beat()
        except InputError as error:
            self.lost = error
            self._courier.abandon()
