"""Peak memory of one worker while it trains a run, from its configuration alone (no torch).

On CUDA a model of what training does: fp32 weights and gradients, the optimizer's state, products
in bf16 under autocast, every operation by itself. Compiled layers, the default there, keep less:
the plan is an upper bound. The CUDA context, NCCL and fragmentation are not counted; the memory
capacities that the planner compares with leave room for them. On a CPU, device and host are one
memory, products are in fp32, and the interpreter itself is not counted.

`runtime` moves parts between device and host, or has them computed again; each part is counted
where it lies at the widest moment of an optimizer step.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from workloads.config.model import ModelConfig
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost import flops
from workloads.cost.layer_memory import FP32, MASK, Device, layers_of, precision

# The most bytes of logits at once (`kernels.cross_entropy.CHUNK_BYTES`).
LOGIT_BYTES: dict[Device, int] = {"cuda": 128 * 2**20, "cpu": 16 * 2**20}
# FSDP's backward pass holds the weights of the layer at work, those of the next one and the buffer
# they arrive in, a layer's whole gradient and the buffer that it is reduced from.
MOVING_LAYERS = 5
# Of the inputs that wait in CPU memory, those on the device in the backward pass: that of the layer
# at work, and the one that is fetched ahead. On a CPU they are where they were.
INPUTS_AT_WORK: dict[Device, int] = {"cuda": 2, "cpu": 0}

Parts = dict[str, int]
PARTS = ("parameters", "gradients", "states", "guide", "layer inputs", "activations")
PARTS += ("largest layer", "loss", "workspace")


@dataclass(frozen=True)
class Peak:
    """Bytes by part at the widest moment of a step: of the device, and of its worker's host."""

    device: Parts
    host: Parts

    @property
    def device_bytes(self) -> int:
        """Bytes of tensors on the device."""
        return sum(self.device.values())

    @property
    def host_bytes(self) -> int:
        """Bytes of tensors in CPU memory."""
        return sum(self.host.values())


def peak_memory_bytes(config: RunConfig, gpus: int = 1) -> int:
    """Return the bytes of tensors on each of `gpus` at the widest moment of an optimizer step.

    That of a run of several phases is taken from the phase that trains the most weights.
    """
    return peak_memory(config, gpus).device_bytes


def peak_memory(config: RunConfig, workers: int = 1, device: Device = "cuda") -> Peak:
    """Return what each of `workers` holds at the widest moment of an optimizer step, by part."""
    model = max((phase.model for phase in config.phases), key=flops.trained_params)
    state_bytes = config.optimizer.state_bytes_per_param
    key = (model, config.runtime, config.batch_size, state_bytes, workers, device)
    return _peak(*key)  # type: ignore[reportArgumentType]  # frozen models have a hash


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


def saved_bytes(
    model: ModelConfig, runtime: RuntimeConfig, tokens: int, device: Device = "cuda"
) -> int:
    """Return the bytes on the device that the forward pass of so many tokens keeps for the backward
    pass."""
    return sum(_kept(model, runtime, tokens, device).values())


def _kept(model: ModelConfig, runtime: RuntimeConfig, tokens: int, device: Device) -> Parts:
    types, hidden = precision(runtime, device), model.hidden_dim
    layers = layers_of(model, runtime, tokens, device)
    inputs = sum(layer.entering for layer in layers if not layer.moves) * tokens
    activations = sum(layer.kept_bytes(tokens) - layer.entering * tokens for layer in layers)
    embedding = MASK * hidden if model.dropout else 0
    return {
        "layer inputs": inputs,
        "activations": activations + embedding * tokens,
        # The input of the last norm and the gradient of its output. The gradient of the head's
        # weight waits from the forward pass on.
        "loss": (types.stream + types.product) * hidden * tokens + FP32 * _head_weights(model),
    }


