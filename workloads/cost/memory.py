"""Peak memory of one GPU while it trains a run, from its configuration alone (no torch).

A model of what training does on CUDA: fp32 weights and gradients, the optimizer's state, products
in bf16 under autocast, every operation by itself. Compiled layers, the default there, keep less:
the plan is an upper bound. The CUDA context, NCCL and fragmentation are not counted; the memory
capacities that the planner compares with leave room for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from workloads.config.model import FFNConfig, ModelConfig
from workloads.config.phases import Phase
from workloads.config.run import RunConfig, RuntimeConfig
from workloads.cost import flops
from workloads.cost.learned_growth import learned_growth

FP32, BF16, MASK = 4, 2, 1
# The most bytes of logits at once (`kernels.cross_entropy.CHUNK_BYTES` on CUDA).
LOGIT_BYTES = 128 * 2**20
# FSDP's backward pass holds the weights of the layer at work, those of the next one and the buffer
# they arrive in, a layer's whole gradient and the buffer that it is reduced from.
MOVING_LAYERS = 5


@dataclass(frozen=True)
class _Layer:
    """One layer, in weights and in bytes per token.

    `weights` counts those of its products, guides included. Its forward pass keeps `kept` bytes
    for the backward pass, of which `entering` are its input; the backward pass adds `passing` at
    its widest.
    """

    weights: int
    entering: int
    kept: int
    passing: int
    recomputed: bool

    def kept_bytes(self, tokens: int) -> int:
        """Return the bytes of its activations and of its weights' bf16 casts."""
        return self.kept * tokens + BF16 * self.weights

    def working_bytes(self, tokens: int) -> int:
        """Return the bytes that the backward pass adds, recomputation included."""
        again = self.kept_bytes(tokens) - self.entering * tokens if self.recomputed else 0
        return self.passing * tokens + again


def peak_memory_bytes(config: RunConfig, gpus: int = 1) -> int:
    """Return the bytes of tensors on each of `gpus` at the widest moment of an optimizer step.

    That of a run of several phases is the most that one of them takes.
    """
    return max(phase_memory_bytes(config, phase, gpus) for phase in config.phases)


def least_gpus(config: RunConfig, memory_bytes: float) -> int | None:
    """Return the fewest GPUs of that size that hold the run, None where no number does.

    More GPUs hold a larger run where each has a shard (`fsdp`), or where each has fewer rows of the
    batch than `micro_batch_size`.
    """
    return next(
        (
            gpus
            for gpus in range(1, config.batch_size + 1)
            if config.micro_batch(gpus) and peak_memory_bytes(config, gpus) <= memory_bytes
        ),
        None,
    )


def saved_bytes(model: ModelConfig, runtime: RuntimeConfig, tokens: int) -> int:
    """Return the bytes that the forward pass of so many tokens keeps for the backward pass."""
    hidden = model.hidden_dim
    embedding = MASK * hidden if model.dropout else 0
    head = (FP32 + BF16) * hidden  # The input of the last norm, and the gradient of its output.
    layers = sum(
        layer.entering * tokens if layer.recomputed else layer.kept_bytes(tokens)
        for layer in _layers(model, runtime)
    )
    # The gradient of the head's weight waits from the forward pass on.
    return layers + (embedding + head) * tokens + FP32 * _head_weights(model)


def phase_memory_bytes(config: RunConfig, phase: Phase, gpus: int = 1) -> int:
    """Return the bytes of tensors on each of `gpus` at the widest moment of a step of the phase.

    Where a growth is learned, every GPU holds the base, the matrices with their gradients and
    states, and what their products keep; the grown model has no states yet.
    """
    states, growth = config.optimizer.state_bytes(flops.trained_in(phase)), phase.learned_growth
    key = (phase.model, config.runtime, config.batch_size, 0 if growth else states, gpus)
    peak = _peak(*key)  # type: ignore[reportArgumentType]  # frozen models have a hash
    if growth is None:
        return peak
    learned, base = learned_growth(growth), flops.count_params(growth.base).total
    return peak + states + FP32 * (2 * learned.parameters + base + learned.kept)


