"""The ledger is made whole or not at all, in any folder; what people did to it is one line."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from mlflow import MlflowClient

from analysis.tables.runs import load_mlflow
from study.ledger import reader, store
from study.plan import planner
from study.plan.planner import Study
from tests.study.launching import ROOT, in_process, records_of, wait_for
from tests.study.recording import record

MAKING = """
import sys
from study.ledger import store
with store.opened(store.tracking_uri(__import__("pathlib").Path(sys.argv[1]))):
    pass
"""


@pytest.fixture(autouse=True)
def _own_ledger(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def making(runs: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", MAKING, str(runs)], cwd=ROOT)


def experiments(runs: Path) -> list[str]:
    with closing(sqlite3.connect(runs / store.FILE)) as connection:
        return [name for (name,) in connection.execute("SELECT name FROM experiments")]


def test_a_maker_that_is_killed_leaves_nothing_that_is_taken_for_a_ledger(tmp_path: Path) -> None:
    unfinished = tmp_path / f".{store.FILE}.unfinished"
    for seconds in (0.0, 0.2):
        maker = making(tmp_path)
        wait_for(unfinished.exists)
        time.sleep(seconds)
        maker.send_signal(signal.SIGKILL)
        maker.wait()
        assert not (tmp_path / store.FILE).exists()
        assert reader.read(store.tracking_uri(tmp_path), "any") == {}
    assert making(tmp_path).wait() == 0
    assert experiments(tmp_path) == ["Default"]
    assert {path.name for path in tmp_path.iterdir()} == {store.FILE, ".lock"}


def test_two_that_make_one_ledger_at_once_both_get_it(tmp_path: Path) -> None:
    makers = [making(tmp_path) for _ in range(2)]
    assert [maker.wait() for maker in makers] == [0, 0]
    assert experiments(tmp_path) == ["Default"]


def test_any_folder_holds_a_ledger_and_nothing_is_left_beside_it(
    write_spec: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, place = "研究 a#1?x=%20t", tmp_path / "place"
    place.mkdir()
    monkeypatch.chdir(place)
    spec = write_spec("anywhere")
    study = planner.load(spec, Path(folder))
    record(study, study.points)
    assert {r.status for r in records_of(study.runs_dir, study.name).values()} == {"finished"}
    assert len(load_mlflow(store.tracking_uri(study.runs_dir), study.name)) == 2
    out = place / "exported"
    in_process("export", spec, out, "--runs", folder)
    assert (out / "spec.yaml").read_text() == study.spec.text
    assert {path.name for path in place.iterdir()} == {folder, "exported"}
    made = {path.name for path in (place / folder).iterdir()}
    assert made == {store.FILE, store.ARTIFACTS, ".lock", study.name}


@pytest.fixture
def recorded(write_spec: Callable[..., Path], tmp_path: Path) -> Study:
    """A study of two recorded points, whose ledger a test may spoil."""
    study = planner.load(write_spec("edited"), tmp_path / "runs")
    record(study, study.points)
    return study


def client_of(study: Study) -> tuple[MlflowClient, str]:
    """A client of the study's ledger, and the id of its experiment."""
    client = MlflowClient(store.tracking_uri(study.runs_dir))
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    return client, experiment.experiment_id


def assert_one_line(study: Study, words: str, *commands: str) -> None:
    for command in commands:
        out = ("out",) if command == "export" else ()
        done = in_process(command, study.spec.path, *out, "--runs", study.runs_dir, check=False)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, (command, done.stderr)
        assert words in done.stderr, (command, done.stderr)


ALL = ("plan", "status", "run", "report", "export", "ui")


def test_a_deleted_experiment_is_named_and_the_cure_brings_it_back(recorded: Study) -> None:
    client, number = client_of(recorded)
    client.delete_experiment(number)
    assert_one_line(recorded, f"experiments restore --experiment-id {number}", *ALL)
    client.restore_experiment(number)
    assert (
        "2 finished" in in_process("status", recorded.spec.path, "--runs", recorded.runs_dir).stdout
    )


