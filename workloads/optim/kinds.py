"""The table of optimizers. A new one is a file beside this one and a row here."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from workloads.optim.adamw import AdamWConfig, AdamWOptions
from workloads.optim.config import OptimizerConfig, OptimizerOptions
from workloads.schema.by_kind import ByKind


class OptimizerKind(NamedTuple):
    """The classes of one kind: its options in a study file, and those of one run."""

    options: type[OptimizerOptions]
    config: type[OptimizerConfig]


# The first is what a file without `optimizer.kind` means.
OPTIMIZERS: dict[str, OptimizerKind] = {
    "adamw": OptimizerKind(AdamWOptions, AdamWConfig),
}

AnyOptimizerOptions = Annotated[
    OptimizerOptions, ByKind({name: kind.options for name, kind in OPTIMIZERS.items()})
]
AnyOptimizerConfig = Annotated[
    OptimizerConfig, ByKind({name: kind.config for name, kind in OPTIMIZERS.items()})
]


def of_run(options: OptimizerOptions, learning_rate: float) -> OptimizerConfig:
    """Return the optimizer of a run with these options and this peak rate."""
    config = next(k.config for k in OPTIMIZERS.values() if isinstance(options, k.options))
    return config.model_validate(options.model_dump() | {"learning_rate": learning_rate})
