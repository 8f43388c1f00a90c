"""Models that fit an architecture of transformers, and their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workloads.config.model import ModelConfig
from workloads.interop.model_file import save_model
from workloads.nn.projections.base import Projection
from workloads.nn.self_guided import add_guides
from workloads.nn.transformer import Transformer

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "block_size": 48,
    "num_layers": 3,
    "hidden_dim": 36,
    "ffn_dim": 60,
    "num_heads": 3,
    "rope_base": 700.0,
}
LLAMA = {"norm": "rmsnorm", "activation": "swiglu", "bias": False, "tie_embeddings": False}
SCALING = {"factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 3.0}
SCALING |= {"original_block_size": 32}
GUIDE = {"ratio": 0.5}
LLAMAS: dict[str, dict[str, Any]] = {
    "llama": LLAMA,
    "llama grouped queries": LLAMA | {"num_heads": 6, "num_kv_heads": 2},
    "llama tied": LLAMA | {"tie_embeddings": True, "norm_eps": 1e-3},
    "llama with biases": LLAMA | {"bias": True},
    "llama wide attention": LLAMA | {"attn_dim": 48, "num_kv_heads": 1},
    "llama scaled": LLAMA | {"rope_scaling": SCALING},
    "llama interpolated": LLAMA | {"rope_interpolation": 2.5},
    "llama lowrank": LLAMA | {"ffn": {"kind": "lowrank", "rank": 7}, "num_kv_heads": 1},
    "llama blockdense": LLAMA | {"ffn": {"kind": "blockdense", "rank": 6, "nblocks": 3}},
    "llama blockshuffle guided": LLAMA
    | {"ffn": {"kind": "blockshuffle", "nblocks": 4, "keep_first_dense": False}, "guide": GUIDE},
}
NEOXES: dict[str, dict[str, Any]] = {
    "neox": {},
    "neox untied": {"tie_embeddings": False, "norm_eps": 1e-3},
    "neox without biases": {"bias": False, "tie_embeddings": False},
    "neox approximate gelu": {"activation": "gelu_tanh", "dropout": 0.1},
    "neox interpolated": {"rope_interpolation": 2.5},
    "neox scaled": {"rope_scaling": SCALING},
    "neox lowrank guided": {"ffn": {"kind": "lowrank", "rank": 7}, "guide": GUIDE},
    "neox blockdense": {"ffn": {"kind": "blockdense", "rank": 6, "nblocks": 3}, "bias": False},
    "neox blockshuffle": {"ffn": {"kind": "blockshuffle", "nblocks": 4}},
}
MODELS = LLAMAS | NEOXES


def built(options: dict[str, Any], std: float = 0.25) -> Transformer:
    """With no parameter at a special value, and different tokens are followed by different ones;
    guides have a weight of 0.3."""
    model = Transformer(ModelConfig.model_validate(SHAPE | options))
    if model.config.guide:
        add_guides(model, model.config.guide)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, std=std)
        if "ln" in name.split(".")[-2] and name.endswith("weight"):
            parameter.data += 1
        # Or a tied token is followed by itself, or every token by one that biases make large.
        if name == "wte.weight" or name.endswith(".bias"):
            parameter.data /= 5
    for module in model.modules():
        if isinstance(module, Projection):
            module.guide_weight.fill_(0.3)
    return model.eval()


def saved(options: dict[str, Any], path: Path) -> Path:
    save_model(built(options), path)
    return path


def tokens_of(model: Transformer, batch: int = 2) -> Tensor:
    config = model.config
    return torch.randint(config.vocab_size, (batch, config.block_size))
