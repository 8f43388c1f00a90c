"""One file for a model: its weights and its configuration, as safetensors."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from kernels.files import write_atomically
from workloads.config.model import ModelConfig
from workloads.errors import InputError
from workloads.nn.outline import filled, outline
from workloads.nn.projections.base import Projection
from workloads.nn.transformer import Transformer

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
    """Return the model that `save_model` wrote, on the CPU in fp32, or in float64 where it was.

    Raises InputError where the file is none.
    """
    try:
        with safe_open(path, framework="pt") as file:
            config = ModelConfig.model_validate_json((file.metadata() or {})["config"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
        shares = {n.removesuffix(SHARE): tensors.pop(n) for n in list(tensors) if n.endswith(SHARE)}
        model = outline(config, guided=bool(shares), norm_biases="ln_f.bias" in tensors)
        wide = all(tensor.dtype == torch.float64 for tensor in tensors.values())
        return filled(model, tensors, shares, torch.float64 if wide else torch.float32)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: is not a model of this platform: {error}; import it") from error


def is_model(path: Path) -> bool:
    """Return whether the file is one that `save_model` wrote."""
    try:
        with safe_open(path, framework="pt") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def tokenizer_beside(path: Path) -> Path:
    """Return where the tokenizer of a model file is kept, if it has one: `m.tokenizer.json` beside
    `m.safetensors`."""
    return path.with_suffix(".tokenizer.json")


def guides_of(model: Transformer) -> dict[str, Projection]:
    """Return the projections that have a guide, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, Projection) and module.guide is not None
    }
