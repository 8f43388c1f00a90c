"""The path that each operation takes on a device, for the record of a run."""

from __future__ import annotations

from importlib.util import find_spec

import torch

from kernels import gemm, switches
from kernels.attention import FLASH_CAPABILITY, HAS_FLASH

# Kernels of their own on CUDA, in Triton.
TRITON = ("bias_activation", "cross_entropy")
CPU_ONLY = ("feed_forward", "gemm", "rotary")


def kernel_path(device: torch.device) -> str:
    """`operation=path` of each operation that the device has, such as
    `attention=sdpa block_dense=torch cross_entropy=triton`.

    As it is without `torch.compile`, for training in the device's precision. A path is
    `reference` (as defined, because KERNELS says so), `torch` (our own, in torch's operations),
    `triton`, `sdpa` or `flash`; that of gemm, the CPU's float32 products, is the library at work,
    `mkl`, `onednn`, or `torch` for another that torch was built with.
    """
    cpu = device.type == "cpu"
    found = {
        name: _path(name, device) if switches.fast(name) else switches.REFERENCE
        for name in switches.OPERATIONS
        if cpu or name not in CPU_ONLY
    }
    if cpu:
        found["gemm"] = gemm.library()
    return " ".join(f"{name}={path}" for name, path in found.items())


def _path(operation: str, device: torch.device) -> str:
    if operation == "attention":
        return "flash" if device.type == "cuda" and _flash_serves(device) else "sdpa"
    if operation in TRITON and device.type == "cuda" and find_spec("triton"):
        return "triton"
    return "torch"


def _flash_serves(device: torch.device) -> bool:
    """Whether flash-attn is installed and knows the device."""
    return HAS_FLASH and torch.cuda.get_device_capability(device)[0] >= FLASH_CAPABILITY
