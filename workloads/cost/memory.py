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

from workloads.config.growth import plan_of
from workloads.config.model import GrowthConfig, ModelConfig
from workloads.config.phases import Phase
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost import flops
from workloads.cost.layer_memory import FP32, MASK, Device, Precision, layers_of, precision
from workloads.cost.learned_growth import learned_growth

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
    """Return the bytes of tensors on each of `gpus` at the widest moment of an optimizer step."""
    return peak_memory(config, gpus).device_bytes


def peak_memory(config: RunConfig, workers: int = 1, device: Device = "cuda") -> Peak:
    """Return what each of `workers` holds at the widest moment of an optimizer step, by part: on
    its device in the phase that takes most there, on its host in the one that takes most there."""
    peaks = [phase_memory(config, phase, workers, device) for phase in config.phases]
    on_device = max(peaks, key=lambda peak: peak.device_bytes)
    return Peak(on_device.device, max(peaks, key=lambda peak: peak.host_bytes).host)


def phase_memory(
    config: RunConfig, phase: Phase, workers: int = 1, device: Device = "cuda"
) -> Peak:
    """Return what each of `workers` holds at the widest moment of an optimizer step of the phase.

    Where a growth is learned, every worker also holds the base, the matrices with their gradients
    and states, and what their products keep; the grown model has no states.
    """
    growth, states = phase.learned_growth, config.optimizer.state_bytes(flops.trained_in(phase))
    step = _Step(
        phase.model,
        config.runtime,
        config.batch_size,
        None if growth else states,
        workers,
        device,
    )
    peak = _peak(step)
    return _with_matrices(peak, growth, states, config.runtime) if growth else peak


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


def _with_matrices(peak: Peak, growth: GrowthConfig, states: int, runtime: RuntimeConfig) -> Peak:
    """Add what learning a growth holds beside the passes of the grown model, and never shards."""
    learned, base = learned_growth(growth), flops.count_params(growth.base).total
    matrices = FP32 * learned.parameters
    device, host = dict(peak.device), dict(peak.host)
    added = {"parameters": FP32 * base + matrices, "gradients": matrices}
    added["workspace"] = FP32 * learned.kept
    if runtime.offload == "optimizer":  # With masters, and their gradients, on the host.
        host |= {"states": states + matrices, "workspace": matrices}
    else:
        added["states"] = states
    for part, size in added.items():
        device[part] = device.get(part, 0) + size
    return Peak({part: device[part] for part in PARTS if device.get(part)}, host)