# Of the thousands of points that a plan may have, those that differ in rate, seed or budget alone
# have one plan of memory.
@lru_cache(maxsize=1024)
def _peak(
    model: ModelConfig, runtime: RuntimeConfig, batch_size: int, state_bytes: int, gpus: int
) -> int:
    micro = min(runtime.micro_batch_size, batch_size // gpus)
    tokens = micro * model.block_size
    layers, stream = _layers(model, runtime), FP32 * model.hidden_dim * tokens
    shards = gpus if runtime.parallel == "fsdp" else 1
    gradients = FP32 * flops.trained_params(model) // shards
    # Weights are as large as gradients.
    states = gradients + state_bytes // shards
    if gpus > 1:  # DDP's buckets are gradients once more; FSDP keeps the head gathered.
        states += gradients if shards == 1 else FP32 * _head_weights(model)
    if shards == 1:  # The merged guides; their gradient waits in the place of the guides' own.
        states += FP32 * flops.guide_params(model)
    if micro * gpus < batch_size:  # The gradients of earlier micro-batches are there all the time.
        states, gradients = states + gradients, 0
    saved = saved_bytes(model, runtime, tokens)
    # Autocast keeps its casts of recomputed layers' weights until the loss is there.
    casts = BF16 * sum(layer.weights for layer in layers if layer.recomputed)
    head = FP32 * _head_weights(model)
    at_loss = saved + max(casts + _loss_bytes(model, tokens), head + 2 * stream)
    # The gradient of the residual stream takes the place of the last norm's input.
    done_with = head + BF16 * model.hidden_dim * tokens
    at_last_layer = saved - done_with + layers[-1].working_bytes(tokens)
    at_first_layer = gradients + layers[0].kept_bytes(tokens) + layers[0].passing * tokens
    moving = MOVING_LAYERS * max(layer.weights for layer in layers) if shards > 1 else 0
    # Tied to the embedding or not, the head's gradient waits for the end of the backward pass.
    waiting = head + FP32 * moving
    return states + max(at_loss, waiting + max(at_last_layer, at_first_layer))


def _loss_bytes(model: ModelConfig, tokens: int) -> int:
    """Return the bytes that the loss adds: its input, that and the weight in bf16, and logits."""
    inputs = (FP32 + BF16) * model.hidden_dim * tokens + BF16 * _head_weights(model)
    return inputs + min(LOGIT_BYTES, BF16 * model.vocab_size * tokens)


def _head_weights(model: ModelConfig) -> int:
    return model.vocab_size * model.hidden_dim


def _layers(model: ModelConfig, runtime: RuntimeConfig) -> list[_Layer]:
    recomputed = runtime.recomputed_layers(model.num_layers)
    return [
        _layer(model, ffn, recomputed=index in recomputed)
        for index, ffn in enumerate(flops.layer_ffns(model))
    ]


def _layer(model: ModelConfig, ffn: FFNConfig, recomputed: bool) -> _Layer:
    hidden, wide = model.hidden_dim, model.ffn_shapes[0][1]
    guided = model.guide is not None and ffn.row.mergeable
    guide = flops.ffn_weights(model, FFNConfig()) if guided else 0
    attention = 2 * hidden * (model.attn_dim + model.kv_dim)
    # The residual stream before both norms, and the norms' statistics.
    stream = 2 * FP32 * hidden + 2 * FP32 * (2 if model.norm == "layernorm" else 1)
    masks = 2 * MASK * hidden if model.dropout else 0
    return _Layer(
        weights=attention + flops.ffn_weights(model, ffn) + guide,
        entering=FP32 * hidden,
        kept=stream + masks + _attention_kept(model) + _ffn_kept(model, ffn, guided),
        passing=BF16 * wide,  # the gradient of the activation's input
        recomputed=recomputed,
    )


def _attention_kept(model: ModelConfig) -> int:
    """Return the bytes per token that attention keeps: input, queries, keys and values, queries and
    keys with their rotation, output, and the softmax's normalizers."""
    turned = model.attn_dim + model.kv_dim if model.position == "rope" else 0
    features = model.hidden_dim + (model.attn_dim + 2 * model.kv_dim) + turned + model.attn_dim
    return BF16 * features + FP32 * model.num_heads


def _ffn_kept(model: ModelConfig, ffn: FFNConfig, guided: bool) -> int:
    """Return the bytes per token that the FFN keeps: three inputs and both bottlenecks.

    The inputs are those of both projections and of the activation. A guided projection is one
    matrix, and has no bottleneck.
    """
    (n1, m1), (n2, _) = model.ffn_shapes
    inner = 0 if guided else sum(ffn.row.inner(n, m, ffn.sizes) for n, m in model.ffn_shapes)
    return BF16 * (n1 + m1 + n2 + inner)
