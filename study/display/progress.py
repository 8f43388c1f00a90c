"""The progress of a launch: a live table on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from study.display.tables import STYLES, duration
from study.ledger.reader import Record
from study.ledger.status import Status
from study.plan.planner import Point, Study
from workloads.run_dir.metrics_log import Row
from workloads.run_dir.progress import place_in_words, share_done
from workloads.run_dir.result import Result


class Display:
    """The display of one launch, which is told what happens to points."""

    def __init__(self, console: Console, study: Study, records: dict[str, Record]) -> None:
        self._console = console
        self._points = study.points
        self._ended: dict[str, str] = {
            i: record.status for i, record in records.items() if record.ended
        }
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
        """Take over the points of the study, to which a search has added some."""
        self._points = study.points

    def started(self, point: Point, earlier: list[Row]) -> None:
        """Show that the point started; `earlier` are its rows of another launch."""
        self._running[point.id] = point
        steps = _length(point)
        if earlier:
            self._update(point, earlier)
            self._earlier_flops += earlier[-1]["train_flops"]
            steps += f", {earlier[-1]['step']:.0f} steps recorded before"
        self._say("started", point, steps)

    def progressed(self, point: Point, rows: list[Row]) -> None:
        """Show rows that the point recorded since the last call."""
        self._update(point, rows)
        evaluations = [row for row in rows if "val_loss" in row]
        if evaluations and not self._console.is_terminal:
            self._say(Status.RUNNING, point, _progress_text(point, evaluations[-1]))

    def retrying(self, point: Point, cause: str) -> None:
        """Show that another attempt at the point begins, and why the last one ended."""
        self._say("retrying", point, f"from its last checkpoint, after: {cause}")

    def ended(self, point: Point, result: Result) -> None:
        """Show how the point finished, diverged or was stopped."""
        self._running.pop(point.id, None)
        self._ended[point.id] = result.status
        if result.status == Status.FINISHED:
            text = f"val_loss {result.val_loss:.4f} nats/token"
            if result.bits_per_byte is not None:
                text += f", {result.bits_per_byte:.4f} bits/byte"
            text += _by_text(self._latest.get(point.id, {}))
        elif result.status == Status.STOPPED:
            text = f"by ASHA at {result.train_flops:.3g} FLOPs, val_loss {result.val_loss:.4f}"
        else:
            text = f"non-finite loss at step {result.step + 1}"
        seconds = duration(result.train_seconds)
        self._say(result.status, point, f"{text}, {seconds}; {self._summary()}")

    def failed(self, point: Point, cause: str) -> None:
        """Show that every attempt at the point failed, and why."""
        self._running.pop(point.id, None)
        self._say(Status.FAILED, point, cause)

    def __rich__(self) -> RenderableType:
        table = Table("running", "loss", "tokens/s", "budget", "", box=None, padding=(0, 2, 0, 0))
        for point in self._running.values():
            row = self._latest.get(point.id, {})
            done = share_done(point.config, row)
            table.add_row(
                point.id,
                f"{row['train_loss']:.4f}" if row else "-",
                f"{row['tokens_per_second']:,.0f}" if row else "-",
                f"{done:.0%}",
                ProgressBar(total=1.0, completed=done, width=24),
            )
        return Group(table, Text(self._summary(), style="dim"))

    def _say(self, state: str, point: Point, text: str) -> None:
        line = Text(f"{time.strftime('%H:%M:%S')}  ")
        line.append(f"{state:<9}", style=STYLES.get(state, "yellow"))
        line.append(f" {point.id}  ", style="bold")
        self._console.print(line.append(text), soft_wrap=True)

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


def _length(point: Point) -> str:
    config = point.config
    if config.clock:
        return f"{config.clock.seconds:g} s, about {config.total_steps} steps"
    return f"{config.total_steps} steps, {config.tokens:,} tokens"


def _progress_text(point: Point, row: Row) -> str:
    return (
        f"{place_in_words(point.config, row)}, val_loss {row['val_loss']:.4f}"
        f"{_by_text(row)}, {row['tokens_per_second']:,.0f} tokens/s, "
        f"{share_done(point.config, row):.0%} of budget"
    )


def _by_text(row: Row) -> str:
    """Return the losses on sources and evaluation sets: `, web 2.3456, code 1.2345`."""
    losses = {name: value for name, value in row.items() if name.startswith("val_loss/")}
    return "".join(f", {name.partition('/')[2]} {value:.4f}" for name, value in losses.items())
