"""Parameters and FLOPs of a run, from its configuration alone (no torch).

Conventions, stored with every run under their names:

- `paper`: matrix products only, the attention square counted whole (T x T), training = 3 x
  forward (arXiv 2406.16450, appendix). Every published number of the paper uses it.
- `causal`: as `paper`, with the causal half of the attention square.
- `6nd`: 6 x parameters x tokens (Kaplan et al. 2020, arXiv 2001.08361, section 2.1).

They are nominal. `hardware_flops` are those of the products that a run's paths carry out.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from kernels.switches import fast
from workloads.config.matrices import hidden_matrices
from workloads.config.model import FFNConfig, ModelConfig, layer_ffns
from workloads.config.phases import Phase, phases_of
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost.learned_growth import learned_growth
from workloads.optim.config import OptimizerOptions, Trained

# Beyond what anyone trains; a budget for more is a slip of the keyboard.
MOST_STEPS = 2**40

FlopConvention = Literal["paper", "causal", "6nd"]


@dataclass(frozen=True)
class ParamCount:
    """Parameters of the trained model. `ffn` counts the FFN matrices of all layers, without
    biases; `embedding` those of tokens and positions. A guide's weights are not among them."""

    total: int
    ffn: int
    embedding: int


def projection_weights(n: int, m: int, ffn: FFNConfig) -> int:
    """Return the weights of one FFN projection with `n` inputs and `m` outputs."""
    return ffn.row.weights(n, m, ffn.sizes)


def ffn_weights(model: ModelConfig, ffn: FFNConfig) -> int:
    """Return the weights of the two projections of one layer's FFN."""
    return sum(projection_weights(n, m, ffn) for n, m in model.ffn_shapes)


def ffn_fraction(model: ModelConfig) -> float:
    """Return the weights of one structured FFN over those of the dense FFN of the same shape."""
    return ffn_weights(model, model.ffn) / ffn_weights(model, FFNConfig())


def guide_params(model: ModelConfig) -> int:
    """Count the parameters of all dense guides, one guide a structured projection."""
    return len(_guided_ffns(model)) * ffn_weights(model, FFNConfig())


def count_params(model: ModelConfig) -> ParamCount:
    """Count all parameters: embeddings, head, attention, FFN, norms and biases."""
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


def trained_params(model: ModelConfig) -> int:
    """Count the parameters that are trained, those of guides included."""
    return count_params(model).total + guide_params(model)


def trained(model: ModelConfig) -> Trained:
    """Return what an optimizer trains, the guides included."""
    return _trained(model)  # type: ignore[reportArgumentType]  # frozen models have a hash


def trained_in(phase: Phase) -> Trained:
    """Return what the optimizer trains in the phase: the model, or the matrices of a growth, none
    of which is a matrix of a layer."""
    if phase.learned_growth is None:
        return trained(phase.model)
    parameters = learned_growth(phase.learned_growth).parameters
    return Trained((), others=parameters, head=trained(phase.model).head)


# A budget is found by the FLOPs of many steps of one model.
@lru_cache(maxsize=1024)
def _trained(model: ModelConfig) -> Trained:
    matrices = tuple((each.count, each.rows, each.columns) for each in hidden_matrices(model))
    hidden = sum(count * rows * columns for count, rows, columns in matrices)
    return Trained(
        hidden_matrices=matrices,
        others=trained_params(model) - hidden,
        head=model.vocab_size * model.hidden_dim,
    )


def train_flops_per_token(model: ModelConfig, convention: FlopConvention = "paper") -> int:
    """Return the training FLOPs (forward and backward) per token at the full block size.

    Guides add 3 x 2 x their parameters; under `reduce_flops` half of that, which is what the draws
    execute on average (arXiv 2406.16450, appendix). The guides' own gradients and weights are
    matrix products like the others, in every convention.
    """
    params = count_params(model)
    guides = 3 * _draws_per_2_steps(model) * guide_params(model)
    if convention == "6nd":
        return 6 * params.total + guides
    attention = _attention_multiply_adds(model, convention)
    logits = model.vocab_size * model.hidden_dim
    return 3 * 2 * (model.num_layers * attention + params.ffn + logits) + guides


def train_flops(config: RunConfig, convention: FlopConvention = "paper") -> int:
    """Return the training FLOPs of the whole run, those of all its phases."""
    return train_flops_at(config, config.total_steps, convention)


def train_flops_at(config: RunConfig, step: int, convention: FlopConvention = "paper") -> int:
    """Return the training FLOPs of the first `step` optimizer steps."""
    return sum(
        phase.steps_among(step)
        * phase_step_flops(phase, config.optimizer, config.tokens_per_step, convention)
        for phase in config.phases
    )


def phase_step_flops(
    phase: Phase,
    optimizer: OptimizerOptions,
    tokens_per_step: int,
    convention: FlopConvention = "paper",
) -> int:
    """Return the training FLOPs of one optimizer step in the phase.

    Where a growth is learned, the passes are those of the grown model; what is trained, and
    multiplied out once a step, are the growth's matrices.
    """
    if phase.learned_growth is None:
        return step_flops(phase.model, optimizer, tokens_per_step, convention)
    products = learned_growth(phase.learned_growth).flops
    passes = tokens_per_step * train_flops_per_token(phase.model, convention) + products
    return passes + optimizer.extra_step_flops(trained_in(phase), tokens_per_step, passes)


def step_flops(
    model: ModelConfig,
    optimizer: OptimizerOptions,
    tokens_per_step: int,
    convention: FlopConvention = "paper",
) -> int:
    """Return the training FLOPs of one optimizer step of the model, what the optimizer adds
    included."""
    passes = tokens_per_step * train_flops_per_token(model, convention)
    return passes + optimizer.extra_step_flops(trained(model), tokens_per_step, passes)


