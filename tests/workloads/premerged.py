"""Small models with structured FFNs to pre-merge, and which weights they use."""

from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.workloads.nn.test_transformer import randomized
from workloads.config.model import FFNConfig, ModelConfig
from workloads.cost.flops import ffn_weights
from workloads.nn.ffn import FeedForward
from workloads.nn.transformer import Transformer

LOWRANK = FFNConfig(kind="lowrank", rank=5)
KINDS = [
    LOWRANK,
    FFNConfig(kind="blockdense", rank=6, nblocks=3),
    FFNConfig(kind="blockshuffle", nblocks=3),
]


def shape(ffn: FFNConfig, **options: Any) -> ModelConfig:
    return ModelConfig(
        vocab_size=29,
        block_size=13,
        num_layers=3,
        hidden_dim=18,
        ffn_dim=45,
        num_heads=3,
        ffn=ffn,
        **options,
    )


def build(ffn: FFNConfig = LOWRANK, **options: Any) -> Transformer:
    """In evaluation mode and float64."""
    model = Transformer(shape(ffn, **options))
    randomized(model)
    return model.eval()


def ffn_of(model: Transformer) -> FeedForward:
    mlp = model.layers[-1].mlp
    assert isinstance(mlp, FeedForward)
    return mlp


def used_weights(model: Transformer, *batch: int) -> str:
    """The weights that the last FFN multiplies a batch of tokens by, told by its FLOPs."""
    config, layer = model.config, ffn_of(model)
    x = torch.randn(*batch, config.hidden_dim, dtype=torch.float64)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        layer(x)
    each = 2 * x[..., 0].numel()
    costs = {
        each * ffn_weights(config, config.ffn): "structured",
        each * ffn_weights(config, FFNConfig()): "merged",
    }
    return costs[counter.get_total_flops()]
