"""Inputs of recomputed layers in CPU memory, from the forward pass to the backward pass.

A layer that is recomputed keeps its input alone, and at long contexts these inputs are most of what
training holds. On a CUDA device each is copied to pinned memory on a stream of its own while the
layer computes, and copied back while the layer after it takes its backward pass. On a CPU the same
code copies within its memory, without streams: nothing is saved there, and the same code is tested.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks


@dataclass
class _Kept:
    """One input: its copy in CPU memory until it is fetched, then that on its device, with the
    event at which the latter is whole."""

    device: torch.device
    copy: Tensor | None
    fetched: Tensor | None = None
    ready: torch.Event | None = None


class LayerInputs:
    """The inputs of one forward pass, in the order of the layers."""

    def __init__(self) -> None:
        self._kept: list[_Kept] = []

    def keeping(self, x: Tensor) -> AbstractContextManager[None]:
        """Return a context in which autograd keeps x, and x alone, in CPU memory."""
        # Autograd holds `pack` until the backward pass, and x must go before.
        storage, shape = x.untyped_storage()._cdata, x.shape

        def pack(tensor: Tensor) -> Tensor | int:
            if tensor.untyped_storage()._cdata != storage or tensor.shape != shape:
                return tensor
            self._kept.append(_store(tensor))
            return len(self._kept) - 1

        def unpack(packed: Tensor | int) -> Tensor:
            return self._take(packed) if isinstance(packed, int) else packed

        return saved_tensors_hooks(pack, unpack)

    def _take(self, index: int) -> Tensor:
        """Return an input on its device, and begin to fetch the one before it.

        An input is taken once: its copy is gone then, as an activation is after its backward pass.
        """
        kept = self._kept[index]
        for each in self._kept[max(0, index - 1) : index + 1][::-1]:
            _fetch(each)
        tensor, ready = kept.fetched, kept.ready
        kept.fetched = kept.ready = None
        assert tensor is not None, "the backward pass ran twice"
        if ready is not None:
            current = torch.cuda.current_stream(tensor.device)
            current.wait_event(ready)
            tensor.record_stream(current)
        return tensor


def _store(tensor: Tensor) -> _Kept:
    """Copy a tensor to CPU memory; on CUDA the copy goes on while the device computes."""
    tensor = tensor.detach()
    if not tensor.is_cuda:
        return _Kept(tensor.device, tensor.clone())
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    stream = _stream(tensor.device)
    stream.wait_stream(torch.cuda.current_stream(tensor.device))
    with torch.cuda.stream(stream):
        copy.copy_(tensor, non_blocking=True)
    tensor.record_stream(stream)  # Its memory is not given away before it is copied.
    return _Kept(tensor.device, copy)


def _fetch(kept: _Kept) -> None:
    """Begin to copy an input back to its device, unless that has begun."""
    copy, kept.copy = kept.copy, None
    if copy is None:
        return
    if kept.device.type != "cuda":
        kept.fetched = copy
        return
    stream = _stream(kept.device)
    stream.wait_stream(torch.cuda.current_stream(kept.device))
    with torch.cuda.stream(stream):
        kept.fetched = copy.to(kept.device, non_blocking=True)
        kept.ready = stream.record_event()


@lru_cache
def _stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of all copies between this device and CPU memory."""
    return torch.cuda.Stream(device)
