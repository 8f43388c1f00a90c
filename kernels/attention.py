"""Attention with grouped queries: flash-attn where it serves, else torch's fused attention.

flash-attn (Dao 2023, arXiv 2307.08691) is taken where it is installed and knows the case: CUDA of
compute capability 8 on, fp16 or bf16, heads of at most 256 features, causal without a mask of one's
own, as in training. All else goes to `scaled_dot_product_attention`, also decoding from a cache,
whose rows differ in length and so have a mask.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import torch
from torch import Tensor
from torch.nn import functional as F

from kernels.switches import fast

FLASH_DTYPES = (torch.float16, torch.bfloat16)
FLASH_HEAD_DIM = 256
FLASH_CAPABILITY = 8  # major


def _is_installed(package: str) -> bool:
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


HAS_FLASH = _is_installed("flash-attn")  # Asked of the metadata: importing it loads CUDA libraries.


def attention(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, scale: float
) -> Tensor:
    """softmax(scale query key') value of each head; (batch, heads, time, head_dim).

    Without a mask it is causal: the last query sees all keys, and each one before it one key less,
    so the queries may be the last tokens of those in a cache.

    Args:
        query: (batch, heads, time, head_dim).
        key: (batch, kv_heads, slots, head_dim); each serves heads / kv_heads successive heads.
        value: like `key`.
        mask: true where a query sees a key, broadcastable to (batch, heads, time, slots).
        scale: factor of the scores.

    Raises:
        ValueError: heads are no multiple of kv_heads, or without a mask slots are fewer than time.
    """
    heads, kv_heads, time, slots = query.shape[1], key.shape[1], query.shape[2], key.shape[2]
    if heads % kv_heads:
        raise ValueError(f"{heads} heads cannot share {kv_heads} keys; give a divisor of {heads}")
    if mask is None and slots < time:
        raise ValueError(
            f"{time} causal queries but {slots} keys: the first would see none; give a mask"
        )
    if not fast("attention"):
        return definition(query, key, value, mask, scale=scale)
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


def definition(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, *, scale: float
) -> Tensor:
    """`attention` as it is defined, all scores at once, the softmax in fp32 at least."""
    group = query.shape[1] // key.shape[1]
    key, value = (part.repeat_interleave(group, dim=1) for part in (key, value))
    if mask is None:
        mask = causal_mask(query.shape[2], key.shape[2], query.device)
    scores = (query @ key.transpose(-1, -2)) * scale
    wide = torch.promote_types(scores.dtype, torch.float32)
    weights = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1, dtype=wide)
    return weights.to(value.dtype) @ value


def causal_mask(time: int, slots: int, device: torch.device) -> Tensor:
    """(time, slots), true where a key is seen by the queries, which are the last of the slots."""
    return torch.ones(time, slots, dtype=torch.bool, device=device).tril(slots - time)


def _suits_flash(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether flash-attn is there and computes this."""
    return (
        HAS_FLASH
        and query.is_cuda
        and query.dtype in FLASH_DTYPES
        and query.dtype == key.dtype == value.dtype
        and query.shape[-1] <= FLASH_HEAD_DIM
        and torch.cuda.get_device_properties(query.device).major >= FLASH_CAPABILITY
    )


def _flash(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Causal attention by flash-attn, which takes (batch, time, heads, head_dim).

    Its causal mask too lets the last query see all keys.
    """
    from flash_attn import flash_attn_func  # type: ignore[import-not-found]  # An extra.

    parts = (part.transpose(1, 2) for part in (query, key, value))
    return flash_attn_func(*parts, softmax_scale=scale, causal=True).transpose(1, 2)
