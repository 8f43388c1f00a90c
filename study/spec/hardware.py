"""The GPUs that a study is planned for, and how well each FFN kind uses them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
)

from workloads.config.ffn_kinds import FFN_KINDS, FFNKindName
from workloads.cost.accelerators import (
    DEFAULT_MFU,
    known_accelerator,
)
from workloads.schema.base import Config


def _of_every_kind(given: Any) -> Any:
    """Return a number for every kind: one for all of them, or the default where a mapping leaves
    a kind out."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        if not 0 < given <= 1:
            raise ValueError("must be greater than 0 and at most 1; write 0.4, say")
        return dict.fromkeys(FFN_KINDS, given)
    if not isinstance(given, dict):
        raise ValueError("this is a number, or a number for each FFN kind; write 0.4, say")
    return DEFAULT_MFU | given


Utilization = Annotated[float, Field(gt=0, le=1)]


AcceleratorName = Annotated[str, AfterValidator(known_accelerator)]


UtilizationByKind = Annotated[
    dict[FFNKindName, Utilization],
    BeforeValidator(_of_every_kind, json_schema_input_type=Utilization | dict[str, Utilization]),
]


class HardwareSpec(Config):
    """The GPUs that hours, money and `wall_seconds` budgets are planned for."""

    accelerator: AcceleratorName
    """a100-80g, h100 or h200."""
    gpus: PositiveInt = 1
    """GPUs that one point trains on."""
    host_memory_gb: PositiveFloat | None = None
    """CPU memory that a point may take, in GB (1e9 bytes); left out, `runtime.fit` moves nothing
    there."""
    mfu: UtilizationByKind = DEFAULT_MFU
    """Model FLOPs utilization, one number or one for each FFN kind; kinds left out have that of
    arXiv 2406.16450's published times."""
    price_per_gpu_hour: NonNegativeFloat | None = None
    """What a GPU costs an hour; left out, no cost is planned."""
    currency: str = "USD"
    """Currency of the price."""
