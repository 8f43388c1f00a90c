"""Switches between the fast path of each operation and its plain-torch reference.

Every operation has both. `KERNELS=reference` in the environment makes all operations use their
reference, `KERNELS=cross_entropy:reference,attention:reference` these two. The variable is read
once, when this module is imported. A mistake in it is raised by `check`, which commands call first,
and otherwise by the first operation.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from kernels.nearest import nearest_name

OPERATIONS = (
    "attention",
    "bias_activation",
    "block_dense",
    "block_shuffle",
    "cross_entropy",
    "feed_forward",
    "rotary",
    "self_guided",
)
# Switched in earlier versions; what they switched off has gone, so they are still understood.
FORMER_OPERATIONS = ("gemm",)
REFERENCE = "reference"


class UnknownSwitch(ValueError):
    """Error in the value of KERNELS; the message names the mistake and a remedy."""


def parse(value: str) -> frozenset[str]:
    """Return the operations that `KERNELS=value` switches to their references.

    Raises:
        UnknownSwitch: the value is neither `reference` nor a list of `OPERATION:reference`.
    """
    if value.strip() == REFERENCE:
        return frozenset(OPERATIONS)
    off = set()
    for part in filter(None, (part.strip() for part in value.split(","))):
        operation, _, path = part.partition(":")
        if path != REFERENCE or operation not in OPERATIONS + FORMER_OPERATIONS:
            raise UnknownSwitch(
                f"KERNELS={value}: {part!r} is not understood; give `reference`, or pairs such as "
                f"`{nearest_name(operation, OPERATIONS)}:reference`, separated by commas"
            )
        off.add(operation)
    return frozenset(off).intersection(OPERATIONS)


_off: frozenset[str] = frozenset()
_mistake: str | None = None
try:
    _off = parse(os.environ.get("KERNELS", ""))
except UnknownSwitch as error:
    _mistake = str(error)


def check() -> None:
    """Raise UnknownSwitch if KERNELS in the environment is not understood."""
    if _mistake is not None:
        raise UnknownSwitch(_mistake)


def fast(operation: str) -> bool:
    """Return whether the operation may take its fast path; raise as `check` does."""
    check()
    return operation not in _off


@contextmanager
def reference(*operations: str) -> Iterator[None]:
    """Switch these operations, or all if none is named, to their references within the context.

    Code that `torch.compile` has compiled before keeps its path.
    """
    global _off
    before = _off
    _off = before | frozenset(operations or OPERATIONS)
    try:
        yield
    finally:
        _off = before