@dataclass(frozen=True)
class _Step:
    """What decides the memory of an optimizer step, on each of `workers`.

    `state_bytes` are those of the whole optimizer; None where a growth is learned, which makes the
    weights anew in each step, so that they have neither states nor masters.
    """

    model: ModelConfig
    runtime: RuntimeConfig
    batch_size: int
    state_bytes: int | None
    workers: int
    device: Device

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch."""
        return self._micro * self.model.block_size

    @property
    def accumulates(self) -> bool:
        """True where a worker's part of a batch is several micro-batches."""
        return self._micro * self.workers < self.batch_size

    @property
    def sharded(self) -> bool:
        """True where weights are shards, if only of one worker."""
        several = self.runtime.parallel == "fsdp" and self.workers > 1
        return several or self.runtime.offload == "all"

    @property
    def shards(self) -> int:
        return self.workers if self.sharded else 1

    @property
    def types(self) -> Precision:
        return precision(self.runtime, self.device)

    @property
    def trained(self) -> int:
        """Weights that are trained, of each shard."""
        return flops.trained_params(self.model) // self.shards

    @property
    def weight_bytes(self) -> int:
        """Bytes of a shard's weights; gradients are as large."""
        return self.types.weight * self.trained

    @property
    def has_masters(self) -> bool:
        return self.runtime.has_masters and self.state_bytes is not None

    @property
    def master_gradients(self) -> int:
        """Bytes of the fp32 gradients of masters, which are there for a part of the model."""
        return FP32 * _largest_part(self.model) // self.shards if self.has_masters else 0

    @property
    def _micro(self) -> int:
        return min(self.runtime.micro_batch_size, self.batch_size // self.workers)


# Of the thousands of points that a plan may have, those that differ in rate, seed or budget alone
# have one plan of memory.
@lru_cache(maxsize=4096)
def _peak(step: _Step) -> Peak:
    widest = max(_moments(step), key=lambda parts: sum(parts.values()))
    lasting = _lasting(step)
    on_device = {part: widest.get(part, 0) + lasting.device.get(part, 0) for part in PARTS}
    on_device = {part: size for part, size in on_device.items() if size}
    layers = layers_of(step.model, step.runtime, step.tokens, step.device)
    moved = [_pinned(layer.entering * step.tokens, step.device) for layer in layers if layer.moves]
    return Peak(on_device, lasting.host | ({"layer inputs": sum(moved)} if moved else {}))


def _lasting(step: _Step) -> Peak:
    """Return what is there throughout a step: weights, states, and what accumulates."""
    model, runtime, device = step.model, step.runtime, step.device
    weight = step.types.weight
    masters = FP32 * step.trained if step.has_masters else 0
    weights, gradients = {"parameters": step.weight_bytes}, {"gradients": step.weight_bytes}
    states = {"states": (step.state_bytes or 0) // step.shards + masters}
    updating = {"workspace": step.master_gradients}
    if runtime.offload == "all":
        pinned = {"parameters": _pinned(weights["parameters"], device)}
        if step.accumulates or device == "cuda":  # On a CPU they come as activations go.
            pinned |= gradients
        guides = _guides(model, step.sharded)
        return Peak(_gathered(model, weight) | guides, pinned | states | updating)
    on_device = weights | _guides(model, step.sharded)
    if step.sharded:
        on_device |= _gathered(model, weight)
    elif step.workers > 1:  # DDP's buckets are gradients once more.
        on_device["workspace"] = gradients["gradients"]
    if step.accumulates:  # The gradients of earlier micro-batches are there all the time.
        on_device |= gradients
    if runtime.offload == "optimizer":
        return Peak(on_device, states | updating if step.has_masters else {})
    return Peak(on_device | states, {})


def _guides(model: ModelConfig, sharded: bool) -> Parts:
    """Return the merged guides; their gradient waits in the place of the guides' own."""
    return {} if sharded else {"guide": FP32 * flops.guide_params(model)}


def _gathered(model: ModelConfig, weight: int) -> Parts:
    """Return what FSDP gathers for the whole step: the weights that are in no layer."""
    return {"workspace": weight * _head_weights(model) * (1 if model.tie_embeddings else 2)}


def _moments(step: _Step) -> list[Parts]:
    """Return what comes and goes on the device, at each moment that may be the widest."""
    model, runtime, device, tokens = step.model, step.runtime, step.device, step.tokens
    types, layers = step.types, layers_of(model, runtime, tokens, device)
    kept = _kept(model, runtime, tokens, device)
    head, stream = FP32 * _head_weights(model), types.stream * model.hidden_dim * tokens
    # The head's gradient times that of the loss, in fp32 and, where that is another, its own type.
    scaled = head + (types.weight * _head_weights(model) if types.weight < FP32 else 0)
    largest = max(layer.weights for layer in layers)
    moving = MOVING_LAYERS * types.weight * largest if step.sharded else 0
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
    if not step.accumulates and (runtime.offload != "all" or device == "cpu"):
        at_first_layer["gradients"] = step.weight_bytes
    moments = [at_last_layer, at_first_layer]
    fetched = max((layer.entering * tokens for layer in layers if layer.moves), default=0)
    for moment in moments:
        moment["workspace"] = rotation + moving
        moment["layer inputs"] = moment.get("layer inputs", 0) + INPUTS_AT_WORK[device] * fetched
    gradients = 0 if step.accumulates else step.weight_bytes
    if step.has_masters and runtime.offload == "none":
        moments.append({"gradients": gradients, "workspace": step.master_gradients})
    if step.state_bytes is None and (step.sharded or types.weight < FP32):
        moments.append({"gradients": gradients, "workspace": FP32 * _learned_gradients(model)})
    return [at_loss, *moments]


def _learned_gradients(model: ModelConfig) -> int:
    """Return the most numbers that a growth takes gradients of at once: all weights, and, in depth,
    the stack of a tensor that all layers have."""
    assert model.growth
    matrices = flops.trained(model).hidden_matrices
    largest = max(count * rows * columns for count, rows, columns in matrices)
    stack = model.num_layers * largest if plan_of(model.growth).deepens else 0
    return flops.trained_params(model) + stack


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