def hardware_flops(config: RunConfig) -> int:
    """Return the FLOPs of the matrix products that the whole run's training steps carry out."""
    return hardware_flops_at(config, config.total_steps)


def hardware_flops_at(config: RunConfig, step: int) -> int:
    """Return the FLOPs of the matrix products that the first `step` optimizer steps carry out.

    They differ in two ways from `train_flops_at` in the `paper` convention. A guided projection
    takes the tokens through one dense product, and is merged once a step from its guide and its
    factors (`kernels.self_guided`); merges that further workers repeat, or the micro-batches of
    shards, are not counted. And `runtime` has parts of the forward pass computed again
    (`_recomputed_flops_per_token`).
    """
    return train_flops_at(config, step) + sum(
        phase.steps_among(step)
        * _hardware_step_difference(phase.model, config.tokens_per_step, config.runtime)
        for phase in config.phases
    )


def hardware_step_flops(
    model: ModelConfig, optimizer: OptimizerOptions, tokens: int, runtime: RuntimeConfig
) -> int:
    """Return the FLOPs that an optimizer step on so many tokens carries out."""
    step = step_flops(model, optimizer, tokens)
    return step + _hardware_step_difference(model, tokens, runtime)


def fresh_steps_flops(
    model: ModelConfig, optimizer: OptimizerOptions, tokens_per_step: int, fresh_steps: int
) -> int:
    """Return the training FLOPs (`paper`) of a run with so many fresh steps, over all phases."""
    return sum(
        phase.steps * phase_step_flops(phase, optimizer, tokens_per_step)
        for phase in phases_of(model, fresh_steps)
    )


def affordable_steps(
    model: ModelConfig, optimizer: OptimizerOptions, batch_size: int, flops: float
) -> int:
    """Return the most fresh steps of a run that costs at most `flops` (`paper`) over all phases, or
    `MOST_STEPS` where they are more."""

    def cost(fresh_steps: int) -> int:
        return fresh_steps_flops(model, optimizer, batch_size * model.block_size, fresh_steps)

    too_many = 1
    while cost(too_many) <= flops and too_many < MOST_STEPS:
        too_many *= 2
    return bisect_right(range(too_many + 1), flops, key=cost) - 1


def _hardware_step_difference(model: ModelConfig, tokens: int, runtime: RuntimeConfig) -> int:
    """Return what one step on so many tokens carries out beyond its training FLOPs, on average."""
    flops = tokens * _recomputed_flops_per_token(model, runtime)
    if fast("self_guided"):
        structured = sum(ffn_weights(model, ffn) for ffn in _guided_ffns(model))
        merges = sum(_merge_multiply_adds(model, ffn) for ffn in _guided_ffns(model))
        flops += 3 * _draws_per_2_steps(model) * (merges - tokens * structured)
    return flops


def _guided_ffns(model: ModelConfig) -> list[FFNConfig]:
    """Return the FFNs that have guides in a model that is configured with them."""
    return [ffn for ffn in layer_ffns(model) if ffn.row.mergeable] if model.guide else []


def _draws_per_2_steps(model: ModelConfig) -> int:
    """Return in how many of two steps a guide runs, on average."""
    return 1 if model.guide is not None and model.guide.reduce_flops else 2


def _merge_multiply_adds(model: ModelConfig, ffn: FFNConfig) -> int:
    """Return the multiply-adds that make one dense matrix of each projection's factors."""
    merge = ffn.row.merge
    return sum(merge(n, m, ffn.sizes) for n, m in model.ffn_shapes) if merge else 0


def _recomputed_flops_per_token(model: ModelConfig, runtime: RuntimeConfig) -> int:
    """Return the FFN and attention FLOPs per token that the backward pass computes again.

    It leaves out the product that ends a dense FFN, which it does not need; but not where a layer
    is recomputed that takes its FFN in tiles, which are all computed once more each.
    """
    layers, tiled = runtime.recomputed_layers(model.num_layers), runtime.ffn_tile_tokens > 0
    total, ffns = 0, layer_ffns(model)
    for index in layers:
        whole = runtime.recompute == "layer"
        total += 2 * _attention_multiply_adds(model, "paper") * whole
        total += _ffn_forward_flops(model, ffns[index], ends=tiled)
    return total + sum(_ffn_forward_flops(model, ffn, ends=False) for ffn in ffns) * tiled


def _ffn_forward_flops(model: ModelConfig, ffn: FFNConfig, ends: bool) -> int:
    """Return the FLOPs per token of an FFN's forward pass, `ends` with a dense last product or
    without, on average over the draws of its guide."""
    (n, m), structured = model.ffn_shapes[1], ffn_weights(model, ffn)
    dense, last = ffn_weights(model, FFNConfig()), 0 if ends else n * m
    if ffn.is_dense:
        return 2 * (dense - last)
    if not model.guide:
        return 2 * structured
    guided = dense - last - structured if fast("self_guided") else dense
    return 2 * structured + _draws_per_2_steps(model) * guided


def _attention_multiply_adds(model: ModelConfig, convention: FlopConvention) -> int:
    """Return the multiply-adds of one layer's attention, per token at the full block size."""
    square = 2 * model.block_size * model.attn_dim
    return _attention_weights(model) + (square if convention == "paper" else square // 2)


def _attention_weights(model: ModelConfig) -> int:
    """Return the weights of one layer's query, key, value and output projections."""
    return 2 * model.hidden_dim * (model.attn_dim + model.kv_dim)
