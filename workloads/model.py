"""The decoder-only transformer: pre-norm blocks of causal attention and a structured FFN."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from workloads.config import FFNConfig, ModelConfig
from workloads.ffn import INIT_STD, FeedForward
from workloads.flops import layer_ffns


class Attention(nn.Module):
    """Causal multi-head attention with rotary positions; (batch, time, hidden_dim) to the same."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.num_heads = config.num_heads
        self.qkv_linear = nn.Linear(config.hidden_dim, 3 * config.hidden_dim)
        self.o_linear = nn.Linear(config.hidden_dim, config.hidden_dim)
        for linear in (self.qkv_linear, self.o_linear):
            nn.init.normal_(linear.weight, std=INIT_STD)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        heads = self.qkv_linear(x).unflatten(-1, (3, self.num_heads, -1))
        query, key, value = heads.transpose(1, 3).unbind(2)  # each (batch, heads, time, head_dim)
        mixed = F.scaled_dot_product_attention(
            rotate(query, rotation), rotate(key, rotation), value, is_causal=True
        )
        return self.o_linear(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """x + attention(norm(x)), then x + ffn(norm(x))."""

    def __init__(self, config: ModelConfig, ffn: FFNConfig) -> None:
        super().__init__()
        self.ln1 = nn.LayerNorm(config.hidden_dim)
        self.attention = Attention(config)
        self.ln2 = nn.LayerNorm(config.hidden_dim)
        self.mlp = FeedForward(config, ffn)

    def forward(self, x: Tensor, rotation: Tensor) -> Tensor:
        x = x + self.attention(self.ln1(x), rotation)
        return x + self.mlp(self.ln2(x))


class Transformer(nn.Module):
    """Token ids (batch, time) to logits (batch, time, vocab_size); embeddings are tied."""

    rotation: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.hidden_dim)
        nn.init.normal_(self.wte.weight, std=INIT_STD)
        self.layers = nn.ModuleList(Block(config, ffn) for ffn in layer_ffns(config))
        self.ln_f = nn.LayerNorm(config.hidden_dim)
        rotation = rope_rotation(config.block_size, config.head_dim, config.rope_base)
        self.register_buffer("rotation", rotation, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.wte(tokens)
        rotation = self.rotation[:, : tokens.shape[1]]
        for layer in self.layers:
            x = layer(x, rotation)
        return F.linear(self.ln_f(x), self.wte.weight)


def rope_rotation(block_size: int, head_dim: int, base: float) -> Tensor:
    """(2, block_size, head_dim): cosines and sines, half-split (Su et al. 2021, arXiv 2104.09864).

    Feature i of the first half and of the second half turn by position x base^(-2i/head_dim).
    """
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    angle = torch.arange(block_size, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()]).repeat(1, 1, 2).float()


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn each feature pair (i, i + head_dim/2) of x (..., time, head_dim) by its angle."""
    cosine, sine = rotation.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine


def next_token_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross entropy in nats per token, in fp32 whatever the logits' type."""
    return F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten())
