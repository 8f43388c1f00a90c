"""Which operations take their fast path, and which run as they are defined.

Every operation has a plain-torch definition beside its fast path. `KERNELS=reference` in the
environment makes all of them run as defined, `KERNELS=cross_entropy:reference,attention:reference`
those two. It is read once, when this module is imported; what is wrong with it is raised by
`check`, with which commands begin, and at the latest by the first operation.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from contextlib import contextmanager

OPERATIONS = (
    "attention",
    "bias_activation",
    "block_dense",
    "block_shuffle",
    "cross_entropy",
    "feed_forward",
    "gemm",
    "rotary",
    "self_guided",
)
REFERENCE = "reference"


class UnknownSwitch(ValueError):
    """KERNELS is not understood; the message names what is wrong, and a remedy."""


def parse(value: str) -> frozenset[str]:
    """The operations that `KERNELS=value` turns off; UnknownSwitch where it is not understood."""
    if value.strip() == REFERENCE:
        return frozenset(OPERATIONS)
    off = set()
    for part in filter(None, (part.strip() for part in value.split(","))):
        operation, _, path = part.partition(":")
        if path != REFERENCE or operation not in OPERATIONS:
            near = difflib.get_close_matches(operation, OPERATIONS, n=1, cutoff=0.0)[0]
            raise UnknownSwitch(
                f"KERNELS={value}: {part!r} is not understood; give `reference`, or pairs such as "
                f"`{near}:reference`, separated by commas"
            )
        off.add(operation)
    return frozenset(off)


_off: frozenset[str] = frozenset()
_mistake: str | None = None
try:
    _off = parse(os.environ.get("KERNELS", ""))
except UnknownSwitch as error:
    _mistake = str(error)


def check() -> None:
    """Raise UnknownSwitch where the environment's KERNELS is not understood."""
    if _mistake is not None:
        raise UnknownSwitch(_mistake)


def fast(operation: str) -> bool:
    """Whether the operation may take its fast path; raises as `check` does."""
    check()
    return operation not in _off


@contextmanager
def reference(*operations: str) -> Iterator[None]:
    """Within it these operations, or all if none is named, run as defined: for tests, benchmarks.

    What `torch.compile` made before stays as it is.
    """
    global _off
    before = _off
    _off = before | frozenset(operations or OPERATIONS)
    try:
        yield
    finally:
        _off = before
