"""One file for a model: its weights and its configuration, as safetensors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kernels.files import write_atomically
from workloads.config.model import ModelConfig
from workloads.errors import InputError
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer, rope_rotation

FORMAT = "structured-scaling model 1"
SHARE = ".guide_share"


def save_model(model: Transformer, path: Path) -> None:
    """Write weights and configuration as one safetensors file, whole or not at all.

    The weights have the names of `model.state_dict()`; a guide's factor in the mixture stands
    beside it. Raises InputError where the file cannot be written.
    """
    tensors = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    for name, projection in guides_of(model).items():
        tensors[name + SHARE] = projection.guide_weight.cpu().clone()
    metadata = {"format": FORMAT, "config": model.config.model_dump_json()}
    try:
        write_atomically(path, save(tensors, metadata), durable=True)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be written: {error}; choose another place") from error


def load_model(path: Path) -> Transformer:
    """Return the model that `save_model` wrote, on the CPU. Raises InputError."""
    try:
        with safe_open(path, framework="pt") as file:
            config = ModelConfig.model_validate_json((file.metadata() or {})["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        shares = {n.removesuffix(SHARE): tensors.pop(n) for n in list(tensors) if n.endswith(SHARE)}
        model = outline(config, guided=bool(shares), norm_biases="ln_f.bias" in tensors)
        return filled(model, tensors, shares)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: is not a model of this platform: {error}; import it") from error


def is_model(path: Path) -> bool:
    """Return whether the file is one that `save_model` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def guides_of(model: Transformer) -> dict[str, Projection]:
    """Return the projections that have a guide, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Projection) and module.guide is not None
    }


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
    model: Transformer, tensors: Mapping[str, Tensor], shares: Mapping[str, Tensor]
) -> Transformer:
    """Fill an outline with copies of these weights, and with the buffers that are not saved."""
    copies = {
        name: tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        for name, tensor in tensors.items()
    }
    model.load_state_dict(copies, assign=True)
    config = model.config
    if config.position == "rope":
        model.rotation = rope_rotation(
            config.block_size, config.head_dim, config.rope_base, config.rope_interpolation
        )
    for name, module in model.named_modules():
        if isinstance(module, Projection):
            share = float(shares.get(name, 1.0))
            module.guide_weight = torch.full((), share, device="cpu")
    assert not any(buffer.is_meta for buffer in model.buffers())
    return model
