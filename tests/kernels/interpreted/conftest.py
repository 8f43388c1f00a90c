"""Tests of Triton kernels on CPU tensors, in a process of their own.

Triton reads TRITON_INTERPRET when a kernel is decorated, so nothing here is collected without it;
`tests/kernels/test_triton_interpreter.py` sets it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

collect_ignore_glob = [] if os.environ.get("TRITON_INTERPRET") == "1" else ["test_*.py"]


@pytest.fixture(autouse=True)
def poisoned() -> Iterator[None]:
    """Fill all memory that is allocated and not written with NaN."""
    torch.use_deterministic_algorithms(True)
    assert torch.ones(1).new_empty(3).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)
