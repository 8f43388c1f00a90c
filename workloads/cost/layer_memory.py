"""Bytes that one layer holds in a training step, from the configuration alone (no torch)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.config.model import FFNConfig, ModelConfig, layer_ffns
from workloads.config.runtime import RuntimeConfig
from workloads.cost import flops

FP32, BF16, MASK = 4, 2, 1
Device = Literal["cuda", "cpu"]
# From so many features on, CPUs take a structured FFN through one operation
# (`kernels.feed_forward.LEAST_WIDE`).
LEAST_WIDE = 1024


@dataclass(frozen=True)
class Precision:
    """Bytes of one number: of a weight, of a product and what it reads, of the residual stream, and
    of the cast of a weight that autocast makes for products."""

    weight: int
    product: int
    stream: int
    cast: int


def precision(runtime: RuntimeConfig, device: Device) -> Precision:
    """Return the types of a run: bf16 weights make all of it bf16, without them CUDA devices take
    products in bf16 under autocast, and CPUs in fp32."""
    if runtime.parameters == "bf16":
        return Precision(weight=BF16, product=BF16, stream=BF16, cast=0)
    if device == "cuda":
        return Precision(weight=FP32, product=BF16, stream=FP32, cast=BF16)
    return Precision(weight=FP32, product=FP32, stream=FP32, cast=0)


@dataclass(frozen=True)
class Layer:
    """One layer, in weights, in bytes, and in bytes per token.

    `weights` counts those of its products, guides included. Its forward pass keeps `kept` bytes per
    token for the backward pass, of which `entering` are its input, and `casts` bytes of weights.
    The backward pass first computes `again` bytes per token and `again_casts`, then adds `passing`
    per token and `tile` bytes at its widest. Where `moves`, its input waits in CPU memory.
    """

    weights: int
    entering: int
    kept: int
    casts: int
    again: int
    again_casts: int
    passing: int
    tile: int
    moves: bool

    def kept_bytes(self, tokens: int) -> int:
        """Return the bytes that its forward pass leaves for the backward pass, input included."""
        return self.kept * tokens + self.casts

    def working_bytes(self, tokens: int) -> int:
        """Return the bytes that the backward pass adds, recomputation included."""
        return (self.passing + self.again) * tokens + self.again_casts + self.tile


def layers_of(
    model: ModelConfig, runtime: RuntimeConfig, tokens: int, device: Device
) -> list[Layer]:
    """Return all layers, first to last, as passes over so many tokens need them."""
    recomputed = runtime.recomputed_layers(model.num_layers)
    return [
        _layer(model, ffn, runtime, device, tokens, index in recomputed)
        for index, ffn in enumerate(layer_ffns(model))
    ]


def _layer(
    model: ModelConfig,
    ffn: FFNConfig,
    runtime: RuntimeConfig,
    device: Device,
    tokens: int,
    recomputed: bool,
) -> Layer:
    types = precision(runtime, device)
    hidden, wide = model.hidden_dim, model.ffn_shapes[0][1]
    guided = model.guide is not None and ffn.row.mergeable
    guide = flops.ffn_weights(model, FFNConfig()) if guided else 0
    attention_weights = 2 * hidden * (model.attn_dim + model.kv_dim)
    ffn_weights = flops.ffn_weights(model, ffn) + guide
    entering, statistics = types.stream * hidden, _norm_kept(model, types, device)
    masks = MASK * hidden if model.dropout else 0
    # The stream before each norm, the norm's statistics, and what the sublayer keeps.
    attention = entering + statistics + masks + _attention_kept(model, types.product)
    residual, inner = entering + masks, statistics + _ffn_kept(model, ffn, guided, types, device)
    passing, tile = types.product * wide, 0  # The gradient of the activation's input.
    whole = recomputed and runtime.recompute == "layer"
    if 0 < runtime.ffn_tile_tokens < tokens:
        tile = runtime.ffn_tile_tokens * (inner + passing) + types.cast * ffn_weights
        # Tiles share one input; its gradient is there in tiles, and then whole. After them, the
        # gradients of attention are the widest.
        inner, ffn_casts = statistics + entering, 0
        passing = max(2 * entering, _attention_passing(model, types.product))
    else:
        ffn_casts = types.cast * ffn_weights
    # What the forward pass leaves is kept, or computed again: (bytes per token, bytes of casts).
    outer = attention + residual, types.cast * attention_weights
    if whole:
        kept, again = (entering, 0), (outer[0] + inner - entering, outer[1] + ffn_casts)
    elif recomputed:
        kept, again = outer, (inner, ffn_casts)
    else:
        kept, again = (outer[0] + inner, outer[1] + ffn_casts), (0, 0)
    return Layer(
        weights=attention_weights + ffn_weights,
        entering=entering,
        kept=kept[0],
        casts=kept[1],
        again=again[0],
        again_casts=again[1],
        passing=passing,
        tile=tile,
        moves=whole and runtime.layer_inputs == "cpu",
    )


def _attention_kept(model: ModelConfig, product: int) -> int:
    """Return the bytes per token that attention keeps: input, queries, keys and values, queries and
    keys with their rotation, output, and the softmax's normalizers."""
    turned = model.attn_dim + model.kv_dim if model.position == "rope" else 0
    features = model.hidden_dim + (model.attn_dim + 2 * model.kv_dim) + turned + model.attn_dim
    return product * features + FP32 * model.num_heads


def _attention_passing(model: ModelConfig, product: int) -> int:
    """Return the bytes per token of attention's gradients: of its output, of queries, keys and
    values, and the fp32 sums of the queries' gradients."""
    return product * (2 * model.attn_dim + 2 * model.kv_dim) + FP32 * model.attn_dim


def _norm_kept(model: ModelConfig, types: Precision, device: Device) -> int:
    """Return the bytes per token that a norm keeps beside its input and output."""
    if model.norm == "layernorm":
        return 2 * FP32
    if device == "cuda":
        return FP32
    # CPUs compute RMSNorm in steps, in fp32, and keep what lies between.
    return FP32 + model.hidden_dim * (FP32 if types.stream == FP32 else FP32 + BF16)


def _ffn_kept(
    model: ModelConfig, ffn: FFNConfig, guided: bool, types: Precision, device: Device
) -> int:
    """Return the bytes per token that the FFN keeps: three inputs and both bottlenecks.

    The inputs are those of both projections and of the activation. A guided projection is one
    matrix, and has no bottleneck. CPUs keep the activated gate of SwiGLU, too; or, where they take
    the FFN through one operation, not the input of the second projection.
    """
    (n1, m1), (n2, _) = model.ffn_shapes
    inner = 0 if guided else sum(ffn.row.inner(n, m, ffn.sizes) for n, m in model.ffn_shapes)
    whole = inner and m1 >= LEAST_WIDE and types.product == FP32
    if device == "cpu" and whole:
        n2 = 0
    elif device == "cpu" and model.activation == "swiglu":
        n2 *= 2
    return types.product * (n1 + m1 + n2 + inner)
