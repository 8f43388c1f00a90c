"""The clock that ends a run, in place of a number of steps."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat

from workloads.schema.base import Config

# What a clock counts: the optimizer steps alone, or evaluations and checkpoints as well.
Counted = Literal["training", "everything"]


class ClockConfig(Config):
    """A budget of seconds, over all attempts at the run.

    How many steps fit depends on the machine, so another run of the same configuration has other
    digits.
    """

    seconds: PositiveFloat
    counts: Counted = "training"
