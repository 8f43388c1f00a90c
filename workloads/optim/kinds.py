"""The table of optimizers. A new one is a row here, and what the row names beside this file."""

from __future__ import annotations

from typing import Annotated, NamedTuple

from workloads.optim.adamw import AdamWConfig, AdamWOptions
from workloads.optim.config import OptimizerConfig, OptimizerOptions
from workloads.optim.muon_config import MuonConfig, MuonOptions
from workloads.optim.schedules import SCHEDULE_FIELDS
from workloads.optim.sophia_g_config import SophiaGConfig, SophiaGOptions
from workloads.schema.by_kind import ByKind


class OptimizerKind(NamedTuple):
    """The classes of one kind: its options in a study file, and those of one run."""

    options: type[OptimizerOptions]
    config: type[OptimizerConfig]


# The first is what a file without `optimizer.kind` means.
OPTIMIZERS: dict[str, OptimizerKind] = {
    "adamw": OptimizerKind(AdamWOptions, AdamWConfig),
    "sophia_g": OptimizerKind(SophiaGOptions, SophiaGConfig),
    "muon": OptimizerKind(MuonOptions, MuonConfig),
}

COMMON_FIELDS = OptimizerOptions.model_fields.keys()

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


def completed(written: OptimizerOptions, base: OptimizerOptions) -> OptimizerOptions:
    """Return the options as they are written; what is left out is as written for `base`.

    Of a base of another kind only the fields that all kinds have are taken over, and of one with
    another schedule none of the schedule's.
    """
    given = written.model_dump(include=written.model_fields_set)
    same_kind = type(written) is type(base)
    taken = base.model_fields_set if same_kind else base.model_fields_set & COMMON_FIELDS
    inherited = base.model_dump(include=taken - {"kind"})
    if given.get("schedule", base.schedule) != base.schedule:
        inherited = {n: v for n, v in inherited.items() if n not in SCHEDULE_FIELDS | {"schedule"}}
    return type(written).model_validate(inherited | given)
