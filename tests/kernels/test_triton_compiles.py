"""Every Triton configuration that is shipped, compiled for A100 and H100 without a GPU.

What the interpreter accepts need not be valid on a GPU, nor fit its registers and shared memory.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

triton = pytest.importorskip("triton")
from triton.backends.compiler import GPUTarget  # noqa: E402  # only where there is Triton
from triton.compiler import ASTSource  # noqa: E402

from kernels.bias_activation import TRITON_DTYPES as ACTIVATION_TYPES  # noqa: E402
from kernels.cross_entropy import TRITON_DTYPES as LOSS_TYPES  # noqa: E402
from kernels.cuda import bias_activation, cross_entropy  # noqa: E402

CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
# Bytes of shared memory that one program may have, by compute capability.
SHARED_BYTES = {80: 163 * 1024, 90: 227 * 1024}
POINTERS = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}


@dataclass(frozen=True)
class Configuration:
    """A kernel with the types of its arguments in order, and with its constants."""

    name: str
    kernel: Any
    types: tuple[str, ...]
    constants: dict[str, Any]
    warps: int


def of_cross_entropy() -> Iterator[Configuration]:
    for dtype, (block, warps), gradient in itertools.product(
        LOSS_TYPES, cross_entropy.CONFIGURATIONS, (True, False)
    ):
        yield Configuration(
            f"rows-{dtype}-{block}-{'gradient' if gradient else 'loss'}",
            cross_entropy.rows_kernel,
            (POINTERS[dtype], "*i64", "*fp32", "i32", "i32", "i32"),
            {"GRADIENT": gradient, "BLOCK": block},
            warps,
        )


def of_bias_activation() -> Iterator[Configuration]:
    blocks = {
        "BLOCK_ROWS": bias_activation.BLOCK_ROWS,
        "BLOCK_COLUMNS": bias_activation.BLOCK_COLUMNS,
    }
    # Under autocast z is in bf16 and the bias in fp32.
    biases = [(dtype, dtype) for dtype in ACTIVATION_TYPES]
    for (z, bias), activation in itertools.product(
        [*biases, (torch.bfloat16, torch.float32)], bias_activation.ACTIVATIONS
    ):
        constants = {"ACTIVATION": activation, "BIAS": True, **blocks}
        forward = POINTERS[z], POINTERS[bias], POINTERS[z], "i32", "i32", "i32"
        backward = POINTERS[z], *forward[:3], "*fp32", "i32", "i32", "i32"
        name = f"{z}-{bias}-{activation}"
        kernels = bias_activation.activate_kernel, bias_activation.differentiate_kernel
        group = {"GROUP_ROWS": bias_activation.GROUP_ROWS}
        warps = bias_activation.WARPS
        yield Configuration(f"activate-{name}", kernels[0], forward, constants, warps)
        yield Configuration(f"gradient-{name}", kernels[1], backward, group | constants, warps)


CONFIGURATIONS = [*of_cross_entropy(), *of_bias_activation()]


def compiled(configuration: Configuration, capability: int, aligned: bool) -> Any:
    """Compile the kernel; `aligned` addresses, widths and strides are multiples of 16."""
    names = configuration.kernel.arg_names
    types = dict(zip(names, configuration.types, strict=False))
    types |= dict.fromkeys(configuration.constants, "constexpr")
    divisible = [["tt.divisibility", 16]]
    attributes = {(i,): divisible for i in range(len(configuration.types))} if aligned else {}
    source = ASTSource(configuration.kernel, types, configuration.constants, attributes)
    options = {"num_warps": configuration.warps}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


# Each configuration on each device once, and once with either alignment.
@pytest.mark.parametrize(("capability", "aligned"), [(80, True), (90, False)])
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda c: c.name)
def test_nothing_spills_and_shared_memory_suffices(
    configuration: Configuration, capability: int, aligned: bool, tmp_path: Path
) -> None:
    kernel = compiled(configuration, capability, aligned)
    assert kernel.metadata.shared <= SHARED_BYTES[capability]
    cubin = tmp_path / "kernel.cubin"
    cubin.write_bytes(kernel.asm["cubin"])
    usage = subprocess.run(
        [CUOBJDUMP, "--dump-resource-usage", cubin], capture_output=True, text=True, check=True
    ).stdout
    # Local memory, which the stack is part of, is where registers spill to.
    used = {name: int(value) for name, value in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", usage)}
    assert used["STACK"] == used["LOCAL"] == 0 < used["REG"] <= 255
