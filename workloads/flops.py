"""Parameters and FLOPs of a run, from its configuration alone (no torch).

Conventions, stored with every run under their names:

- `paper`: matrix products only, the attention square counted whole (T x T), training = 3 x
  forward (arXiv 2406.16450, appendix). Every published number of the paper uses it.
- `causal`: as `paper`, with the causal half of the attention square.
- `6nd`: 6 x parameters x tokens (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from workloads.config import FFNConfig, FFNKind, ModelConfig, RunConfig

FlopConvention = Literal["paper", "causal", "6nd"]

# Weights of one projection from n features to m features; equal to its multiply-adds per token.
PROJECTION_WEIGHTS: dict[FFNKind, Callable[[int, int, int, int], int]] = {
    "dense": lambda n, m, rank, nblocks: n * m,
    "lowrank": lambda n, m, rank, nblocks: (n + m) * rank,
    "blockdense": lambda n, m, rank, nblocks: rank * (m + n // nblocks),
    "blockshuffle": lambda n, m, rank, nblocks: min(n, m) * (n + m) // nblocks,
}


@dataclass(frozen=True)
class ParamCount:
    """Trainable parameters. `ffn` counts the FFN matrices of all layers, without biases."""

    total: int
    ffn: int
    embedding: int


def projection_weights(n: int, m: int, ffn: FFNConfig) -> int:
    """Weights of one FFN projection with `n` inputs and `m` outputs."""
    return PROJECTION_WEIGHTS[ffn.kind](n, m, ffn.rank or 0, ffn.nblocks or 1)


def ffn_weights(model: ModelConfig, ffn: FFNConfig) -> int:
    """Weights of the two projections of one layer's FFN."""
    hidden, inner = model.hidden_dim, model.ffn_dim
    return projection_weights(hidden, inner, ffn) + projection_weights(inner, hidden, ffn)


def ffn_fraction(model: ModelConfig) -> float:
    """Weights of one structured FFN over those of the dense FFN of the same shape."""
    return ffn_weights(model, model.ffn) / ffn_weights(model, FFNConfig())


def layer_ffns(model: ModelConfig) -> list[FFNConfig]:
    """The FFN parametrization of each layer, first to last."""
    dense_layers = 1 if model.ffn.keep_first_dense else 0
    return [FFNConfig() if layer < dense_layers else model.ffn for layer in range(model.num_layers)]


def count_params(model: ModelConfig) -> ParamCount:
    """All parameters: tied embedding, attention and FFN with biases, two norms a layer and one."""
    hidden = model.hidden_dim
    embedding = model.vocab_size * hidden
    ffn = sum(ffn_weights(model, layer) for layer in layer_ffns(model))
    attention = 4 * hidden * hidden + 4 * hidden
    ffn_biases = model.ffn_dim + hidden
    norms = 2 * 2 * hidden
    rest = model.num_layers * (attention + ffn_biases + norms) + 2 * hidden
    return ParamCount(total=embedding + ffn + rest, ffn=ffn, embedding=embedding)


def train_flops_per_token(model: ModelConfig, convention: FlopConvention = "paper") -> int:
    """Training FLOPs (forward and backward) per token at the full block size."""
    params = count_params(model)
    if convention == "6nd":
        return 6 * params.total
    hidden = model.hidden_dim
    square = 2 * model.block_size * hidden
    attention = 4 * hidden * hidden + (square if convention == "paper" else square // 2)
    logits = model.vocab_size * hidden
    return 3 * 2 * (model.num_layers * attention + params.ffn + logits)


def train_flops(config: RunConfig, convention: FlopConvention = "paper") -> int:
    """Training FLOPs of the whole run: exactly what its steps execute under the convention."""
    return config.tokens * train_flops_per_token(config.model, convention)
