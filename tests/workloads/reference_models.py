"""Models of the public implementation: weights, the platform's configuration, and files."""

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.workloads import published
from tests.workloads.published import Shape, State
from workloads.config.model import FFNConfig, GuideConfig, ModelConfig

STEPS, FIRST, PEAK = 20, 3, 6e-4
GUIDE = GuideConfig(ratio=0.5, mode="fixed_steps", reduce_flops=False)
GQA = Shape("lowrank", attn_dim=40, num_q_heads=4, num_kv_heads=2)
SHAPES = {
    "dense": Shape(),
    "lowrank": Shape("lowrank"),
    "blockdense": Shape("blockdense", rank=6),
    "blockshuffle": Shape("blockshuffle"),
    "first layer too": Shape("blockshuffle", nblocks=9, first_layer=False),
    "narrow ffn": Shape("blockshuffle", ffn_dim=9),
    "grouped queries": GQA,
    "untied": Shape("blockdense", rank=6, tied=False),
    "swiglu": Shape("lowrank", act="swiglu"),
    "swiglu in blocks": Shape("blockshuffle", act="swiglu"),
    "rmsnorm": Shape("lowrank", norm="rmsnorm"),
    "no biases": Shape("lowrank", norm="rmsnorm", bias=False),
    "biases of norms": Shape("blockdense", rank=6, bias=False),
    "absolute": Shape("lowrank", position="absolute"),
    "rope": Shape("lowrank", rotary_base=500.0, interpolation=3.0),
    "scaled scores": Shape("lowrank", inverse_layer_scale=True),
    "all": replace(
        GQA,
        kind="blockshuffle",
        tied=False,
        act="swiglu",
        norm="rmsnorm",
        bias=False,
        position="absolute",
        inverse_layer_scale=True,
    ),
    "guided lowrank": Shape("lowrank", guided=True),
    "guided blockdense": Shape("blockdense", rank=6, guided=True, bias=False, norm="rmsnorm"),
    "guided blockshuffle": Shape("blockshuffle", guided=True, act="swiglu", first_layer=False),
}


def config_of(shape: Shape) -> ModelConfig:
    """The same model by the platform's configuration."""
    ffn = FFNConfig(
        kind="dense" if shape.kind == "linear" else shape.kind,
        rank=shape.rank if shape.kind in ("lowrank", "blockdense") else None,
        nblocks=shape.nblocks if shape.kind in ("blockdense", "blockshuffle") else None,
        keep_first_dense=shape.first_layer,
    )
    return ModelConfig(
        vocab_size=shape.vocab_size,
        block_size=shape.max_positions,
        num_layers=shape.num_layers,
        hidden_dim=shape.hidden_dim,
        ffn_dim=shape.ffn_dim,
        attn_dim=shape.attn_dim,
        num_heads=shape.num_q_heads,
        num_kv_heads=shape.num_kv_heads,
        ffn=ffn,
        guide=GUIDE if shape.guided else None,
        position=shape.position,
        rope_base=shape.rotary_base,
        rope_interpolation=shape.interpolation or 1.0,
        norm=shape.norm,
        activation=shape.act,
        tie_embeddings=shape.tied,
        bias=shape.bias,
        inverse_layer_scale=shape.inverse_layer_scale,
    )


def state_of(shape: Shape, guided_for: int = FIRST) -> State:
    """Random weights; guides as they stand after so many steps."""
    state = published.random_state(shape)
    for name in [n for n in state if n.endswith(".count")]:
        share = (1 + torch.cos(torch.tensor(guided_for / (STEPS // 2) * torch.pi))) / 2
        state[name] = torch.tensor(guided_for)
        state[name.replace("count", "ratio")] = share
    return state


def batches_of(shape: Shape, count: int) -> list[tuple[Tensor, Tensor]]:
    rows = torch.randint(shape.vocab_size, (count, 4, shape.max_positions + 1))
    return [(row[:, :-1], row[:, 1:]) for row in rows]


def difference(found: Tensor, expected: Tensor) -> float:
    """The largest, relative to the largest entry."""
    assert found.shape == expected.shape
    return float(((found - expected).abs().max() / expected.abs().max()).detach())


class Malicious:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def saved(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()
