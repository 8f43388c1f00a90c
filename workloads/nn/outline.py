"""A model without values, and one filled with given weights: nothing is initialized in vain."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from workloads.config.model import ModelConfig
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer, rotation_of


def outline(config: ModelConfig, guided: bool, norm_biases: bool) -> Transformer:
    """Return a model without values, because initializing a large model takes minutes."""
    with torch.device("meta"):
        model = Transformer(config)
        if guided and config.guide:
            add_guides(model, config.guide)
    for norm in model.modules():
        if norm_biases and isinstance(norm, nn.LayerNorm) and norm.bias is None:
            norm.bias = nn.Parameter(torch.empty_like(norm.weight))
    return model


def filled(
    model: Transformer,
    tensors: Mapping[str, Tensor],
    shares: Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
) -> Transformer:
    """Fill an outline with copies of these weights on the CPU, and with the buffers that are not
    saved. `shares` are the guides' factors in the mixture, by the names of their projections."""
    copies = {
        name: tensor.detach().to("cpu", dtype, copy=True).contiguous()
        for name, tensor in tensors.items()
    }
    model.load_state_dict(copies, assign=True)
    rotation = rotation_of(model.config)
    model.rotation = None if rotation is None else rotation.to(dtype)
    for name, module in model.named_modules():
        if isinstance(module, Projection):
            share = float(shares.get(name, 1.0))
            module.guide_weight = torch.full((), share, device="cpu", dtype=dtype)
    assert not any(buffer.is_meta for buffer in model.buffers())
    return model
