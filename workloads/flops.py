"""Parameters and FLOPs of a run, from its configuration alone (no torch).

Conventions, stored with every run under their names:

- `paper`: matrix products only, the attention square counted whole (T x T), training = 3 x
  forward (arXiv 2406.16450, appendix). Every published number of the paper uses it.
- `causal`: as `paper`, with the causal half of the attention square.
- `6nd`: 6 x parameters x tokens (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from workloads.config import FFNConfig, ModelConfig, RunConfig
from workloads.parametrizations import PARAMETRIZATIONS

FlopConvention = Literal["paper", "causal", "6nd"]


@dataclass(frozen=True)
class ParamCount:
    """Parameters of the trained model. `ffn` counts the FFN matrices of all layers, without
    biases; `embedding` those of tokens and positions. A guide's weights are not among them."""

    total: int
    ffn: int
    embedding: int


def projection_weights(n: int, m: int, ffn: FFNConfig) -> int:
    """Weights of one FFN projection with `n` inputs and `m` outputs."""
    return PARAMETRIZATIONS[ffn.kind].weights(n, m, ffn.rank or 0, ffn.nblocks or 1)


def ffn_weights(model: ModelConfig, ffn: FFNConfig) -> int:
    """Weights of the two projections of one layer's FFN."""
    return sum(projection_weights(n, m, ffn) for n, m in model.ffn_shapes)


def ffn_fraction(model: ModelConfig) -> float:
    """Weights of one structured FFN over those of the dense FFN of the same shape."""
    return ffn_weights(model, model.ffn) / ffn_weights(model, FFNConfig())


def layer_ffns(model: ModelConfig) -> list[FFNConfig]:
    """The FFN parametrization of each layer, first to last."""
    dense_layers = 1 if model.ffn.keep_first_dense else 0
    return [FFNConfig() if layer < dense_layers else model.ffn for layer in range(model.num_layers)]


def guide_weights(model: ModelConfig) -> int:
    """Weights of all dense guides of self-guided training, one a structured projection."""
    guided = sum(ffn.kind != "dense" for ffn in layer_ffns(model)) if model.guide else 0
    return guided * ffn_weights(model, FFNConfig())


def count_params(model: ModelConfig) -> ParamCount:
    """All parameters: embeddings, head, attention, FFN, norms, and biases where there are any."""
    hidden, bias = model.hidden_dim, int(model.bias)
    ffn = sum(ffn_weights(model, layer) for layer in layer_ffns(model))
    positions = model.block_size * hidden if model.position == "absolute" else 0
    embedding = model.vocab_size * hidden + positions
    head = 0 if model.tie_embeddings else model.vocab_size * hidden
    biases = model.attn_dim + 2 * model.kv_dim + hidden + sum(m for _, m in model.ffn_shapes)
    norm = hidden * (1 + (bias if model.norm == "layernorm" else 0))
    layer = _attention_weights(model) + bias * biases + 2 * norm
    total = embedding + head + ffn + model.num_layers * layer + norm
    return ParamCount(total=total, ffn=ffn, embedding=embedding)


def train_flops_per_token(model: ModelConfig, convention: FlopConvention = "paper") -> int:
    """Training FLOPs (forward and backward) per token at the full block size, without a guide."""
    params = count_params(model)
    if convention == "6nd":
        return 6 * params.total
    square = 2 * model.block_size * model.attn_dim
    attention = _attention_weights(model) + (square if convention == "paper" else square // 2)
    logits = model.vocab_size * model.hidden_dim
    return 3 * 2 * (model.num_layers * attention + params.ffn + logits)


def train_flops(config: RunConfig, convention: FlopConvention = "paper") -> int:
    """Training FLOPs of the whole run, its guide's and those of repeated tokens included."""
    return train_flops_at(config, config.total_steps, convention)


def train_flops_at(config: RunConfig, step: int, convention: FlopConvention = "paper") -> int:
    """Training FLOPs of the first `step` optimizer steps.

    A guided step adds 3 x 2 x guide weights per token; under `reduce_flops` half of that, which
    is what the draws execute on average (arXiv 2406.16450, appendix). The guides' own gradients
    and weights are matrix products like the others, in every convention.
    """
    guided = min(step, config.guided_steps) * guide_flops_per_token(config.model)
    base = step * train_flops_per_token(config.model, convention)
    return config.tokens_per_step * (base + guided)


def guide_flops_per_token(model: ModelConfig) -> int:
    """Training FLOPs per token that the guides add to a guided step."""
    halved = model.guide is not None and model.guide.reduce_flops
    return 3 * (1 if halved else 2) * guide_weights(model)


def affordable_steps(model: ModelConfig, batch_size: int, flops: float) -> int:
    """The most steps on fresh tokens whose run, guide included, costs at most `flops` (`paper`)."""
    per_step = batch_size * model.block_size * train_flops_per_token(model)
    guide = model.guide
    if guide is None:
        return int(flops // per_step)
    guided = batch_size * model.block_size * guide_flops_per_token(model)
    guided += per_step if guide.mode == "fixed_flops" else 0
    # Guided steps are rounded down, which leaves at most one guided step's cost to spend.
    steps = int((flops + guided) // (per_step + guide.ratio * guided)) + 1
    while steps * per_step + int(guide.ratio * steps) * guided > flops:
        steps -= 1
    return steps


def _attention_weights(model: ModelConfig) -> int:
    """Weights of one layer's query, key, value and output projections."""
    return 2 * model.hidden_dim * (model.attn_dim + model.kv_dim)