def test_a_renamed_experiment_is_named(recorded: Study) -> None:
    client, number = client_of(recorded)
    client.rename_experiment(number, "other")
    assert_one_line(recorded, "was renamed to other; rename it back", *ALL)
    uri = store.tracking_uri(recorded.runs_dir)
    with pytest.raises(store.tracking.LedgerError, match="was renamed to other"):
        reader.read_through_client(uri, recorded.name)


def test_a_status_that_is_none_is_named_and_the_run_can_be_dropped(recorded: Study) -> None:
    point = recorded.points[0].id
    client, _ = client_of(recorded)
    run_id = records_of(recorded.runs_dir, recorded.name)[point].run_id
    client.set_tag(run_id, "status", "Done!")
    words = f"run {run_id} of point {point} has the status 'Done!', which is none of queued"
    assert_one_line(recorded, words, "plan", "status", "run", "report", "export")
    doctor = in_process("doctor", recorded.spec.path, "--runs", recorded.runs_dir, check=False)
    assert doctor.returncode == 1 and words in doctor.stdout
    client.delete_tag(run_id, "status")
    assert_one_line(recorded, "has no tag status", "plan", "status", "run")
    in_process("drop", recorded.spec.path, point, "--runs", recorded.runs_dir)
    assert (
        "1 finished" in in_process("status", recorded.spec.path, "--runs", recorded.runs_dir).stdout
    )


@pytest.mark.parametrize("name", ["fingerprint", "identity"])
def test_an_identity_that_someone_deleted_is_named(recorded: Study, name: str) -> None:
    client, _ = client_of(recorded)
    for found in records_of(recorded.runs_dir, recorded.name).values():
        client.delete_tag(found.run_id, name)
        client.set_tag(found.run_id, "fingerprint", "0" * 16) if name == "identity" else None
    assert_one_line(recorded, f"has no tag {name}", "plan", "run", "report")


def test_a_study_whose_own_run_was_deleted_reads_on_and_says_what_export_lacks(
    recorded: Study,
) -> None:
    client, number = client_of(recorded)
    (own,) = client.search_runs([number], reader.OF_STUDY)
    client.delete_run(own.info.run_id)
    for command in ("plan", "status", "report"):
        in_process(command, recorded.spec.path, "--runs", recorded.runs_dir)
    assert_one_line(recorded, f"runs restore --run-id {own.info.run_id}", "export")


def test_a_driver_that_is_none_is_named(recorded: Study) -> None:
    client, number = client_of(recorded)
    (own,) = client.search_runs([number], reader.OF_STUDY)
    client.set_tag(own.info.run_id, "driver", "me")
    for found in records_of(recorded.runs_dir, recorded.name).values():
        client.set_tag(found.run_id, "status", "running")
    assert_one_line(recorded, "names no driver: 'me'", "plan", "status", "report")


def test_a_run_that_was_dropped_stays_so_when_its_experiment_is_restored(recorded: Study) -> None:
    point = recorded.points[0]
    in_process("drop", recorded.spec.path, point.id, "--runs", recorded.runs_dir)
    record(recorded, [point])
    new = records_of(recorded.runs_dir, recorded.name)[point.id].run_id
    client, number = client_of(recorded)
    client.delete_experiment(number)
    client.restore_experiment(number)
    assert records_of(recorded.runs_dir, recorded.name)[point.id].run_id == new


@pytest.mark.parametrize("content", [b"", b"garbage\n" * 512])
def test_an_unreadable_ledger_is_one_line_and_a_problem_for_the_doctor(
    content: bytes, write_spec: Callable[..., Path], tmp_path: Path
) -> None:
    spec, ledger = write_spec("unreadable"), tmp_path / "runs" / store.FILE
    ledger.parent.mkdir()
    ledger.write_bytes(content)
    study = planner.load(spec, ledger.parent)
    assert_one_line(study, str(ledger), "plan", "status", "run", "report", "export", "ui")
    done = in_process("doctor", spec, "--runs", ledger.parent, check=False)
    assert done.returncode == 1 and f"problem  MLflow: {ledger} is " in done.stdout
    assert ledger.read_bytes() == content
