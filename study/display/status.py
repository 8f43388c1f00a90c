"""The state of a study as a table and lines: what `status` prints."""

from __future__ import annotations

import time
from collections.abc import Callable

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from study.display.pareto_table import pareto_table, print_pareto_table
from study.display.tables import (
    MANY_POINTS,
    duration,
    hours_text,
    money_text,
    new_table,
    print_whole,
    styled,
)
from study.ledger.reader import Record
from study.ledger.status import Status
from study.progress.overview import Overview

# States that are left out of the table of a large study.
UNREMARKABLE = {Status.FINISHED, Status.QUEUED}
AFTER_LOSSES = ("budget", "seconds", "state", "cause")


def print_status(console: Console, overview: Overview) -> None:
    """Print the points with their losses or causes of failure; below them spending, ETA, fits and
    the best samples of searches."""
    if overview.study.points:
        print_whole(console, _status_table(overview))
    for line in _status_lines(overview):
        console.print(line, soft_wrap=True)
    print_pareto_table(console, overview.study, overview.records)


def repeat_status(console: Console, current: Callable[[], Overview], seconds: float) -> None:
    """Show the status anew every so many seconds, until no point is left to train or Ctrl-C."""
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            overview = current()
            shown = [_status_table(overview), *map(Text, _status_lines(overview))]
            if best := pareto_table(overview.study, overview.records):
                shown.append(best)
            live.update(Group(*shown), refresh=True)
            if overview.complete:
                return
            time.sleep(seconds)


def _status_table(overview: Overview) -> Table:
    losses = overview.study.texts.losses
    table = new_table("point", "val_loss", "bits/byte", *losses, *AFTER_LOSSES)
    large = len(overview.study.points) > MANY_POINTS
    for point in overview.study.points:
        state = overview.states[point.id]
        if large and state in UNREMARKABLE:
            continue
        record = overview.records.get(point.id, Record(""))
        values = record.metrics
        table.add_row(
            point.id,
            f"{values['val_loss']:.4f}" if "val_loss" in values else "-",
            f"{values['bits_per_byte']:.4f}" if "bits_per_byte" in values else "-",
            *(f"{values[name]:.4f}" if name in values else "-" for name in losses),
            f"{1.0 if state == Status.FINISHED else point.share_done(values):.0%}",
            f"{values['train_seconds']:.0f}" if "train_seconds" in values else "-",
            styled(state),
            record.tags.get("failure", ""),
        )
    return table


def _status_lines(overview: Overview) -> list[str]:
    """Return the lines below the table: totals against the plan, the time left, the fits."""
    lines = [_spending(overview)]
    if len(overview.study.points) > MANY_POINTS:
        lines.insert(0, "The table leaves finished and queued points out; --json lists all.")
    if (eta := overview.eta_seconds) is not None:
        lines.append(f"ETA {duration(eta)}, at the pace of the points that are running.")
    return lines + [
        f"{fit.arm}: loss falls as C^{-fit.b:.4g} so far, {fit.level:.0%} interval of b "
        f"[{fit.low:.4g}, {fit.high:.4g}] from {fit.runs} runs."
        for fit in overview.fits()
    ]


def _spending(overview: Overview) -> str:
    counts = ", ".join(f"{count} {state}" for state, count in overview.counts.items())
    executed, planned_hours = overview.executed_flops, overview.planned_hours
    repeated = "" if executed is None else f" ({executed:.3g} executed, repetitions included)"
    hours = duration(overview.train_hours * 3600)
    if planned_hours is not None:
        hours += f" of about {duration(planned_hours * 3600)}"
    return (
        f"{counts}; {overview.train_flops:.3g} of {overview.planned_flops:.3g} FLOPs{repeated}, "
        f"cap {overview.study.spec.value.max_total_flops:.3g}; {hours} of training"
    ) + _gpu_spending(overview)


def _gpu_spending(overview: Overview) -> str:
    """Return GPU-hours and money against the plan; nothing for a study that neither states its
    hardware nor uses GPUs."""
    planned, cap = overview.planned_gpu_hours, overview.study.spec.value.max_gpu_hours
    if planned is None and not overview.study.gpus_per_point:
        return ""
    text = f"; {hours_text(overview.gpu_hours)}"
    if planned is not None:
        text += f" of about {hours_text(planned)}"
    text += " GPU-hours" + (f", cap {cap:g}" if cap else "")
    spent, planned_cost = overview.cost(overview.gpu_hours), overview.cost(planned)
    if spent is not None and planned_cost is not None:
        currency = overview.study.hardware.currency
        text += f"; {money_text(spent)} of {money_text(planned_cost)} {currency}"
    return text
