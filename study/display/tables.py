"""Tables and numbers as the command line prints them."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from study.ledger.status import Status

# Above so many points, `plan` lists the first, and `status` those that want attention only.
MANY_POINTS = 200
STYLES: dict[str, str] = {
    Status.FINISHED: "green",
    Status.RUNNING: "cyan",
    Status.DIVERGED: "red",
    Status.FAILED: "red",
}


def new_table(*columns: str) -> Table:
    """Return an empty table: numbers to the right, words to the left."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in columns:
        words = name in ("point", "state", "cause")
        table.add_column(name, justify="left" if words else "right", no_wrap=name != "cause")
    return table


def print_whole(console: Console, table: Table) -> None:
    """Print a table in its full width: a narrower terminal wraps lines rather than lose digits."""
    needed = Measurement.get(console, console.options.update(max_width=500), table).maximum
    console.width = max(console.width, needed)
    console.print(table)


def styled(state: str) -> Text:
    """Return a state in its colour."""
    return Text(state, STYLES.get(state, "yellow"))


def count(value: int) -> str:
    """Return a count with a metric prefix: `1.28M`, `25.5G`."""
    for size, prefix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= size:
            return f"{value / size:.4g}{prefix}"
    return str(value)


def duration(seconds: float) -> str:
    """Return seconds in the largest fitting unit: `42 s`, `3.5 min`, `2.1 h`, `14 d`, `67 y`."""
    for size, unit in ((365 * 86400, "y"), (86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} s"


def hours_text(hours: float) -> str:
    """Return hours with four digits."""
    return f"{hours:,.4g}" if hours >= 0.01 or not hours else "<0.01"


def money_text(amount: float) -> str:
    """Return an amount of money, in whole units where it is large."""
    if 0 < amount < 0.01:
        return "<0.01"
    return f"{amount:,.0f}" if amount >= 100 else f"{amount:.2f}"
