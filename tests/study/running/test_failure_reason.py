"""An exception in one line: from errors as they really come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from study.running import failure_reason
from tests.study.launching import ROOT
from workloads.errors import InputError

# Training where the address space is all used up, as a limit of the machine or of a job does it.
STARVED = """
import resource, sys
import torch
from study.running import failure_reason
resource.setrlimit(resource.RLIMIT_AS, (16 * 2**30, resource.RLIM_INFINITY))
try:
    held = [torch.empty(2**28) for _ in range(64)]  # of addresses; none is written to
except Exception as error:
    print(failure_reason.describe(error))
"""


def error_of(failing: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as raised:
        failing()
    return raised.value


def test_memory_that_cannot_be_had() -> None:
    assert failure_reason.describe(error_of(lambda: torch.empty(10**14))).startswith(
        "out of memory: "
    )
    assert (
        failure_reason.describe(error_of(lambda: bytearray(10**15))) == "out of memory: MemoryError"
    )


def test_a_process_that_has_used_up_its_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARVED], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("out of memory: "), done.stderr


def test_a_full_disk() -> None:
    def fill() -> None:
        with Path("/dev/full").open("w") as file:
            file.write("x")

    assert failure_reason.describe(error_of(fill)).startswith("no space left on the disk: ")


def test_a_mistake_is_its_message_and_others_name_their_kind() -> None:
    assert failure_reason.describe(InputError("do this")) == "do this"
    assert (
        failure_reason.describe(ValueError("first line\n second"))
        == "ValueError: first line second"
    )
