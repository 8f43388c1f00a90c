"""The decoder-only transformer: pre-norm blocks of causal attention and a structured FFN."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kernels.attention import attention
from kernels.cross_entropy import Reduction, linear_cross_entropy
from kernels.rotary import rotary
from workloads.config.ffn_kinds import INIT_STD
from workloads.config.model import FFNConfig, ModelConfig, RopeScaling, layer_ffns
from workloads.nn.drawn_labels import drawn_labels
from workloads.nn.ffn import FeedForward
from workloads.nn.kv_cache import KVCache, LayerCache
from workloads.nn.layer_inputs import LayerInputs
from workloads.nn.scaling import scale_initial_weights


class Attention(nn.Module):
    """Causal attention with grouped queries; (batch, time, hidden_dim) to the same shape.

    `qkv_linear` gives the queries of all heads, then the keys, then the values. With a cache, the
    queries also see the earlier tokens that it keeps. `rotation` is (2, time, head_dim), or
    (2, batch, time, head_dim) where rows differ in their positions.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = config.num_heads, config.num_kv_heads
        self.head_dim = config.head_dim
        self.scale = config.head_dim**-0.5 * config.multipliers.attention
        if config.inverse_layer_scale:
            self.scale /= layer + 1
        self.qkv_linear = nn.Linear(
            config.hidden_dim, config.attn_dim + 2 * config.kv_dim, bias=config.bias
        )
        self.o_linear = nn.Linear(config.attn_dim, config.hidden_dim, bias=config.bias)
        for linear in (self.qkv_linear, self.o_linear):
            nn.init.normal_(linear.weight, std=INIT_STD)
            if linear.bias is not None:
                nn.init.zeros_(linear.bias)

    def forward(
        self, x: Tensor, rotation: Tensor | None, cache: LayerCache | None = None
    ) -> Tensor:
        heads = self.qkv_linear(x).unflatten(-1, (-1, self.head_dim))
        qk, value = heads.split([self.num_heads + self.num_kv_heads, self.num_kv_heads], -2)
        if rotation is not None:
            qk = rotary(qk, rotation.unsqueeze(-2))  # The same for all heads.
        query, key = qk.split([self.num_heads, self.num_kv_heads], -2)
        # Each (batch, heads, time, head_dim).
        query, key, value = (part.transpose(1, 2) for part in (query, key, value))
        mask = None
        if cache is not None:
            key, value, mask = cache.extend(key, value)
        mixed = attention(query, key, value, mask, scale=self.scale)
        return self.o_linear(mixed.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """x + r attention(norm(x)), then x + r ffn(norm(x)), with the model's residual multiplier r.

    With `recompute` the activations, of all the layer or of its FFN, are dropped and computed again
    in the backward pass.
    """

    def __init__(self, config: ModelConfig, ffn: FFNConfig, layer: int) -> None:
        super().__init__()
        self.ln1 = build_norm(config)
        self.attention = Attention(config, layer)
        self.ln2 = build_norm(config)
        self.mlp = FeedForward(config, ffn)
        self.dropout = nn.Dropout(config.dropout)
        self.multiplier = config.multipliers.residual
        self.recompute: Literal["nothing", "layer", "ffn"] = "nothing"

    def forward(
        self, x: Tensor, rotation: Tensor | None, cache: LayerCache | None = None
    ) -> Tensor:
        if self.recompute == "layer" and self.training:
            return checkpoint(self._forward, x, rotation, cache, use_reentrant=False)
        return self._forward(x, rotation, cache)

    def _forward(self, x: Tensor, rotation: Tensor | None, cache: LayerCache | None) -> Tensor:
        x = self._added(x, self.attention(self.ln1(x), rotation, cache))
        if self.recompute == "ffn" and self.training:
            return self._added(x, checkpoint(self._ffn, x, use_reentrant=False))
        return self._added(x, self._ffn(x))

    def _added(self, x: Tensor, sublayer: Tensor) -> Tensor:
        return torch.add(x, self.dropout(sublayer), alpha=self.multiplier)

    def _ffn(self, x: Tensor) -> Tensor:
        return self.mlp(self.ln2(x))


class Transformer(nn.Module):
    """Token ids (batch, time) to logits (batch, time, vocab_size), or to the loss.

    With `inputs_on_cpu` the inputs of layers that are recomputed whole wait in CPU memory.
    """

    rotation: Tensor | None

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = _embedding(config.vocab_size, config.hidden_dim)
        absolute = config.position == "absolute"
        self.wpe = _embedding(config.block_size, config.hidden_dim) if absolute else None
        self.layers = nn.ModuleList(
            Block(config, ffn, layer) for layer, ffn in enumerate(layer_ffns(config))
        )
        self.ln_f = build_norm(config)
        self.dropout = nn.Dropout(config.dropout)
        self.lm_head = None if config.tie_embeddings else _head(config)
        self.register_buffer("rotation", rotation_of(config), persistent=False)
        self.inputs_on_cpu = False
        self.multiplier = config.multipliers.output
        scale_initial_weights(self, config.multipliers.initial)

    def forward(
        self, tokens: Tensor, targets: Tensor | None = None, reduction: Reduction = "mean"
    ) -> Tensor:
        """Return the logits, or with targets (batch, time) their cross entropy in nats.

        The cross entropy is the mean per target or the sum, in fp32, and needs no memory for the
        logits. Targets of -100 do not count. Targets of a floating type are numbers in [0, 1), each
        of which draws a label from the model's own prediction.
        """
        features = self.features(tokens)
        if targets is None:
            return self.logits(features)
        features = self._head_input(features)
        if targets.is_floating_point():
            targets = drawn_labels(features, self.head_weight, targets)
        return linear_cross_entropy(features, self.head_weight, targets, reduction)

    def features(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Return the input of `logits`, (batch, time, hidden_dim).

        With a cache, each row continues the tokens that the cache keeps of it.
        """
        positions = slice(tokens.shape[1]) if cache is None else cache.place(tokens.shape[1])
        x = self.wte(tokens)
        if self.wpe is not None:
            x = x + self.wpe.weight[positions]
        x = self.dropout(x)
        rotation = None if self.rotation is None else self.rotation[:, positions]
        inputs = LayerInputs() if self.inputs_on_cpu and self.training else None
        for index, layer in enumerate(self.layers):
            whole = cast(Block, layer).recompute == "layer"
            with inputs.keeping(x) if inputs and whole else nullcontext():
                x = layer(x, rotation, None if cache is None else cache.layer(index))
        return x

    def logits(self, features: Tensor) -> Tensor:
        """Return the logits (batch, time, vocab_size) of what `features` returned."""
        return F.linear(self._head_input(features), self.head_weight)

    def _head_input(self, features: Tensor) -> Tensor:
        normed = self.ln_f(features)
        return normed if self.multiplier == 1 else normed * self.multiplier

    @property
    def head_weight(self) -> Tensor:
        """The head's matrix (vocab_size, hidden_dim), the embedding's where they are tied."""
        return self.wte.weight if self.lm_head is None else self.lm_head.weight

    @property
    def device(self) -> torch.device:
        return self.wte.weight.device

    @property
    def compute_dtype(self) -> torch.dtype:
        """The type of the model's products: that of the weights, or of autocast where it is on."""
        if torch.is_autocast_enabled(self.device.type):
            return torch.get_autocast_dtype(self.device.type)
        return self.wte.weight.dtype


def build_norm(config: ModelConfig) -> nn.Module:
    """Build a LayerNorm or an RMSNorm over the hidden width.

    It works in fp32, because the residual stream is in fp32 under autocast, too.
    """
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.hidden_dim, eps=config.norm_eps)
    return nn.LayerNorm(config.hidden_dim, eps=config.norm_eps, bias=config.bias)


def _embedding(count: int, hidden_dim: int) -> nn.Embedding:
    embedding = nn.Embedding(count, hidden_dim)
    nn.init.normal_(embedding.weight, std=INIT_STD)
    return embedding


def _head(config: ModelConfig) -> nn.Linear:
    head = nn.Linear(config.hidden_dim, config.vocab_size, bias=False)
    nn.init.normal_(head.weight, std=INIT_STD)
    return head


def rotation_of(config: ModelConfig) -> Tensor | None:
    """Return the `rope_rotation` of a model; None where its positions are absolute."""
    if config.position == "absolute":
        return None
    return rope_rotation(
        config.block_size,
        config.head_dim,
        config.rope_base,
        config.rope_interpolation,
        config.rope_scaling,
    )


def rope_rotation(
    block_size: int,
    head_dim: int,
    base: float,
    interpolation: float = 1.0,
    scaling: RopeScaling | None = None,
) -> Tensor:
    """Return the cosines and sines of rotary positions, (2, block_size, head_dim).

    Feature i of the first half and feature i of the second half are rotated by the angle
    position x base^(-2i/head_dim) (Su et al. 2021, arXiv 2104.09864, in half-split order).
    Positions are divided by `interpolation` (Chen et al. 2023, arXiv 2306.15595). `scaling` makes
    slow features slower still.
    """
    frequency = base ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    if scaling:
        frequency = _scaled(frequency, scaling)
    position = torch.arange(block_size, dtype=torch.float64) / interpolation
    angle = position[:, None] * frequency
    return torch.stack([angle.cos(), angle.sin()]).repeat(1, 1, 2).float()


def _scaled(frequency: Tensor, scaling: RopeScaling) -> Tensor:
    """Return the frequencies, in radians a token, after Llama 3's scaling (`RopeScaling`)."""
    turns = scaling.original_block_size * frequency / (2 * math.pi)
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return frequency * (kept + (1 - kept) / scaling.factor)
