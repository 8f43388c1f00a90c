"""The model once more, by its definition in float64: query by query, pair by pair."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from workloads.config.model import ModelConfig
from workloads.nn.transformer import Transformer

SHAPE: dict[str, Any] = {
    "vocab_size": 29,
    "block_size": 9,
    "num_layers": 3,
    "hidden_dim": 18,
    "ffn_dim": 45,
    "num_heads": 3,
    "rope_base": 500.0,
}


def config(**options: Any) -> ModelConfig:
    return ModelConfig.model_validate(SHAPE | options)


def build(shape: ModelConfig) -> Transformer:
    """In float64, with no parameter at a special value such as a bias of 0."""
    model = Transformer(shape).double()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model


def tokens_of(shape: ModelConfig, batch: int = 2) -> Tensor:
    return torch.randint(shape.vocab_size, (batch, shape.block_size))


def reference(shape: ModelConfig, model: Transformer, tokens: Tensor) -> Tensor:
    state = dict(model.named_parameters())
    x = torch.stack([torch.stack([state["wte.weight"][i] for i in row]) for row in tokens])
    if shape.position == "absolute":
        x = x + state["wpe.weight"][: tokens.shape[1]]
    for layer in range(shape.num_layers):
        prefix = f"layers.{layer}."
        part = {n.removeprefix(prefix): p for n, p in state.items() if n.startswith(prefix)}
        normed = reference_norm(shape, part, "ln1", x)
        x = x + torch.stack([reference_attention(shape, part, row, layer) for row in normed])
        inner = reference_linear(model, part, layer, "fc1", reference_norm(shape, part, "ln2", x))
        if shape.activation == "swiglu":
            gate, value = inner[..., : shape.ffn_dim], inner[..., shape.ffn_dim :]
            active = gate / (1 + torch.exp(-gate)) * value
        elif shape.activation == "gelu_tanh":
            bend = math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)
            active = inner * (1 + torch.tanh(bend)) / 2
        else:
            active = inner * (1 + torch.erf(inner / math.sqrt(2))) / 2
        x = x + reference_linear(model, part, layer, "fc2", active)
    head = state["wte.weight"] if shape.tie_embeddings else state["lm_head.weight"]
    return reference_norm(shape, state, "ln_f", x) @ head.T


def reference_linear(
    model: Transformer, part: dict[str, nn.Parameter], layer: int, side: str, x: Tensor
) -> Tensor:
    """The matrices of structured projections are tested by themselves."""
    y = x @ model.get_submodule(f"layers.{layer}.mlp.{side}").dense_weight().T  # type: ignore[operator]  # a Projection
    return y + part.get(f"mlp.{side}.bias", torch.zeros(()))


def reference_norm(
    shape: ModelConfig, part: dict[str, nn.Parameter], name: str, x: Tensor
) -> Tensor:
    if shape.norm == "rmsnorm":
        assert f"{name}.bias" not in part
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * part[f"{name}.weight"]
    centred = x - x.mean(-1, keepdim=True)
    scaled = centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    assert (f"{name}.bias" in part) == shape.bias
    return scaled * part[f"{name}.weight"] + part.get(f"{name}.bias", torch.zeros(()))


def reference_attention(
    shape: ModelConfig, part: dict[str, nn.Parameter], x: Tensor, layer: int
) -> Tensor:
    """One sequence (time, hidden_dim); each query head reads the keys of its group."""
    size = shape.attn_dim // shape.num_heads
    group = shape.num_heads // shape.num_kv_heads
    qkv = x @ part["attention.qkv_linear.weight"].T
    assert qkv.shape[1] == shape.attn_dim + 2 * shape.num_kv_heads * size
    qkv = qkv + part.get("attention.qkv_linear.bias", torch.zeros(()))
    heads = [qkv[:, at : at + size] for at in range(0, qkv.shape[1], size)]
    scale = math.sqrt(size) * (layer + 1 if shape.inverse_layer_scale else 1)
    mixed = []
    for head in range(shape.num_heads):
        query = turned(shape, heads[head])
        key = turned(shape, heads[shape.num_heads + head // group])
        value = heads[shape.num_heads + shape.num_kv_heads + head // group]
        rows = []
        for time in range(len(x)):
            scores = torch.stack([query[time] @ key[at] for at in range(time + 1)])
            shares = torch.exp(scores / scale) / torch.exp(scores / scale).sum()
            rows.append(shares @ value[: time + 1])
        mixed.append(torch.stack(rows))
    y = torch.cat(mixed, dim=1) @ part["attention.o_linear.weight"].T
    return y + part.get("attention.o_linear.bias", torch.zeros(()))


def turned(shape: ModelConfig, x: Tensor) -> Tensor:
    """RoPE: pair (i, i + head_dim/2) is a complex number that turns."""
    if shape.position == "absolute":
        return x
    half = x.shape[1] // 2
    position = torch.arange(len(x), dtype=torch.float64)[:, None] / shape.rope_interpolation
    frequencies = [shape.rope_base ** (-pair / half) for pair in range(half)]
    if shape.rope_scaling:
        frequencies = [scaled(each, **shape.rope_scaling.model_dump()) for each in frequencies]
    angle = position * torch.tensor(frequencies, dtype=torch.float64)
    pairs = torch.complex(x[:, :half], x[:, half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag], dim=1)


def scaled(
    frequency: float,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_block_size: int,
) -> float:
    """Llama 3's scaling of one rotary frequency, by the tokens of a whole turn."""
    tokens = 2 * math.pi / frequency
    if tokens > original_block_size / low_freq_factor:
        return frequency / factor
    if tokens < original_block_size / high_freq_factor:
        return frequency
    spread = high_freq_factor - low_freq_factor
    share = (original_block_size / tokens - low_freq_factor) / spread
    return (1 - share) * frequency / factor + share * frequency
