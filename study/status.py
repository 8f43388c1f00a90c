"""What a person sees of a study: progress while it runs, and its state at any other time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.display.overview import Overview
from study.display.tables import (
    MANY_POINTS,
    STYLES,
    duration,
    hours_text,
    money_text,
    new_table,
    print_whole,
    styled,
)
from study.ledger import Record
from study.plan import Point, Study
from study.tuning.front import fronts_table, print_fronts
from workloads.run_dir.metrics_log import Row
from workloads.run_dir.result import Result

# What is left out of the table of a large study.
UNREMARKABLE = {"finished", "queued"}


@dataclass
class Outcome:
    """What one launch brought to an end, by point id, `slots` points at a time; 0 if none was due.

    `earlier_seconds` is the training time that these points had on record when it began; work
    repeated after a kill does not count a second time. `delivered` counts results of earlier
    launches that MLflow had not got; `undelivered` is why it lacks some still. `stopped` is true
    when it was told to stop, or stopped because its GPU-hours were spent: `out_of_hours` says so.
    """

    slots: int = 0
    results: dict[str, Result] = field(default_factory=dict)
    delivered: int = 0
    undelivered: str = ""
    stopped: bool = False
    out_of_hours: str = ""
    earlier_seconds: float = 0.0

    @property
    def train_seconds(self) -> float:
        """The training loops' own time within this launch."""
        return sum(r.train_seconds for r in self.results.values()) - self.earlier_seconds


class Display:
    """Shows a launch: a live table on a terminal, one line a change anywhere else."""

    def __init__(self, console: Console, study: Study, records: dict[str, Record]) -> None:
        self._console = console
        self._points = study.points
        self._ended = {i: record.status for i, record in records.items() if record.ended}
        self._latest: dict[str, Row] = {}
        self._running: dict[str, Point] = {}
        self._flops = {p.id: float(p.train_flops) for p in self._points if p.id in self._ended}
        self._earlier_flops = sum(self._flops.values())
        self._start = time.monotonic()
        self._live = Live(self, console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._live.stop()

    def plan(self, study: Study) -> None:
        """Take up the points that a search has added."""
        self._points = study.points

    def started(self, point: Point, earlier: list[Row]) -> None:
        """The point started; `earlier` is what it had recorded in another launch."""
        self._running[point.id] = point
        steps = f"{point.config.total_steps} steps, {point.config.tokens:,} tokens"
        if earlier:
            self._update(point, earlier)
            self._earlier_flops += earlier[-1]["train_flops"]
            steps += f", {earlier[-1]['step']:.0f} steps recorded before"
        self._say("started", point, steps)

    def progressed(self, point: Point, rows: list[Row]) -> None:
        """Rows that the point recorded since the last call."""
        self._update(point, rows)
        evaluations = [row for row in rows if "val_loss" in row]
        if evaluations and not self._console.is_terminal:
            self._say("running", point, _progress_text(point, evaluations[-1]))

    def retrying(self, point: Point, cause: str) -> None:
        self._say("retrying", point, f"from its last checkpoint, after: {cause}")

    def ended(self, point: Point, result: Result) -> None:
        self._running.pop(point.id, None)
        self._ended[point.id] = result.status
        if result.status == "finished":
            loss = f"val_loss {result.val_loss:.4f} nats/token"
            text = f"{loss}, {result.bits_per_byte:.4f} bits/byte"
        elif result.status == "stopped":
            text = f"by ASHA at {result.train_flops:.3g} FLOPs, val_loss {result.val_loss:.4f}"
        else:
            text = f"non-finite loss at step {result.step + 1}"
        seconds = duration(result.train_seconds)
        self._say(result.status, point, f"{text}, {seconds}; {self._summary()}")

    def failed(self, point: Point, cause: str) -> None:
        self._running.pop(point.id, None)
        self._say("failed", point, cause)

    def __rich__(self) -> RenderableType:
        table = Table("running", "loss", "tokens/s", "budget", "", box=None, padding=(0, 2, 0, 0))
        for point in self._running.values():
            row = self._latest.get(point.id, {})
            share = row.get("step", 0) / point.config.total_steps
            table.add_row(
                point.id,
                f"{row['train_loss']:.4f}" if row else "-",
                f"{row['tokens_per_second']:,.0f}" if row else "-",
                f"{share:.0%}",
                ProgressBar(total=1.0, completed=share, width=24),
            )
        return Group(table, Text(self._summary(), style="dim"))

    def _say(self, state: str, point: Point, text: str) -> None:
        line = Text(f"{time.strftime('%H:%M:%S')}  ")
        line.append(f"{state:<9}", style=STYLES.get(state, "yellow"))
        line.append(f" {point.id}  ", style="bold")
        self._console.print(line.append(text), highlight=False, soft_wrap=True)

    def _update(self, point: Point, rows: list[Row]) -> None:
        self._latest[point.id] = rows[-1]
        self._flops[point.id] = rows[-1]["train_flops"]

    def _summary(self) -> str:
        total, spent = sum(p.train_flops for p in self._points), sum(self._flops.values())
        here = spent - self._earlier_flops
        elapsed = time.monotonic() - self._start
        eta = duration((total - spent) * elapsed / here) if here > 0 else "unknown"
        return (
            f"study {len(self._ended)} of {len(self._points)} points, "
            f"{spent:.3g} of {total:.3g} FLOPs, ETA {eta}"
        )


def print_status(console: Console, overview: Overview) -> None:
    """The points with their losses or causes of failure; spending, ETA, fits, fronts below."""
    if overview.study.points:
        print_whole(console, _status_table(overview))
    for line in _status_lines(overview):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    print_fronts(console, overview.study, overview.records)


def watch(console: Console, look: Callable[[], Overview], seconds: float) -> None:
    """Show the status anew every so many seconds, until no point is left to train or Ctrl-C."""
    with Live(console=console, auto_refresh=False, vertical_overflow="visible") as live:
        while True:
            overview = look()
            found = fronts_table(overview.study, overview.records)
            shown = [_status_table(overview), *map(Text, _status_lines(overview))]
            live.update(Group(*shown, *([found] if found else [])), refresh=True)
            if overview.complete:
                return
            time.sleep(seconds)


def _status_table(overview: Overview) -> Table:
    table = new_table("point", "val_loss", "bits/byte", "budget", "seconds", "state", "cause")
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
            f"{values.get('train_flops', 0) / point.train_flops:.0%}",
            f"{values['train_seconds']:.0f}" if "train_seconds" in values else "-",
            styled(state),
            record.tags.get("failure", ""),
        )
    return table


def _status_lines(overview: Overview) -> list[str]:
    """What the table does not say: totals against the plan, the time left, the fits so far."""
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
    """GPU-hours and money against the plan, for studies that state their hardware or use GPUs."""
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


def _progress_text(point: Point, row: Row) -> str:
    return (
        f"step {row['step']:.0f}/{point.config.total_steps}, val_loss {row['val_loss']:.4f}, "
        f"{row['tokens_per_second']:,.0f} tokens/s, "
        f"{row['step'] / point.config.total_steps:.0%} of budget"
    )
