"""What a person sees of a study: progress while it runs, and its state at any other time."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study import estimate, ledger
from study.ledger import ENDED, Record
from study.plan import FLOP_CONVENTION, Point, Study
from workloads.flops import ffn_fraction
from workloads.record import Result, Row

STYLES = {"finished": "green", "running": "cyan", "diverged": "red", "failed": "red"}


@dataclass
class Outcome:
    """What one launch brought to an end, by point id, `slots` points at a time; 0 if none was due.

    `earlier_seconds` is the training time that these points had on record when it began; work
    repeated after a kill does not count a second time.
    """

    slots: int
    results: dict[str, Result] = field(default_factory=dict)
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
        self._running.pop(point.id)
        self._ended[point.id] = result.status
        if result.status == "finished":
            loss = f"val_loss {result.val_loss:.4f} nats/token"
            text = f"{loss}, {result.bits_per_byte:.4f} bits/byte"
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


def print_plan(
    console: Console, study: Study, states: dict[str, str], seconds: dict[str, float], basis: str
) -> None:
    """The points, what each costs, and the totals."""
    table = _table(
        "point", "params", "FFN params", "of dense", "tokens", "train FLOPs", "time here", "state"
    )
    for point in study.points:
        table.add_row(
            point.id,
            _count(point.params.total),
            _count(point.params.ffn),
            f"{ffn_fraction(point.config.model):.4g}",
            _count(point.config.tokens),
            f"{point.train_flops:.2e}",
            duration(seconds[point.id]),
            _styled(states[point.id]),
        )
    _print_whole(console, table)
    total = sum(point.train_flops for point in study.points)
    left = [point for point in study.points if states[point.id] not in ENDED]
    side_by_side = estimate.slots(study.spec.value.resources)
    console.print(
        f"{len(study.points)} points, {total:.3g} of at most "
        f"{study.spec.value.max_total_flops:.3g} FLOPs ({FLOP_CONVENTION} convention); "
        f"{len(left)} to run, about "
        f"{duration(sum(seconds[point.id] for point in left) / side_by_side)} here, "
        f"{side_by_side} at a time.\nTimes rest on {basis}.",
        highlight=False,
    )


def print_status(console: Console, study: Study, records: dict[str, Record]) -> None:
    """The state of every point, with its loss or the cause of its failure, and FLOPs spent."""
    states = ledger.states(study, records)
    table = _table("point", "val_loss", "bits/byte", "budget", "seconds", "state", "cause")
    for point in study.points:
        record = records.get(point.id, Record(""))
        values = record.metrics
        table.add_row(
            point.id,
            f"{values['val_loss']:.4f}" if "val_loss" in values else "-",
            f"{values['bits_per_byte']:.4f}" if "bits_per_byte" in values else "-",
            f"{values.get('train_flops', 0) / point.train_flops:.0%}",
            f"{values['train_seconds']:.0f}" if "train_seconds" in values else "-",
            _styled(states[point.id]),
            record.tags.get("failure", ""),
        )
    _print_whole(console, table)
    counts = Counter(states.values())
    spent = sum(r.metrics.get("train_flops", 0) for r in records.values())
    total = sum(point.train_flops for point in study.points)
    summary = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    console.print(f"{summary}; {spent:.3g} of {total:.3g} FLOPs spent", highlight=False)


def _table(*columns: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in columns:
        words = name in ("point", "state", "cause")
        table.add_column(name, justify="left" if words else "right", no_wrap=name != "cause")
    return table


def _print_whole(console: Console, table: Table) -> None:
    """Print as wide as it is: a terminal that is narrower wraps lines rather than lose digits."""
    needed = Measurement.get(console, console.options.update(max_width=500), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def _styled(state: str) -> Text:
    return Text(state, STYLES.get(state, "yellow"))


def _count(value: int) -> str:
    """A count with a metric prefix: `1.28M`, `25.5G`."""
    for size, prefix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.4g}{prefix}"
    return str(value)


def _progress_text(point: Point, row: Row) -> str:
    return (
        f"step {row['step']:.0f}/{point.config.total_steps}, val_loss {row['val_loss']:.4f}, "
        f"{row['tokens_per_second']:,.0f} tokens/s, "
        f"{row['step'] / point.config.total_steps:.0%} of budget"
    )


def duration(seconds: float) -> str:
    """Seconds in the largest fitting unit: `42 s`, `3.5 min`, `2.1 h`, `14 d`, `67 y`."""
    for size, unit in ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"
