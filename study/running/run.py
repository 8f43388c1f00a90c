"""Run the points that MLflow does not hold as ended: one Ray Tune trial a point."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from study.display.progress import Display
from study.ledger import reader
from study.ledger.reader import Record
from study.plan.planner import Point, Study
from study.progress import continuation
from study.running import attempts, flops_cap, ray_session
from study.running.graceful_stop import STOP_FILE, stop_on_signal
from study.running.outcome import Outcome
from workloads.data import shards
from workloads.errors import InputError
from workloads.run_dir.lock import exclusive
from workloads.run_dir.result import Result, read_result

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from study.running.recorder import Recorder

# How often Tune may start a trial again; `study.running.attempts` ends what does not get on.
MOST_FAILURES = 1000
DRIVER_PATIENCE_SECONDS = 1.0


def run(study: Study, display: Display) -> Outcome:
    """Train every point that has not ended.

    Safe to kill at any time: the same call goes on with what is missing. Raises InputError when a
    point cannot be placed, another process runs the study, or MLflow does not answer.
    """
    from study.running.recorder import Recorder

    # One driver a study; the lock goes with the process.
    with exclusive(study.directory, DRIVER_PATIENCE_SECONDS), ExitStack() as session:
        records = reader.read(reader.tracking_uri(study.runs_dir), study.name)
        reader.check_identities(study.points, records)
        outcome, rounds = Outcome(), _Rounds(study, records)
        study, missing = rounds.next()
        if not missing:
            return outcome
        recorder, trained = Recorder(study, records), 0
        try:
            while missing:
                display.plan(study)
                missing = _record_ended(study, missing, recorder, display, outcome)
                if missing:
                    _check_hours(study, records)
                    trained += len(missing)
                    flops_cap.balance(study, records)
                    continuation.prepare(study, missing, records)
                    if not outcome.slots:
                        outcome.slots = session.enter_context(_ray(study))
                    _run_trials(study, missing, recorder, display, outcome)
                if outcome.stopped:
                    break
                study, missing = rounds.next()
        finally:
            outcome.undelivered = recorder.close(len(outcome.results) == trained)
        return outcome


def _check_hours(study: Study, records: dict[str, Record]) -> None:
    if spent := flops_cap.out_of_hours(study, flops_cap.train_seconds(records)):
        raise study.spec.error(("max_gpu_hours",), spent)


class _Rounds:
    """What to train next: all points that have not ended; then the search's samples, by batches."""

    def __init__(self, study: Study, records: dict[str, Record]) -> None:
        self._study, self._known = study, dict(records)
        self._tried: dict[str, Point] = {}
        self._searcher = None
        if study.searched:  # importing Optuna takes a second
            from study.search.optuna_search import Searcher

            self._searcher = Searcher(study)

    def next(self) -> tuple[Study, list[Point]]:
        """The study with all samples so far, and its points that have not ended or been tried."""
        for point in self._tried.values():  # the ledger may not have been reached
            if result := read_result(self._study.run_dir(point), point.fingerprint):
                self._known[point.id] = Record("", {"status": result.status}, _metrics(result))
        if self._searcher:
            self._study = self._searcher.advance(self._study, self._known, self._tried)
        missing = [p for p in self._study.points if not self._settled(p)]
        self._tried |= {point.id: point for point in missing}
        return self._study, missing

    def _settled(self, point: Point) -> bool:
        record = self._known.get(point.id)
        return point.id in self._tried or (record is not None and record.ended)


def _metrics(result: Result) -> dict[str, float]:
    known = {"val_loss": result.val_loss, "train_flops": result.train_flops}
    return {name: value for name, value in known.items() if value is not None}


def _record_ended(
    study: Study, points: list[Point], recorder: Recorder, display: Display, outcome: Outcome
) -> list[Point]:
    """Deliver the results that an earlier launch could not; return the points without one."""
    left = []
    for point in points:
        if result := read_result(study.run_dir(point), point.fingerprint):
            recorder.start(point)
            recorder.end(point, result)
            display.ended(point, result)
            outcome.delivered += 1
        else:
            left.append(point)
    return left


@contextmanager
def _ray(study: Study) -> Iterator[int]:
    """Ray, with that many places for points."""
    resources = study.spec.value.resources
    with ray_session.connected(resources):
        try:
            slots = ray_session.slots(resources)
        except InputError as error:
            raise study.spec.error(("resources",), str(error)) from None
        yield slots


def _run_trials(
    study: Study, missing: list[Point], recorder: Recorder, display: Display, outcome: Outcome
) -> None:
    # Ray reads its environment on import, and `connected` has set it.
    from ray import tune

    from study.running.driver import Driver
    from study.running.trial import run_point

    dataset = shards.prepare(study.spec.value.data, study.data_root)
    scratch = study.directory / "ray"
    shutil.rmtree(scratch, ignore_errors=True)
    driver = Driver(study, missing, recorder, display, outcome)
    tasks = _tasks(study, missing, dataset.directory.resolve())
    needs = ray_session.trial_resources(study.spec.value.resources)
    stop_file = study.directory / STOP_FILE
    # What Ray prints goes to a file: of a death, the display shows the cause in one line.
    log = (study.directory / "ray.log").open("w")
    with stop_on_signal(stop_file), display, log, redirect_stdout(log):
        tune.Tuner(
            tune.with_resources(run_point, needs),
            param_space={"task": tune.grid_search(tasks)},
            tune_config=tune.TuneConfig(
                scheduler=_scheduler(study),
                max_concurrent_trials=outcome.slots,
                # A point that is stopped may not let go of its actor in time for the next.
                reuse_actors=study.spec.value.scheduler is None,
            ),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str(scratch),
                failure_config=tune.FailureConfig(max_failures=MOST_FAILURES),
                callbacks=[driver],
                verbose=0,
            ),
        ).fit()
    outcome.stopped = stop_file.exists()


def _scheduler(study: Study) -> TrialScheduler | None:
    """What Tune asks at each evaluation; None is FIFO."""
    from study.search.asha import LearningRateAsha

    chosen = study.spec.value.scheduler
    return LearningRateAsha(study, chosen.asha) if chosen else None


def _tasks(study: Study, points: list[Point], dataset_dir: Path) -> list[str]:
    """What each trial is given, longest first: the short ones fill the gaps at the end."""
    from study.running.trial import Task

    for point in points:
        attempts.forget(study.run_dir(point))
    return [
        Task(
            point_id=point.id,
            run=point.config,
            run_dir=study.run_dir(point),
            dataset_dir=dataset_dir,
            resources=study.spec.value.resources,
            max_total_flops=study.spec.value.max_total_flops,
            stop_file=study.directory / STOP_FILE,
        ).model_dump_json()
        for point in sorted(points, key=lambda point: -point.train_flops)
    ]
