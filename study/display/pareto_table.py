"""The best samples of a study's searches as a table."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from study.ledger.reader import Record
from study.plan.planner import Study
from study.search.pareto import pareto_fronts
from study.spec.search import sample_of


def pareto_table(study: Study, records: dict[str, Record]) -> Table | None:
    """Return the best samples with their losses and costs; None before any has finished."""
    names = list(dict.fromkeys(name for space in study.searched for name in space.dimensions))
    columns = ["best samples", *names, "val_loss", "train FLOPs", "finished"]
    table = Table(*columns, box=None, padding=(0, 1, 0, 0))
    for front in pareto_fronts(study, records):
        for point in front.best:
            sample = sample_of(point.variant, front.space.dimensions)
            table.add_row(
                point.id,
                *(f"{sample[name]:g}" if name in sample else "-" for name in names),
                f"{records[point.id].metric('val_loss'):.4f}",
                f"{point.train_flops:.3e}",
                f"{front.finished} of {front.space.trials}",
            )
    return table if table.row_count else None


def print_pareto_table(console: Console, study: Study, records: dict[str, Record]) -> None:
    """Print the best samples, if any has finished."""
    if table := pareto_table(study, records):
        console.print(table)
