"""What a launch records in MLflow: uploads that nothing waits for, and the study's lease."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

from analysis.tables import tracking
from study.ledger import store
from study.ledger.lease import Lease
from study.ledger.provenance import capture
from study.ledger.reader import Record
from study.ledger.upload_queue import UploadQueue
from study.ledger.writer import Tracker
from study.plan.planner import Point, Study
from study.running import flops_cap
from workloads.errors import InputError
from workloads.run_dir.paths import DONOR_FILE
from workloads.run_dir.result import Result

# How long a launch that has ended waits for a server that does not answer.
PATIENCE_SECONDS = 30.0


class Recorder:
    """The record of one launch; no other driver can run the study meanwhile.

    Raises LedgerError when the ledger cannot be used, InputError when another driver has the
    study's lease.
    `lost_lease` is set when another driver took the lease later.
    """

    def __init__(self, study: Study, records: dict[str, Record]) -> None:
        uri = store.tracking_uri(study.runs_dir)
        self._study, self.records = study, records
        self.lost_lease: InputError | None = None
        with tracking.explained(uri):
            self._tracker = Tracker(uri, study.name, study.runs_dir, study.spec.text, capture())
            self._lease = Lease(self._tracker.client, self._tracker.parent_id, study.name)
            self._lease.take()
        self._uploads = UploadQueue()

    def start(self, point: Point) -> None:
        """Record that the point trains from now on."""
        donor = self._study.run_dir(point) / DONOR_FILE
        continued_from = donor.read_text(encoding="utf-8") if donor.exists() else ""
        record = self.records.get(point.id)
        self._uploads.add(partial(self._tracker.start_point, point, record, continued_from))
        self._upload_rows(point)

    def upload_new_rows(self, running: Iterable[Point]) -> None:
        """Upload what these points recorded since the last call, if no upload is waiting."""
        if self._uploads.idle:
            for point in running:
                self._upload_rows(point)
            self._uploads.add(self._renew_lease)

    def end(self, point: Point, result: Result) -> None:
        """Record that the point has ended with this result."""
        self._upload_rows(point)
        # An attempt that a scheduler stopped may have trained on beyond its last row.
        executed = max(result.executed_flops, flops_cap.executed(self._study, point))
        ended = replace(result, executed_flops=executed)
        self._uploads.add(partial(self._tracker.end_point, point, ended))

    def fail(self, point: Point, cause: str) -> None:
        """Record that no attempt at the point is left."""
        self._upload_rows(point)
        flops_cap.release_if_dead(self._study.run_dir(point))
        executed = flops_cap.executed(self._study, point)
        self._uploads.add(partial(self._tracker.fail_point, point, cause, executed))

    def interrupt(self, point: Point) -> None:
        """Record that the study was stopped before the point ended."""
        self._upload_rows(point)
        executed = flops_cap.executed(self._study, point)
        self._uploads.add(partial(self._tracker.interrupt_point, point, executed))

    def close(self, complete: bool) -> str:
        """Upload what is left and give the lease up; return why, if that did not succeed."""
        if self.lost_lease:
            return str(self.lost_lease)
        self._uploads.add(partial(self._tracker.close, complete))
        self._uploads.add(self._lease.release)
        return self._uploads.close(PATIENCE_SECONDS)

    def _upload_rows(self, point: Point) -> None:
        run_dir = self._study.run_dir(point)
        self._uploads.add(partial(self._tracker.upload_rows, point, run_dir))

    def _renew_lease(self) -> None:
        try:
            self._lease.renew()
        except InputError as error:
            self.lost_lease = error
            self._uploads.abandon()
