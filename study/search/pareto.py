"""What a search has found: of each open combination, the samples that no other one beats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from study.ledger.reader import Record
from study.plan.naming import describe
from study.plan.planner import Open, Point, Study
from study.search.samples import recorded
from study.spec.search import Metric


@dataclass(frozen=True)
class Front:
    """The finished samples of one combination that are best: in `val_loss`, or Pareto-optimal."""

    item: Open
    finished: int
    best: list[Point]

    def values(self, point: Point) -> dict[str, float]:
        """What the point was sampled with, by dimension."""
        variant = point.variant
        sizes = {**variant.ffn.model_dump(), "learning_rate": variant.learning_rate}
        return {name: sizes[name] for name in self.item.dimensions}

    def as_json(self, records: dict[str, Record]) -> dict[str, Any]:
        """The front for machines."""
        return {
            "combination": describe(self.item.item.variant),
            "trials": self.item.trials,
            "finished": self.finished,
            "best": [
                {
                    "id": point.id,
                    **self.values(point),
                    "val_loss": records[point.id].metrics["val_loss"],
                    "train_flops": point.train_flops,
                }
                for point in self.best
            ],
        }


def fronts(study: Study, records: dict[str, Record]) -> list[Front]:
    """The front of each combination that the study searches."""
    search = study.spec.value.search
    return [_front(study, item, records, search.metric) for item in study.searched if search]


def fronts_table(study: Study, records: dict[str, Record]) -> Table | None:
    """The best samples with their losses and costs; None before any has finished."""
    names = list(dict.fromkeys(name for item in study.searched for name in item.dimensions))
    table = Table(
        "best samples",
        *names,
        "val_loss",
        "train FLOPs",
        "finished",
        box=None,
        padding=(0, 1, 0, 0),
    )
    for front in fronts(study, records):
        for point in front.best:
            values = front.values(point)
            table.add_row(
                point.id,
                *(f"{values[name]:g}" if name in values else "-" for name in names),
                f"{records[point.id].metrics['val_loss']:.4f}",
                f"{point.train_flops:.3e}",
                f"{front.finished} of {front.item.trials}",
            )
    return table if table.row_count else None


def print_fronts(console: Console, study: Study, records: dict[str, Record]) -> None:
    """Print that table, if there is one."""
    if table := fronts_table(study, records):
        console.print(table)


def _front(
    study: Study, item: Open, records: dict[str, Record], metric: tuple[Metric, ...]
) -> Front:
    finished = [p for p in recorded(study, item, records) if records[p.id].status == "finished"]
    costs = [tuple(records[point.id].metrics[name] for name in metric) for point in finished]
    best = [
        (cost, point)
        for cost, point in zip(costs, finished, strict=True)
        if not any(_beats(other, cost) for other in costs)
    ]
    return Front(item, len(finished), [point for _, point in sorted(best, key=lambda b: b[0])])


def _beats(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    """Whether one is nowhere worse and somewhere better (Pareto dominance)."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
