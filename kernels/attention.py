"""Attention with grouped queries: flash-attn where it applies, otherwise torch's fused attention.

flash-attn (Dao 2023, arXiv 2307.08691) is an optional dependency. It computes causal attention
without an explicit mask, in fp16 or bf16, for heads of at most 256 features, on CUDA devices of
compute capability 8 or higher; training is such a case. Everything else goes to torch's
`scaled_dot_product_attention`, including decoding from a cache, whose rows differ in length and
therefore need a mask.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.switches import fast

FLASH_DTYPES = (torch.float16, torch.bfloat16)
FLASH_HEAD_DIM = 256
FLASH_CAPABILITY = 8  # The major version of the compute capability.


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


# The package's metadata is asked, because importing flash-attn loads CUDA libraries.
HAS_FLASH = _is_installed("flash-attn")


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, scale: float
) -> Tensor:
    """Return softmax(scale query key^T) value of each head, (batch, heads, time, head_dim).

    Without a mask the attention is causal: the last query sees all keys, and each query before it
    sees one key less. The queries may therefore be the last tokens of those in a cache.

    Args:
        query: (batch, heads, time, head_dim).
        key: (batch, kv_heads, slots, head_dim); heads / kv_heads successive heads share each.
        value: same shape as `key`.
        mask: true where a query sees a key, broadcastable to (batch, heads, time, slots).
        scale: factor of the scores.

    Raises:
        ValueError: heads is no multiple of kv_heads, or without a mask slots is less than time.
    """
    heads, kv_heads, time, slots = query.shape[1], key.shape[1], query.shape[2], key.shape[2]
    if heads % kv_heads:
        raise ValueError(f"{heads} heads cannot share {kv_heads} keys; give a divisor of {heads}")
    if mask is None and slots < time:
        raise ValueError(
            f"{time} causal queries but {slots} keys: the first would see none; give a mask"
        )
    if not fast("attention"):
        return reference(query, key, value, mask, scale=scale)
    if mask is None and _suits_flash(query, key, value):
        return _flash(query, key, value, scale)
    square = time == slots
    if mask is None and not square and time > 1:  # A single query sees all keys.
        mask = causal_mask(time, slots, query.device)
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        mask,
        is_causal=mask is None and square,
        scale=scale,
        # On a CPU 1.1 to 12 times as fast as repeating the keys, and equal to the bit.
        enable_gqa=heads != kv_heads,
    )


def reference(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, scale: float
) -> Tensor:
    """Compute `attention` in plain torch: all scores at once, the softmax in at least fp32."""
    group = query.shape[1] // key.shape[1]
    key = key.repeat_interleave(group, dim=1)
    value = value.repeat_interleave(group, dim=1)
    if mask is None:
        mask = causal_mask(query.shape[2], key.shape[2], query.device)
    scores = (query @ key.transpose(-1, -2)) * scale
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1, dtype=wide)
    return weights.to(value.dtype) @ value


def causal_mask(time: int, slots: int, device: torch.device) -> Tensor:
    """Return a (time, slots) mask, true where a query sees a key.

    The queries are the last `time` of the `slots` tokens.
    """
    return torch.ones(time, slots, dtype=torch.bool, device=device).tril(slots - time)


def _suits_flash(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Return whether flash-attn is installed and computes causal attention of these tensors."""
    return (
        HAS_FLASH
        and query.is_cuda
        and query.dtype in FLASH_DTYPES
        and query.dtype == key.dtype == value.dtype
        and query.shape[-1] <= FLASH_HEAD_DIM
        and torch.cuda.get_device_properties(query.device).major >= FLASH_CAPABILITY
    )


def _flash(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Compute causal attention by flash-attn, whose layout is (batch, time, heads, head_dim).

    Its causal mask, like ours, lets the last query see all keys.
    """
    from flash_attn import flash_attn_func  # type: ignore[import-not-found]  # An extra.

    mixed = flash_attn_func(
        query.transpose(1, 2),
        key.transpose(1, 2),
        value.transpose(1, 2),
        softmax_scale=scale,
        causal=True,
    )
    return mixed.transpose(1, 2)
