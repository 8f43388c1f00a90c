"""What the operations import: neither Triton, unless a kernel starts, nor the bench."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]

USED = """
import importlib, sys
from pathlib import Path
{before}
import torch
for path in Path("kernels").glob("[a-z]*.py"):
    importlib.import_module(f"kernels.{{path.stem}}")
from kernels.bias_activation import bias_activation
from kernels.cross_entropy import linear_cross_entropy
x, w = torch.randn(5, 4, requires_grad=True), torch.randn(7, 4, requires_grad=True)
h = bias_activation(x, torch.zeros(4), "gelu")
linear_cross_entropy(h, w, torch.arange(5)).backward()
assert x.grad is not None and w.grad is not None
{after}
"""


def test_operations_on_a_cpu_need_neither_triton_nor_the_bench() -> None:
    code = USED.format(
        before="sys.modules['triton'] = None",
        after="assert not [name for name in sys.modules if name.startswith('kernels.bench')]",
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.gpu
def test_offsets_beyond_32_bits() -> None:
    from kernels.cuda.cross_entropy import rows_in_triton

    device = torch.device("cuda")
    stride = 2**30 + 8
    memory = torch.zeros(2 * stride + 1000, dtype=torch.bfloat16, device=device)
    logits = memory.as_strided((3, 1000), (stride, 1))
    logits.copy_(torch.randn(3, 1000, device=device))
    targets = torch.tensor([1, 500, 999], device=device)
    exact = torch.nn.functional.cross_entropy(logits.double(), targets, reduction="none")
    found = rows_in_triton(logits, targets, -100, True)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)
