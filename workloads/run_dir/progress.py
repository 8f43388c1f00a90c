"""How far a run is, by a row of its metrics: in steps, or in the seconds that a clock gives it."""

from __future__ import annotations

from collections.abc import Mapping

from workloads.config.run import RunConfig


def share_done(config: RunConfig, row: Mapping[str, float]) -> float:
    """Return the part of its budget that the run has spent, from 0 to about 1; 0 without a row."""
    if config.clock:
        return row.get("clock_seconds", 0.0) / config.clock.seconds
    return row.get("step", 0.0) / config.total_steps


def place_in_words(config: RunConfig, row: Mapping[str, float]) -> str:
    """Return how far the run is: `step 50/200`, or `step 50, 12 of 60 s`."""
    if config.clock:
        spent, seconds = row["clock_seconds"], config.clock.seconds
        return f"step {row['step']:.0f}, {spent:.{_decimals(seconds)}f} of {seconds:g} s"
    return f"step {row['step']:.0f}/{config.total_steps}"


def _decimals(seconds: float) -> int:
    return 0 if seconds >= 20 else 1
