"""The words for how a point stands are the same wherever they are used."""

from __future__ import annotations

from typing import get_args

from mlflow.entities import RunStatus

from analysis.tables.entering import EXCLUDED_STATUS
from study.display.tables import STYLES
from study.ledger.status import ADOPTABLE, ENDED, MLFLOW_STATUS, Status
from workloads.run_dir.result import EndStatus


def test_a_run_ends_in_the_words_that_the_trainer_and_the_scheduler_write() -> None:
    assert set(get_args(EndStatus)) == ENDED
    assert ADOPTABLE <= ENDED


def test_every_recorded_status_has_a_word_of_mlflows() -> None:
    assert set(Status) - MLFLOW_STATUS.keys() == {Status.QUEUED}
    assert all(RunStatus.from_string(word) for word in MLFLOW_STATUS.values())


def test_the_tables_of_analysis_and_of_the_display_know_these_words() -> None:
    assert {"finished", *EXCLUDED_STATUS} == set(Status)
    assert STYLES.keys() <= set(Status)
