"""Search: Optuna samples what a study leaves open; every sample is a point like any other.

Each open combination has its own Optuna study, in the database `search.db` of the study's
directory. A batch of samples is asked, trained and told before the next is asked, so that what is
sampled depends on the seed and on losses alone, not on which run ends first or on when a driver
was killed. Optuna remembers the samples; how they ended is looked up in the ledger, and samples
that the ledger has and Optuna does not (its file was lost, or the ranges changed) are told too.
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

from study.ledger.reader import Record
from study.plan.planner import Open, Point, Study
from study.search.samples import point_of, recorded
from study.spec.search import Reals, Wholes, values_of
from workloads.config.fingerprint import fingerprint

BATCH = 4
STARTUP_TRIALS = 4  # drawn blindly, before the model of what was told draws

logging.getLogger("alembic").setLevel(logging.WARNING)
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Searcher:
    """Asks and tells the Optuna studies of a study's open combinations."""

    def __init__(self, study: Study) -> None:
        study.directory.mkdir(parents=True, exist_ok=True)
        storage = optuna.storages.RDBStorage(f"sqlite:///{study.directory / 'search.db'}")
        self._open = [_OpenSearch(study, item, storage) for item in study.searched]

    def advance(self, study: Study, records: dict[str, Record], failed: Iterable[str]) -> Study:
        """Tell what has ended, and ask on where a batch is done: the study with all its samples.

        `failed` are points that this launch could not train.
        """
        points = {point.id: point for point in study.points}
        for search in self._open:
            points |= {point.id: point for point in search.advance(records, {*failed})}
        return replace(study, points=list(points.values()))


class _OpenSearch:
    """The search over one open combination."""

    def __init__(self, study: Study, item: Open, storage: optuna.storages.RDBStorage) -> None:
        search = study.spec.value.search
        assert search is not None
        self._study, self._item, self._seed, self._metric = study, item, search.seed, search.metric
        self._distributions = {n: _distribution(d) for n, d in item.dimensions.items()}
        self._optuna = optuna.create_study(
            study_name=_name(study, item),
            storage=storage,
            load_if_exists=True,
            directions=[StudyDirection.MINIMIZE] * len(search.metric),
        )

    def advance(self, records: dict[str, Record], failed: set[str]) -> list[Point]:
        self._adopt(records)
        while True:
            trials = self._optuna.get_trials(deepcopy=False)
            waiting = [t for t in trials if not self._tell(t, records, failed)]
            begun = len(trials) % BATCH  # of a batch that is not whole: a driver died while asking
            if len(trials) >= self._item.trials or (waiting and not begun):
                return [point for trial in trials if (point := self._point(trial))]
            for number in range(len(trials), min(len(trials) - begun + BATCH, self._item.trials)):
                self._ask(number)

    def _ask(self, number: int) -> None:
        # A sampler of its own for each sample: a driver that takes over draws what this one would.
        self._optuna.sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP_TRIALS,
            seed=int(fingerprint({"seed": self._seed, "trial": number})[:8], 16),
        )
        self._optuna.ask(self._distributions)

    def _tell(self, trial: FrozenTrial, records: dict[str, Record], failed: set[str]) -> bool:
        """Whether it is known how the trial ended; Optuna is told if it was not."""
        if trial.state.is_finished():
            return True
        point = self._point(trial)
        record = records.get(point.id) if point else None
        if point and record and record.ended:
            self._optuna.tell(trial.number, self._values(point, record))
        elif point is None or point.id in failed:
            self._optuna.tell(trial.number, state=TrialState.FAIL)
        else:
            return False
        return True

    def _adopt(self, records: dict[str, Record]) -> None:
        """Add recorded samples that Optuna does not know."""
        trials = self._optuna.get_trials(deepcopy=False)
        known = {point.id for trial in trials if (point := self._point(trial))}
        for point in recorded(self._study, self._item, records):
            params = values_of(point.variant, self._distributions)
            inside = all(self._item.dimensions[name].contains(params[name]) for name in params)
            if records[point.id].ended and inside and point.id not in known:
                trial = create_trial(
                    params=params,
                    distributions=self._distributions,
                    values=self._values(point, records[point.id]),
                )
                self._optuna.add_trial(trial)

    def _point(self, trial: FrozenTrial) -> Point | None:
        """The trial's point; None where there is no such run, or a driver died while asking."""
        if trial.params.keys() != self._distributions.keys():
            return None
        return point_of(self._study, self._item, trial.params)

    def _values(self, point: Point, record: Record) -> list[float]:
        """What Optuna is told. A run that diverged is as bad as a model that knows nothing."""
        loss = record.metrics.get("val_loss", math.inf)
        if record.status == "diverged" or not math.isfinite(loss):
            loss = math.log(point.config.model.vocab_size)
        told = {"val_loss": loss, "train_flops": record.metrics.get("train_flops", 0.0)}
        return [told[name] for name in self._metric]


def _name(study: Study, item: Open) -> str:
    """Return a search's name: the same only while its samples can be compared with earlier ones.

    It hashes what differs from the defaults, so that a key which is added later renames no search.
    """
    parts = {"budget", "data", "optimizer", "eval_tokens", "hardware", "search"}
    spec = study.spec.value.model_dump(mode="json", include=parts, exclude_defaults=True)
    del spec["search"]["trials"]
    variant = item.item.variant
    told = {"variant": variant.model_dump(mode="json", exclude_defaults=True), "spec": spec}
    return f"{variant.preset} {variant.arm_name()} {fingerprint(told)}"


def _distribution(dimension: Reals | Wholes) -> BaseDistribution:
    if dimension.choice is not None:
        return CategoricalDistribution(dimension.choice)
    if isinstance(dimension, Wholes):
        values = dimension.bounds()
        return IntDistribution(values[0], values[-1], step=values[1] - values[0])
    low, high = dimension.bounds()
    return FloatDistribution(low, high, log=dimension.log is not None)
