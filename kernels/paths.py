"""The path (implementation) that each operation takes on a device, for the record of a run."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from kernels import switches
from kernels.attention import FLASH_CAPABILITY, HAS_FLASH

# Operations that have Triton kernels on CUDA.
TRITON = ("bias_activation", "cross_entropy")
CPU_ONLY, CUDA_ONLY = ("feed_forward", "rotary"), ("bias_activation",)


def kernel_path(device: torch.device) -> str:
    """Return `operation=path` of each operation on the device, separated by spaces.

    An example is `attention=sdpa block_dense=torch cross_entropy=triton`. The paths are those
    without `torch.compile`, for training in the device's precision:

    - `reference`: the plain-torch reference, because `KERNELS` asks for it,
    - `torch`: the fast path, written in torch operations,
    - `triton`: a Triton kernel,
    - `sdpa`, `flash`: torch's fused attention, flash-attn,
    - `mkl`, `torch` (of `gemm`, a CPU's float32 products): the library that multiplies, the latter
      for any other that torch was built with.
    """
    cpu = device.type == "cpu"
    found = {
        name: _path(name, device) if switches.fast(name) else switches.REFERENCE
        for name in switches.OPERATIONS
        if name not in (CUDA_ONLY if cpu else CPU_ONLY)
    }
    if cpu:
        found["gemm"] = "mkl" if torch.backends.mkl.is_available() else "torch"
    return " ".join(f"{name}={path}" for name, path in found.items())


def _path(operation: str, device: torch.device) -> str:
    if operation == "attention":
        return "flash" if device.type == "cuda" and _flash_serves(device) else "sdpa"
    if operation in TRITON and device.type == "cuda" and find_spec("triton"):
        return "triton"
    return "torch"


def _flash_serves(device: torch.device) -> bool:
    """Return whether flash-attn is installed and supports the device."""
    return HAS_FLASH and torch.cuda.get_device_capability(device)[0] >= FLASH_CAPABILITY
