"""Parameters and FLOPs of a run, from its configuration alone (no torch).

Conventions, stored with every run under their names:

- `paper`: matrix products only, the attention square counted whole (T x T), training = 3 x
  forward (arXiv 2406.16450, appendix). Every published number of the paper uses it.
- `causal`: as `paper`, with the causal half of the attention square.
- `6nd`: 6 x parameters x tokens (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).

They are nominal. `hardware_flops` are those of the products that a run's paths carry out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kernels.switches import fast
from workloads.config.model import FFNConfig, ModelConfig
from workloads.config.run import RunConfig

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
    return ffn.row.weights(n, m, ffn.sizes)


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
    return len(_guided_ffns(model)) * ffn_weights(model, FFNConfig())


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
    attention = _attention_multiply_adds(model, convention)
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


def hardware_flops(config: RunConfig) -> int:
    """FLOPs of the matrix products that the whole run's training steps carry out."""
    return hardware_flops_at(config, config.total_steps)


def hardware_flops_at(config: RunConfig, step: int) -> int:
    """FLOPs of the matrix products that the first `step` optimizer steps carry out.

    As `train_flops_at` in the `paper` convention, but for two things. A guided projection takes
    the tokens through one dense product, and is merged once a step from its guide and its factors
    (`kernels.self_guided`); the merges that further workers repeat, or the micro-batches of shards,
    are not counted. And `activation_checkpointing` computes the forward pass of its layers again,
    but for the product that ends a dense FFN, which the backward pass does not need.
    """
    model, guided = config.model, min(step, config.guided_steps)
    draws = _draws_per_2_steps(model) * guided  # Twice the steps in which a guide runs.
    flops = train_flops_at(config, step)
    if fast("self_guided"):
        structured = sum(ffn_weights(model, ffn) for ffn in _guided_ffns(model))
        merges = sum(_merge_multiply_adds(model, ffn) for ffn in _guided_ffns(model))
        flops += 3 * draws * (merges - config.tokens_per_step * structured)
    return flops + config.tokens_per_step * _recomputed_flops(config, step, draws)


def guide_flops_per_token(model: ModelConfig) -> int:
    """Training FLOPs per token that the guides add to a guided step."""
    return 3 * _draws_per_2_steps(model) * guide_weights(model)


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


def _guided_ffns(model: ModelConfig) -> list[FFNConfig]:
    """The FFNs that have guides while self-guided training lasts."""
    return [ffn for ffn in layer_ffns(model) if ffn.kind != "dense"] if model.guide else []


def _draws_per_2_steps(model: ModelConfig) -> int:
    """In how many of two guided steps a guide runs, on average."""
    return 1 if model.guide is not None and model.guide.reduce_flops else 2


def _merge_multiply_adds(model: ModelConfig, ffn: FFNConfig) -> int:
    """Of one dense matrix from each projection's factors."""
    merge = ffn.row.merge
    return sum(merge(n, m, ffn.sizes) for n, m in model.ffn_shapes) if merge else 0


def _recomputed_flops(config: RunConfig, step: int, draws: int) -> int:
    """FLOPs per token of the forward passes computed again in `step` steps, summed over steps;
    `draws` is twice the number of those in which a guide runs."""
    model, ffns = config.model, layer_ffns(config.model)
    dense, (_, (n, m)) = ffn_weights(model, FFNConfig()), model.ffn_shapes
    total = 0
    for ffn in (ffns[index] for index in config.runtime.recomputed_layers(model.num_layers)):
        structured = ffn_weights(model, ffn)
        total += 2 * step * (_attention_multiply_adds(model, "paper") + structured)
        if ffn.kind == "dense":
            total -= 2 * step * n * m
        elif model.guide:
            total += draws * (dense - n * m - structured if fast("self_guided") else dense)
    return total


def _attention_multiply_adds(model: ModelConfig, convention: FlopConvention) -> int:
    """Of one layer's attention, per token at the full block size."""
    square = 2 * model.block_size * model.attn_dim
    return _attention_weights(model) + (square if convention == "paper" else square // 2)


def _attention_weights(model: ModelConfig) -> int:
    """Weights of one layer's query, key, value and output projections."""
    return 2 * model.hidden_dim * (model.attn_dim + model.kv_dim)
