"""What a person sees of a study: progress while it runs, and its state at any other time."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.ledger import Record
from study.plan import Point, Study
from workloads.record import Result, Row

STYLES = {"finished": "green", "running": "cyan", "diverged": "red", "failed": "red"}


@dataclass
class Outcome:
    """How the trials of one launch ended, by point id: results, and the causes of failures."""

    results: dict[str, Result] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def train_seconds(self) -> float:
        """The training loops' own time within this launch."""
        return sum(r.train_seconds - r.resumed_seconds for r in self.results.values())


class Display:
    """Shows a launch: a live table on a terminal, one line a change anywhere else."""

    def __init__(self, console: Console, study: Study, records: dict[str, Record]) -> None:
        self._console = console
        self._points = study.points
        self._ended = {i: record.status for i, record in records.items() if record.ended}
        self._latest: dict[str, Row] = {}
        self._running: dict[str, Point] = {}
        self._resumed_flops = 0.0
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

    def started(self, point: Point) -> None:
        self._running[point.id] = point
        self._say("started", point, f"{point.config.steps} steps, {point.config.tokens:,} tokens")

    def progressed(self, point: Point, rows: list[Row]) -> None:
        """Rows that the point recorded since the last call."""
        if point.id not in self._latest:
            # What a resumed point had done before does not count as this launch's speed.
            self._resumed_flops += rows[0]["train_flops"] if len(rows) > 1 else 0
        self._latest[point.id] = self._latest.get(point.id, {}) | rows[-1]
        evaluations = [row for row in rows if "val_loss" in row]
        if evaluations and not self._console.is_terminal:
            self._say("running", point, _progress_text(point, evaluations[-1]))

    def retrying(self, point: Point, cause: str) -> None:
        self._say("retrying", point, f"from its last checkpoint, after: {cause}")

    def ended(self, point: Point, result: Result) -> None:
        self._running.pop(point.id)
        self._ended[point.id] = result.status
        if result.status == "finished":
            text = f"val_loss {result.val_loss:.4f} nats/token, {result.bits_per_byte:.4f} bits/byte"
        else:
            text = f"non-finite loss at step {result.step + 1}"
        self._say(result.status, point, f"{text}, {_duration(result.train_seconds)}")
        self._console.print(self._summary(), highlight=False)

    def failed(self, point: Point, cause: str) -> None:
        self._running.pop(point.id, None)
        self._say("failed", point, cause)

    def __rich__(self) -> RenderableType:
        table = Table("running", "loss", "tokens/s", "budget", "", box=None, padding=(0, 2, 0, 0))
        for point in self._running.values():
            row = self._latest.get(point.id, {})
            share = row.get("step", 0) / point.config.steps
            table.add_row(
                point.id,
                f"{row['train_loss']:.4f}" if row else "-",
                f"{row['tokens_per_second']:,.0f}" if row else "-",
                f"{share:.0%}",
                ProgressBar(total=1.0, completed=share, width=24),
            )
        return Group(table, self._summary())

    def _say(self, state: str, point: Point, text: str) -> None:
        line = Text(f"{time.strftime('%H:%M:%S')}  ")
        line.append(f"{state:<9}", style=STYLES.get(state, "yellow"))
        line.append(f" {point.id}  ", style="bold")
        self._console.print(line.append(text), highlight=False, soft_wrap=True)

    def _summary(self) -> Text:
        total = sum(point.train_flops for point in self._points)
        spent = sum(self._spent(point) for point in self._points)
        earlier = sum(
            point.train_flops
            for point in self._points
            if point.id in self._ended and point.id not in self._latest
        )
        executed = spent - earlier - self._resumed_flops
        elapsed = time.monotonic() - self._start
        eta = _duration((total - spent) * elapsed / executed) if executed > 0 else "unknown"
        return Text(
            f"          study: {len(self._ended)} of {len(self._points)} points ended, "
            f"{spent:.3g} of {total:.3g} FLOPs, ETA {eta}",
            style="dim",
        )

    def _spent(self, point: Point) -> float:
        if point.id in self._ended and point.id not in self._latest:
            return point.train_flops
        return self._latest.get(point.id, {}).get("train_flops", 0.0)


def plan_table(rows: list[dict[str, str]]) -> Table:
    """A table of points; the columns are the rows' keys."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    for name in rows[0]:
        table.add_column(name, justify="left" if name in ("point", "state") else "right")
    for row in rows:
        style = STYLES.get(row.get("state", ""), "")
        table.add_row(*(Text(value, style if key == "state" else "") for key, value in row.items()))
    return table


def _progress_text(point: Point, row: Row) -> str:
    return (
        f"step {row['step']:.0f}/{point.config.steps}, val_loss {row['val_loss']:.4f}, "
        f"{row['tokens_per_second']:,.0f} tokens/s, "
        f"{row['step'] / point.config.steps:.0%} of budget"
    )


def _duration(seconds: float) -> str:
    """Seconds in the largest fitting unit: `42 s`, `3.5 min`, `2.1 h`, `14 d`, `67 y`."""
    for size, unit in ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
