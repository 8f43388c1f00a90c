"""One driver a study, by the ledger alone: two drivers' runs folders have nothing in common."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from study.ledger import lease, reader
from study.ledger.lease import Holder, Lease, holder
from study.plan import planner
from tests.study.launching import SPEC, in_process
from workloads.errors import InputError


@pytest.fixture
def parent(tmp_path: Path) -> tuple[MlflowClient, str]:
    """A study's own run in a real ledger."""
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tags = {"role": "study", "study": "leased"}
    run = client.create_run(client.create_experiment("leased"), tags=tags)
    return client, run.info.run_id


def put(parent: tuple[MlflowClient, str], driver: Holder) -> None:
    client, run_id = parent
    client.set_tag(run_id, lease.TAG, json.dumps(asdict(driver)))


def elsewhere(seconds_ago: float) -> Holder:
    """A driver on another machine that was last seen so long ago."""
    this = Holder.this()
    return replace(this, host="far", machine="another", seen=this.seen - seconds_ago)


def test_taken_and_let_go(parent: tuple[MlflowClient, str]) -> None:
    client, run_id = parent
    held = Lease(client, run_id, "leased")
    held.take()
    held.renew()
    found = holder(client.get_run(run_id).data.tags)
    assert found and found.pid == os.getpid() and found.alive
    held.release()
    assert holder(client.get_run(run_id).data.tags) is None


def test_a_driver_elsewhere_is_named_with_when_it_was_seen(
    parent: tuple[MlflowClient, str],
) -> None:
    put(parent, elsewhere(seconds_ago=20))
    with pytest.raises(InputError, match=r"pid \d+ on far, last seen 20 s ago; wait for it"):
        Lease(*parent, "leased").take()


def test_a_driver_elsewhere_that_is_silent_has_lost_the_study(
    parent: tuple[MlflowClient, str],
) -> None:
    put(parent, elsewhere(seconds_ago=lease.EXPIRY_SECONDS + 1))
    Lease(*parent, "leased").take()


def test_a_driver_that_was_replaced_is_told(parent: tuple[MlflowClient, str]) -> None:
    held = Lease(*parent, "leased")
    held.take()
    put(parent, elsewhere(seconds_ago=1))
    with pytest.raises(InputError, match="on far"):
        held.renew()
    with pytest.raises(InputError, match="on far"):
        held.release()


def test_a_dead_driver_of_this_machine_is_replaced_at_once(
    parent: tuple[MlflowClient, str],
) -> None:
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with subprocess.Popen(command) as process:
        ticks = lease._process(process.pid)
        driver = replace(Holder.this(), pid=process.pid, process=ticks)
        put(parent, driver)
        with pytest.raises(InputError, match=f"pid {process.pid}"):
            Lease(*parent, "leased").take()
        process.kill()
    Lease(*parent, "leased").take()
    # Another process under its number is not it.
    put(parent, replace(driver, pid=os.getpid()))
    Lease(*parent, "leased").take()


def test_run_refuses_a_study_that_another_folder_s_driver_holds(tmp_path: Path) -> None:
    spec = tmp_path / "spec.yaml"
    spec.write_text(SPEC.format(name="leased", preset="pico", steps=20, num_workers=0))
    study = planner.load(spec, tmp_path / "runs")
    client = MlflowClient(reader.tracking_uri(study.runs_dir))
    tags = {"role": "study", "study": "leased"}
    experiment = client.create_experiment("leased", (tmp_path / "artifacts").as_uri())
    run_id = client.create_run(experiment, tags=tags).info.run_id
    put((client, run_id), elsewhere(seconds_ago=5))
    done = in_process("run", spec, "--runs", tmp_path / "runs", check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "study leased is run by another driver" in done.stderr and "on far" in done.stderr