# Of the thousands of points that a plan may have, those that differ in rate, seed or budget alone
# have one plan of memory.
@lru_cache(maxsize=4096)
def _peak(
    model: ModelConfig,
    runtime: RuntimeConfig,
    batch_size: int,
    state_bytes: int,
    workers: int,
    device: Device,
) -> Peak:
    micro = min(runtime.micro_batch_size, batch_size // workers)
    accumulates = micro * workers < batch_size
    tokens = micro * model.block_size
    moments = _moments(model, runtime, tokens, workers, accumulates, device)
    widest = max(moments, key=lambda parts: sum(parts.values()))
    lasting = _lasting(model, runtime, state_bytes, workers, accumulates, device)
    on_device = {part: widest.get(part, 0) + lasting.device.get(part, 0) for part in PARTS}
    on_device = {part: size for part, size in on_device.items() if size}
    layers = layers_of(model, runtime, tokens, device)
    moved = [_pinned(layer.entering * tokens, device) for layer in layers if layer.moves]
    return Peak(on_device, lasting.host | ({"layer inputs": sum(moved)} if moved else {}))


def _lasting(
    model: ModelConfig,
    runtime: RuntimeConfig,
    state_bytes: int,
    workers: int,
    accumulates: bool,
    device: Device,
) -> Peak:
    """Return what is there throughout a step: weights, states, and what accumulates."""
    weight = precision(runtime, device).weight
    shards = workers if runtime.parallel == "fsdp" else 1
    sharded = shards > 1 or runtime.offload == "all"
    trained = flops.trained_params(model) // shards
    masters = FP32 * trained if runtime.has_masters else 0
    weights = {"parameters": weight * trained}
    gradients = {"gradients": weight * trained}
    states = {"states": state_bytes * trained + masters}
    # The optimizer's fp32 gradients are there for one part of the model at a time.
    step = {"workspace": FP32 * _largest_part(model) // shards if masters else 0}
    if runtime.offload == "all":
        pinned = {"parameters": _pinned(weights["parameters"], device)}
        if accumulates or device == "cuda":  # On a CPU they come as activations go.
            pinned |= gradients
        return Peak(_gathered(model, weight) | _guides(model, sharded), pinned | states | step)
    on_device = weights | (_gathered(model, weight) if sharded else {}) | _guides(model, sharded)
    if workers > 1 and not sharded:  # DDP's buckets are gradients once more.
        on_device["workspace"] = gradients["gradients"]
    if accumulates:  # The gradients of earlier micro-batches are there all the time.
        on_device |= gradients
    if runtime.offload == "optimizer":
        return Peak(on_device, states | step)
    return Peak(on_device | states, {})


def _guides(model: ModelConfig, sharded: bool) -> Parts:
    """Return the merged guides; their gradient waits in the place of the guides' own."""
    return {} if sharded else {"guide": FP32 * flops.guide_params(model)}


def _gathered(model: ModelConfig, weight: int) -> Parts:
    """Return what FSDP gathers for the whole step: the weights that are in no layer."""
    return {"workspace": weight * _head_weights(model) * (1 if model.tie_embeddings else 2)}


def _moments(
    model: ModelConfig,
    runtime: RuntimeConfig,
    tokens: int,
    workers: int,
    accumulates: bool,
    device: Device,
) -> list[Parts]:
    """Return what comes and goes on the device, at each moment that may be the widest."""
    types, layers = precision(runtime, device), layers_of(model, runtime, tokens, device)
    kept = _kept(model, runtime, tokens, device)
    head, stream = FP32 * _head_weights(model), types.stream * model.hidden_dim * tokens
    # The head's gradient times that of the loss, in fp32 and, where that is another, its own type.
    scaled = head + (types.weight * _head_weights(model) if types.weight < FP32 else 0)
    sharded = runtime.offload == "all" or (runtime.parallel == "fsdp" and workers > 1)
    shards = workers if sharded else 1
    moving = MOVING_LAYERS * types.weight * max(layer.weights for layer in layers) if sharded else 0
    # Autocast keeps its casts of recomputed layers' weights until the loss is there.
    casts = types.cast * sum(layer.weights for layer in layers) - sum(each.casts for each in layers)
    rotation = 2 * FP32 * model.block_size * model.head_dim if model.position == "rope" else 0
    at_loss = kept | {"workspace": rotation}
    if casts + _loss_bytes(model, tokens, types.product, types.cast, device) > scaled + 2 * stream:
        at_loss["workspace"] += casts
        at_loss["loss"] += _loss_bytes(model, tokens, types.product, types.cast, device)
    else:
        at_loss["loss"] += scaled + 2 * stream
    # The gradient of the residual stream takes the place of the last norm's input. Tied to the
    # embedding or not, the head's gradient waits for the end of the backward pass.
    passed = {"loss": kept["loss"] - types.product * model.hidden_dim * tokens}
    last, first = layers[-1], layers[0]
    at_last_layer = kept | passed | {"largest layer": last.working_bytes(tokens)}
    at_first_layer = {
        "largest layer": first.kept_bytes(tokens) + first.passing * tokens,
        "loss": head,
    }
    if not accumulates and (runtime.offload != "all" or device == "cpu"):
        at_first_layer["gradients"] = types.weight * flops.trained_params(model) // shards
    moments = [at_last_layer, at_first_layer]
    fetched = max((layer.entering * tokens for layer in layers if layer.moves), default=0)
    for moment in moments:
        moment["workspace"] = rotation + moving
        moment["layer inputs"] = moment.get("layer inputs", 0) + INPUTS_AT_WORK[device] * fetched
    if runtime.has_masters and runtime.offload == "none":
        step = types.weight * flops.trained_params(model) // shards * (not accumulates)
        moments.append({"gradients": step, "workspace": FP32 * _largest_part(model) // shards})
    return [at_loss, *moments]


def _loss_bytes(model: ModelConfig, tokens: int, product: int, cast: int, device: Device) -> int:
    """Return the bytes that the loss adds: its input, that and the weight as products take them,
    and logits."""
    inputs = ((FP32 + product) if cast else product) * model.hidden_dim * tokens
    weight, logits = cast * _head_weights(model), product * model.vocab_size * tokens
    chunk = min(logits, LOGIT_BYTES[device])
    if device == "cuda":
        return inputs + weight + chunk
    # On a CPU their fp32 copy, too. One chunk is taken in plain torch: logarithms and gradients.
    precise = chunk * FP32 // product
    copies = 2 * precise if chunk == logits else precise * (product < FP32)
    return inputs + weight + chunk + copies


def _head_weights(model: ModelConfig) -> int:
    return model.vocab_size * model.hidden_dim


def _largest_part(model: ModelConfig) -> int:
    """Return the most weights that masters are updated of at once: of a layer, or of the rest."""
    inside = (flops.trained_params(model) - _outside(model)) // model.num_layers
    return max(inside, _outside(model))


def _outside(model: ModelConfig) -> int:
    """Return the weights in no layer: embeddings and head, but for the last norm."""
    head = 0 if model.tie_embeddings else _head_weights(model)
    return flops.count_params(model).embedding + head


def _pinned(size: int, device: Device) -> int:
    """Return the bytes that torch pins for so many: the next power of two, on CUDA alone."""
    return 1 << (size - 1).bit_length() if device == "cuda" and size else size
