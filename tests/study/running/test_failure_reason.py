"""An exception in one line: from errors as they really come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from ray.exceptions import OutOfMemoryError

from study.running import driver, failure_reason, run
from tests.study.launching import ROOT
from workloads.errors import InputError

# Training where the address space is all used up, as a limit of the machine or of a job does it.
STARVED = """
import resource, sys
import torch
from ray.exceptions import OutOfMemoryError

from study.running import driver, failure_reason, run
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


def test_memory_that_ray_saves_is_the_cause_in_one_line() -> None:
    text = "ray.exceptions.OutOfMemoryError: 2 worker(s) were killed\nRefer to the documentation"
    assert driver._cause_in(text) == "Ray stopped its process: the machine's memory was nearly full"


def test_tune_giving_up_on_memory_is_told_from_its_other_errors() -> None:
    try:
        try:
            raise OutOfMemoryError("1 worker(s) were killed")
        except OutOfMemoryError as error:
            raise RuntimeError("Caught unexpected exception") from error
    except RuntimeError as error:
        assert run._ran_out_of_memory(error)
    assert not run._ran_out_of_memory(RuntimeError("anything else"))
