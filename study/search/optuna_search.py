"""Search: Optuna samples what a study leaves open; every sample is a point like any other.

Each search space has its own Optuna study, in the database `search.db` of the study's directory.
A batch of samples is drawn, trained and reported to Optuna before the next batch is drawn. So the
samples depend on the seed and on losses alone, not on which run ends first or on when a driver was
killed. Optuna keeps the samples; the ledger says how they ended. Samples that the ledger has and
Optuna has not, because its file was lost or the ranges changed, are added to it.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable
from dataclasses import replace

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from study.ledger.identities import recognised
from study.ledger.reader import Record
from study.ledger.status import Status
from study.plan.planner import Point, SearchSpace, Study
from study.search.samples import point_of, recorded
from study.spec.search import FloatRange, IntRange, sample_of
from workloads.config.fingerprint import fingerprint

BATCH = 4
STARTUP_TRIALS = 4  # samples drawn at random, before Optuna's model of the losses draws

logging.getLogger("alembic").setLevel(logging.WARNING)
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Searcher:
    """The Optuna studies of a study's search spaces."""

    def __init__(self, study: Study) -> None:
        study.directory.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.RDBStorage(f"sqlite:///{study.directory / 'search.db'}")
        self._searches = [_SpaceSearch(study, space, storage) for space in study.searched]

    def advance(self, study: Study, records: dict[str, Record], failed: Iterable[str]) -> Study:
        """Report to Optuna what has ended, draw on where a batch is done, and return the study
        with all its samples.

        `failed` are points that this launch could not train.
        """
        points = {point.id: point for point in study.points}
        for search in self._searches:
            points |= {point.id: point for point in search.advance(records, {*failed})}
        return replace(study, points=list(points.values()))


class _SpaceSearch:
    """The search in one search space."""

    def __init__(
        self, study: Study, space: SearchSpace, storage: optuna.storages.RDBStorage
    ) -> None:
        search = study.spec.value.search
        assert search is not None
        self._study, self._space = study, space
        self._seed, self._metric = search.seed, search.metric
        self._distributions = {n: _distribution(d) for n, d in space.dimensions.items()}
        self._optuna = optuna.create_study(
            study_name=_name(study, space),
            storage=storage,
            load_if_exists=True,
            directions=[StudyDirection.MINIMIZE] * len(search.metric),
        )

    def advance(self, records: dict[str, Record], failed: set[str]) -> list[Point]:
        """Return the points of all samples, after drawing the next batch where one is due."""
        self._add_recorded(records)
        while True:
            trials = self._optuna.get_trials(deepcopy=False)
            points = self._points(trials, records)
            told = [self._tell(*pair, records, failed) for pair in zip(trials, points, strict=True)]
            begun = len(trials) % BATCH  # of a batch that is not whole: a driver died while drawing
            if len(trials) >= self._space.trials or not (all(told) or begun):
                return [point for point in points if point]
            for number in range(len(trials), min(len(trials) - begun + BATCH, self._space.trials)):
                self._ask(number)

    def _ask(self, number: int) -> None:
        """Draw the sample of this number."""
        # A sampler of its own for each sample: a driver that takes over draws what this one would.
        self._optuna.sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            seed=int(fingerprint({"seed": self._seed, "trial": number})[:8], 16),
        )
        self._optuna.ask(self._distributions)

    def _tell(
        self,
        trial: FrozenTrial,
        point: Point | None,
        records: dict[str, Record],
        failed: set[str],
    ) -> bool:
        """Return whether it is known how the trial ended; Optuna is told if it was not."""
        if trial.state.is_finished():
            return True
        record = records.get(point.id) if point else None
        if point and record and record.ended:
            self._optuna.tell(trial.number, self._values(point, record))
        elif point is None or point.id in failed:
            self._optuna.tell(trial.number, state=TrialState.FAIL)
        else:
            return False
        return True

    def _add_recorded(self, records: dict[str, Record]) -> None:
        """Add recorded samples that Optuna does not know."""
        trials = self._optuna.get_trials(deepcopy=False)
        known = {point.id for point in self._points(trials, records) if point}
        for point in recorded(self._study, self._space, records):
            params = sample_of(point.variant, self._distributions)
            inside = all(self._space.dimensions[name].contains(params[name]) for name in params)
            if records[point.id].ended and inside and point.id not in known:
                trial = create_trial(
                    params=params,
                    distributions=self._distributions,
                    values=self._values(point, records[point.id]),
                )
                self._optuna.add_trial(trial)

    def _points(self, trials: list[FrozenTrial], records: dict[str, Record]) -> list[Point | None]:
        """Return the point of each trial, as the ledger has it."""
        found = [self._point(trial) for trial in trials]
        named = iter(recognised([point for point in found if point], records))
        return [point and next(named) for point in found]

    def _point(self, trial: FrozenTrial) -> Point | None:
        """Return the trial's point; None where there is no such run, or a driver died while
        drawing."""
        if trial.params.keys() != self._distributions.keys():
            return None
        return point_of(self._study, self._space, trial.params)

    def _values(self, point: Point, record: Record) -> list[float]:
        """Return what Optuna is told. A run that diverged counts as one that has the loss of
        equal odds for all tokens."""
        loss = record.metrics.get("val_loss", math.inf)
        if record.status == Status.DIVERGED or not math.isfinite(loss):
            loss = math.log(point.config.model.vocab_size)
        told = {"val_loss": loss, "train_flops": record.metrics.get("train_flops", 0.0)}
        return [told[name] for name in self._metric]


def _name(study: Study, space: SearchSpace) -> str:
    """Return a search's name: the same only while its samples can be compared with earlier ones.

    It hashes what differs from the defaults, so that a key which is added later renames no search.
    """
    parts = {"budget", "data", "optimizer", "eval_tokens", "hardware", "search"}
    spec = study.spec.value.model_dump(mode="json", include=parts, exclude_defaults=True)
    del spec["search"]["trials"]
    variant = space.variant
    told = {"variant": variant.tree(), "spec": spec}
    return f"{variant.preset} {variant.arm_name()} {fingerprint(told)}"


def _distribution(dimension: FloatRange | IntRange) -> BaseDistribution:
    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    if isinstance(dimension, IntRange):
        values = dimension.planned_values()
        return IntDistribution(values[0], values[-1], step=values[1] - values[0])
    low, high = dimension.planned_values()
    return FloatDistribution(low, high, log=dimension.log is not None)
