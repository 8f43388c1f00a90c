"""What a search has found: of each search space, the samples that no other one beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from study.ledger.reader import Record
from study.ledger.status import Status
from study.plan.naming import describe
from study.plan.planner import Point, SearchSpace, Study
from study.search.samples import recorded
from study.spec.search import Metric, sample_of


@dataclass(frozen=True)
class ParetoFront:
    """The best of the finished samples of one search space, in `val_loss` or Pareto-optimal."""

    space: SearchSpace
    finished: int
    best: list[Point]

    def as_json(self, records: dict[str, Record]) -> dict[str, Any]:
        """Return the front for machines."""
        return {
            "combination": describe(self.space.variant),
            "trials": self.space.trials,
            "finished": self.finished,
            "best": [
                {
                    "id": point.id,
                    **sample_of(point.variant, self.space.dimensions),
                    "val_loss": records[point.id].metric("val_loss"),
                    "train_flops": point.train_flops,
                }
                for point in self.best
            ],
        }


def pareto_fronts(study: Study, records: dict[str, Record]) -> list[ParetoFront]:
    """Return the front of each of the study's search spaces."""
    search = study.spec.value.search
    return [_front(study, space, records, search.metric) for space in study.searched if search]


def _front(
    study: Study, space: SearchSpace, records: dict[str, Record], metric: tuple[Metric, ...]
) -> ParetoFront:
    finished = [
        p for p in recorded(study, space, records) if records[p.id].status == Status.FINISHED
    ]
    costs = [tuple(records[point.id].metric(name) for name in metric) for point in finished]
    best = [
        (cost, point)
        for cost, point in zip(costs, finished, strict=True)
        if not any(_beats(other, cost) for other in costs)
    ]
    best_first = sorted(best, key=lambda each: each[0])
    return ParetoFront(space, len(finished), [point for _, point in best_first])


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Return whether one is nowhere worse and somewhere better (Pareto dominance)."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
