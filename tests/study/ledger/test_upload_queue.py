"""Uploads that wait for the server: made in order, each once, while nobody waits for them."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

from study.ledger import upload_queue
from study.ledger.upload_queue import UploadQueue


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_queue, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(upload_queue, "LONGEST_PAUSE_SECONDS", 0.05)


class Receiver:
    """Takes numbers while it is `up`."""

    def __init__(self) -> None:
        self.up = threading.Event()
        self.taken: list[int] = []
        self.refused = 0

    def take(self, number: int) -> None:
        if not self.up.is_set():
            self.refused += 1
            raise MlflowException("no answer")
        self.taken.append(number)


def test_an_outage_loses_reorders_and_repeats_nothing() -> None:
    receiver, uploads = Receiver(), UploadQueue()
    began = time.monotonic()
    for number in range(50):
        uploads.add(partial(receiver.take, number))
    assert time.monotonic() - began < 0.5 and not uploads.idle
    while receiver.refused < 3:
        time.sleep(0.01)
    receiver.up.set()
    assert uploads.close(patience_seconds=5) == ""
    assert receiver.taken == list(range(50))


def test_a_receiver_that_stays_away_is_named_and_waited_for_only_so_long() -> None:
    receiver, uploads = Receiver(), UploadQueue()
    uploads.add(partial(receiver.take, 0))
    began = time.monotonic()
    assert uploads.close(patience_seconds=0.3) == "no answer"
    assert 0.3 <= time.monotonic() - began < 2


def test_what_will_never_be_taken_does_not_hold_up_the_rest() -> None:
    receiver, uploads = Receiver(), UploadQueue()
    receiver.up.set()

    def impossible() -> None:
        raise MlflowException("params cannot change", INVALID_PARAMETER_VALUE)

    uploads.add(impossible)
    uploads.add(partial(receiver.take, 1))
    assert uploads.close(patience_seconds=5) == "params cannot change"
    assert receiver.taken == [1]
