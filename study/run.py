"""Run the points that MLflow does not hold as ended: one Ray Tune trial a point."""

from __future__ import annotations

import shutil
from contextlib import redirect_stdout
from pathlib import Path

from study import ledger, ray_session
from study.ledger import Record
from study.plan import Point, Study
from study.status import Display, Outcome
from workloads.data import shards
from workloads.errors import InputError
from workloads.record import exclusive

MAX_RETRIES = 3
DRIVER_PATIENCE_SECONDS = 1.0


def run(study: Study, display: Display) -> Outcome:
    """Train every point that has not ended.

    Safe to kill at any time: the same call goes on with what is missing. Raises InputError when a
    point cannot be placed, or another process runs the study.
    """
    # One driver a study; the lock goes with the process.
    with exclusive(study.directory, DRIVER_PATIENCE_SECONDS):
        records = ledger.read(ledger.tracking_uri(study.runs_dir), study.name)
        ledger.check_identities(study.points, records)
        missing = [p for p in study.points if p.id not in records or not records[p.id].ended]
        if not missing:
            return Outcome(slots=0)
        dataset = shards.prepare(study.spec.value.data, study.data_root)
        return _run_trials(study, missing, records, dataset.directory.resolve(), display)


def _run_trials(
    study: Study,
    missing: list[Point],
    records: dict[str, Record],
    dataset_dir: Path,
    display: Display,
) -> Outcome:
    resources = study.spec.value.resources
    with ray_session.connected(resources):
        # Ray reads its environment on import, and `connected` has set it.
        from ray import tune

        from study.driver import Driver
        from study.trial import run_point

        try:
            slots = ray_session.slots(resources)
        except InputError as error:
            raise study.spec.error(("resources",), str(error)) from None
        scratch = study.directory / "ray"
        shutil.rmtree(scratch, ignore_errors=True)
        driver = Driver(study, missing, records, display, Outcome(slots))
        # What Ray prints goes to a file: of a death, the display shows the cause in one line.
        with display, (study.directory / "ray.log").open("w") as log, redirect_stdout(log):
            tune.Tuner(
                tune.with_resources(run_point, ray_session.trial_resources(resources)),
                param_space={"task": tune.grid_search(_tasks(study, missing, dataset_dir))},
                tune_config=tune.TuneConfig(max_concurrent_trials=slots, reuse_actors=True),
                run_config=tune.RunConfig(
                    name="tune",
                    storage_path=str(scratch),
                    failure_config=tune.FailureConfig(max_failures=MAX_RETRIES),
                    callbacks=[driver],
                    verbose=0,
                ),
            ).fit()
        return driver.outcome


def _tasks(study: Study, points: list[Point], dataset_dir: Path) -> list[str]:
    """What each trial is given, longest first: the short ones fill the gaps at the end."""
    from study.trial import Task

    return [
        Task(
            point_id=point.id,
            run=point.config,
            run_dir=study.run_dir(point),
            dataset_dir=dataset_dir,
            resources=study.spec.value.resources,
        ).model_dump_json()
        for point in sorted(points, key=lambda point: -point.train_flops)
    ]
