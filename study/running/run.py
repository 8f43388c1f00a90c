"""Running a study: one Ray Tune trial for each point that MLflow does not hold as ended."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from typing import TYPE_CHECKING

from study.display.progress import Display
from study.ledger import reader
from study.ledger.identities import check_identities, check_name
from study.ledger.reader import Record
from study.ledger.store import tracking_uri
from study.plan.planner import Point, Study
from study.progress import continuation
from study.running import attempts, flops_cap, ray_session
from study.running.graceful_stop import STOP_FILE, stop_on_signal
from study.running.outcome import Outcome
from study.running.places import Places
from study.search.samples import with_recorded
from workloads.errors import InputError
from workloads.files import exclusive
from workloads.run_dir.result import Result, read_result

if TYPE_CHECKING:
    from ray.tune.schedulers import TrialScheduler

    from study.running.recorder import Recorder

# How often Tune may start a trial again. `study.running.attempts` gives a point up much earlier.
MOST_FAILURES = 1000
OUT_OF_MEMORY = (
    "Ray stopped the points, because the memory of a machine was nearly full; free memory, or "
    "train fewer points at a time; the same command goes on from the last checkpoints"
)
DRIVER_PATIENCE_SECONDS = 1.0


def run(study: Study, show: Callable[[Study, dict[str, Record]], Display]) -> Outcome:
    """Train every point that has not ended.

    `show` makes the display of a study with these records. Safe to kill at any time: the same call
    goes on with what is missing. The ledger is read once, when no other driver can change it.
    Raises InputError when the study's name is taken, a point was recorded with other settings or
    cannot be placed, or another process runs the study, and LedgerError when the ledger cannot be
    used.
    """
    # One driver a study; the lock goes with the process.
    with exclusive(study.directory, DRIVER_PATIENCE_SECONDS), ExitStack() as session:
        records = reader.read(tracking_uri(study.runs_dir), study.name, with_params=True)
        check_name(study, records)
        study = with_recorded(study, records)
        check_identities(study.points, records)
        outcome, rounds = Outcome(study, records), _Rounds(study, records)
        study, missing = rounds.next()
        if not missing:
            return outcome
        from study.running.recorder import Recorder

        places, recorder, trained = Places(study), Recorder(study, records), 0
        try:
            display = show(study, records)
            while missing:
                display.plan(study)
                missing = _upload_ended(study, missing, recorder, display, outcome)
                if missing:
                    _check_hours(study, records)
                    trained += len(missing)
                    flops_cap.prepare_launch(study, records)
                    continuation.prepare(study, missing, records)
                    if not outcome.slots:
                        outcome.slots = session.enter_context(_ray(study))
                    _run_trials(study, missing, places, recorder, display, outcome)
                if outcome.stopped:
                    break
                study, missing = rounds.next()
        finally:
            outcome.not_uploaded = recorder.close(len(outcome.results) == trained)
        return outcome


def _check_hours(study: Study, records: dict[str, Record]) -> None:
    """Raise InputError when the study's GPU-hours are spent."""
    if spent := flops_cap.hours_spent(study, flops_cap.train_seconds(records)):
        raise study.spec.error(("max_gpu_hours",), spent)


class _Rounds:
    """The rounds of a launch: first all points that have not ended, then a search's batches."""

    def __init__(self, study: Study, records: dict[str, Record]) -> None:
        self._study, self._known = study, dict(records)
        self._tried: dict[str, Point] = {}
        self._searcher = None
        if study.searched:  # importing Optuna takes a second
            from study.search.optuna_search import Searcher

            self._searcher = Searcher(study)

    def next(self) -> tuple[Study, list[Point]]:
        """Return the study with all samples so far, and what it has left to train.

        A point that was tried in an earlier round of this launch is not tried again.
        """
        for point in self._tried.values():  # MLflow may lack them: a server can be away
            if result := read_result(self._study.run_dir(point), point.fingerprint):
                tags = {"status": result.status, "fingerprint": point.fingerprint}
                self._known[point.id] = Record("", tags, _metrics(result))
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


def _upload_ended(
    study: Study, points: list[Point], recorder: Recorder, display: Display, outcome: Outcome
) -> list[Point]:
    """Upload the results that an earlier launch could not; return the points without one."""
    left = []
    for point in points:
        if result := read_result(study.run_dir(point), point.fingerprint):
            recorder.start(point)
            recorder.end(point, result)
            display.ended(point, result)
            outcome.uploaded += 1
        else:
            left.append(point)
    return left


@contextmanager
def _ray(study: Study) -> Iterator[int]:
    """Start or join Ray, and yield how many points train on it at a time."""
    resources = study.spec.value.resources
    with ray_session.connected(resources):
        try:
            slots = ray_session.slots(resources)
        except InputError as error:
            raise study.spec.error(("resources",), str(error)) from None
        yield slots


def _run_trials(
    study: Study,
    missing: list[Point],
    places: Places,
    recorder: Recorder,
    display: Display,
    outcome: Outcome,
) -> None:
    # Ray reads its environment on import, and `connected` has set it.
    from ray import tune

    from study.running.driver import Driver
    from study.running.trial import run_point

    scratch = study.directory / "ray"
    shutil.rmtree(scratch, ignore_errors=True)
    driver = Driver(study, missing, recorder, display, outcome)
    tasks = _tasks(study, missing, places)
    needs = ray_session.trial_resources(study.spec.value.resources)
    stop_file = study.directory / STOP_FILE
    # What Ray prints goes to a file: of a death, the display shows the cause in one line.
    log = (study.directory / "ray.log").open("a", encoding="utf-8")
    with stop_on_signal(stop_file), display, log, redirect_stdout(log):
        tuner = tune.Tuner(
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
        )
        try:
            tuner.fit()
        except RuntimeError as error:
            if not _ran_out_of_memory(error):
                raise
            driver.on_experiment_end([])
            outcome.cut_short = OUT_OF_MEMORY
    outcome.stopped = bool(outcome.cut_short) or stop_file.exists()


def _ran_out_of_memory(error: BaseException) -> bool:
    """Return whether Tune gave up because Ray had stopped trials to save the machine's memory."""
    from ray.exceptions import OutOfMemoryError

    chain = [error]
    while following := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(following)
    return any(isinstance(each, OutOfMemoryError) for each in chain)


def _scheduler(study: Study) -> TrialScheduler | None:
    """Return what Tune asks at each evaluation; None lets every trial go on to its end."""
    from study.search.asha import LearningRateAsha

    chosen = study.spec.value.scheduler
    return LearningRateAsha(study, chosen.asha) if chosen else None


def _tasks(study: Study, points: list[Point], places: Places) -> list[str]:
    """Return what each trial is given, the longest first: short ones fill the gaps at the end."""
    from study.running.trial import Task

    for point in points:
        attempts.allow_retries(study.run_dir(point))
    return [
        Task(
            point_id=point.id,
            run=point.config,
            next_runtime=point.next_runtime,
            run_dir=study.run_dir(point),
            data=places.of(point.config.data),
            eval_sets=places.eval_sets,
            resources=study.spec.value.resources,
            max_total_flops=study.spec.value.max_total_flops,
            stop_file=study.directory / STOP_FILE,
        ).model_dump_json()
        for point in sorted(points, key=lambda point: -point.train_flops)
    ]
