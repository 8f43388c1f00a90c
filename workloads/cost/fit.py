"""Which settings of `runtime` hold a run on given hardware, and which of them costs the least time.

Times are planned, not measured: the FLOPs of a step that are really carried out, over the
accelerator's peak times the utilization of its FFN kind; copies between device and host at the
data sheet's rate, those that go on beside computing only where they take longer; the optimizer's
step on a CPU at the rate of its memory. They order the settings, and say about how much one costs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import log2

from workloads.config.model import FFNConfig, ModelConfig
from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost import flops
from workloads.cost.accelerators import ACCELERATORS, DEFAULT_MFU
from workloads.cost.layer_memory import layers_of, precision
from workloads.cost.memory import Peak, peak_memory
from workloads.errors import Misfit
from workloads.schema.base import MOST_FEATURES

# Assumed of a host: the rate of its memory, and what the interpreter and CUDA take of it a worker.
HOST_BYTES_PER_SECOND = 100e9
HOST_OVERHEAD_BYTES = 4e9
# Assumed of a batch in twice as many micro-batches: its step takes so much longer.
HALVING_COST = 0.01
# A tile of an FFN holds about so many bytes, and at least so many tokens: products of fewer take
# longer than the memory is worth.
TILE_BYTES, LEAST_TILE_TOKENS = 2**30, 8192
# (activation_checkpointing, recompute, layer_inputs), from the least recomputation to the most.
RECOMPUTED = (
    (0, "layer", "device"),
    (1, "ffn", "device"),
    (2, "layer", "device"),
    (2, "layer", "cpu"),
    (1, "layer", "device"),
    (1, "layer", "cpu"),
)
# What `fit` decides; all else of a runtime stays as it is written.
CHOSEN = ("micro_batch_size", "activation_checkpointing", "recompute", "layer_inputs")
CHOSEN += ("ffn_tile_tokens", "offload", "parallel")


@dataclass(frozen=True)
class Hardware:
    """GPUs of one kind, one a worker, and the CPU memory that all workers share, in bytes."""

    accelerator: str
    host_bytes: float
    workers: int = 1

    def holds(self, peak: Peak) -> bool:
        """Return whether a worker's peak fits on a GPU, and those of all workers on the host."""
        memory = ACCELERATORS[self.accelerator].memory_bytes
        return peak.device_bytes <= memory and self.host_needed(peak) <= self.host_bytes

    def host_needed(self, peak: Peak) -> float:
        """Return the bytes of CPU memory that all workers take together."""
        return self.workers * (peak.host_bytes + HOST_OVERHEAD_BYTES)


@dataclass(frozen=True)
class Setting:
    """A runtime of a run with its peak memory, and the seconds that a step is planned to take."""

    runtime: RuntimeConfig
    peak: Peak
    seconds: float


def settings(config: RunConfig, hardware: Hardware) -> list[Setting]:
    """Return every setting that `fit` chooses from, the cheapest first, whether it fits or not."""
    model = _largest(config)
    found = [
        _setting(config, runtime, hardware)
        for runtime in _runtimes(config, model, hardware.workers)
    ]
    return sorted(found, key=lambda setting: setting.seconds)


def fitting(config: RunConfig, hardware: Hardware) -> list[Setting]:
    """Return the settings that the hardware holds, the cheapest first."""
    return [each for each in settings(config, hardware) if hardware.holds(each.peak)]


def fitted(config: RunConfig, hardware: Hardware) -> tuple[RunConfig, RuntimeConfig | None]:
    """Return the run at the cheapest setting that the hardware holds, and the next setting, which
    needs less of the GPU; None where there is none. Raises Misfit where no setting fits."""
    found = fitting(config, hardware)
    if not found:
        raise Misfit(no_fit(config, hardware), "model.block_size", "runtime.fit")
    first, *others = found
    chosen, *smaller = [
        each.runtime.model_copy(update={"fit": None})
        for each in (first, *others)
        if each is first or each.peak.device_bytes < first.peak.device_bytes
    ]
    return config.model_copy(update={"runtime": chosen}), smaller[0] if smaller else None


def worth_showing(found: list[Setting]) -> list[Setting]:
    """Return those of the settings, cheapest first, that need less of the device or of the host
    than every cheaper one."""
    kept: list[Setting] = []
    for each in found:
        if not any(
            cheaper.peak.device_bytes <= each.peak.device_bytes
            and cheaper.peak.host_bytes <= each.peak.host_bytes
            for cheaper in kept
        ):
            kept.append(each)
    return kept


def no_fit(config: RunConfig, hardware: Hardware) -> str:
    """Return why no setting holds the run: the part that is too large, and what would work."""
    gpu, all_settings = ACCELERATORS[hardware.accelerator], settings(config, hardware)
    on_gpu = [each for each in all_settings if each.peak.device_bytes <= gpu.memory_bytes]
    if on_gpu:  # The host is what is too small.
        least = min(on_gpu, key=lambda each: each.peak.host_bytes)
        parts, where = least.peak.host, "CPU memory"
    else:
        least = min(all_settings, key=lambda each: each.peak.device_bytes)
        parts, where = least.peak.device, "the GPU"
    part = max(parts, key=lambda name: parts[name])
    problem = (
        f"no setting of runtime holds {config.model.block_size} tokens of context on "
        f"{hardware.accelerator} with {hardware.host_bytes / 1e9:.0f} GB of CPU memory: at the "
        f"least {part} take {parts[part] / 1e9:.3g} GB of {where}"
    )
    remedies = []
    if longest := longest_context(config, hardware):
        remedies.append(f"model.block_size {longest[0]}")
    if on_gpu:
        remedies.append(f"{hardware.host_needed(least.peak) / 1e9:.0f} GB of CPU memory")
    coarse = config.runtime.model_copy(update={"parameters": "bf16"})
    if fitting(config.model_copy(update={"runtime": coarse}), hardware):
        remedies.append("runtime.parameters: bf16")
    return f"{problem}; use {' or '.join(remedies) or 'more GPUs with runtime.parallel: fsdp'}"


def longest_context(config: RunConfig, hardware: Hardware) -> tuple[int, RuntimeConfig] | None:
    """Return the largest block size that a setting holds, and that setting; None where none is.

    The batch stays what it is in sequences; a micro-batch has one.
    """
    best: tuple[int, RuntimeConfig] | None = None
    alone = config.model_copy(
        update={"runtime": config.runtime.model_copy(update={"micro_batch_size": 1})}
    )
    for runtime in _runtimes(alone, config.model, hardware.workers):
        low, high = (best[0] if best else 0), MOST_FEATURES
        if low and not _holds(config, runtime, hardware, low + 1):
            continue
        while low < high:
            middle = (low + high + 1) // 2
            if _holds(config, runtime, hardware, middle):
                low = middle
            else:
                high = middle - 1
        if low:
            best = low, runtime
    return best


def tile_tokens(model: ModelConfig, ffn: FFNConfig, product_bytes: int) -> int:
    """Return the tokens of a tile: as many as `TILE_BYTES` hold of the FFN's inputs, activations
    and bottlenecks, whose widths are its ranks."""
    (n1, m1), (n2, _) = model.ffn_shapes
    inner = sum(ffn.row.inner(n, m, ffn.sizes) for n, m in model.ffn_shapes)
    tokens = TILE_BYTES // (product_bytes * (n1 + 2 * m1 + n2 + inner))
    return max(LEAST_TILE_TOKENS, tokens // 1024 * 1024)


def _largest(config: RunConfig) -> ModelConfig:
    """Return the model of the phase with the most weights."""
    return max((phase.model for phase in config.phases), key=flops.trained_params)


def _holds(config: RunConfig, runtime: RuntimeConfig, hardware: Hardware, tokens: int) -> bool:
    """Return whether the hardware holds the run with contexts of so many tokens."""
    changed = config.model.model_copy(update={"block_size": tokens})
    at = config.model_copy(update={"model": changed, "runtime": runtime})
    return hardware.holds(peak_memory(at, hardware.workers))


def _runtimes(config: RunConfig, model: ModelConfig, workers: int) -> Iterator[RuntimeConfig]:
    """Yield what may become of the runtime as it is written, valid ones alone."""
    written, rows = config.runtime, max(1, config.batch_size // workers)
    most = min(written.micro_batch_size, rows)
    micros = [size for size in range(most, 0, -1) if rows % size == 0]
    tile = tile_tokens(model, model.ffn, precision(written, "cuda").product)
    layouts = {written.parallel} if workers == 1 else {written.parallel, "fsdp"}
    offloads = [each for each in ("none", "optimizer", "all") if not config.cannot_offload(each)]
    for micro, recomputed, offload in product(micros, RECOMPUTED, offloads):
        tiles = {0, tile} if micro * model.block_size > tile else {0}
        every, part, inputs = recomputed
        for tokens, parallel in product(sorted(tiles), sorted(layouts)):
            update = {"micro_batch_size": micro, "activation_checkpointing": every}
            update |= {"recompute": part, "layer_inputs": inputs, "ffn_tile_tokens": tokens}
            update |= {"offload": offload, "parallel": "fsdp" if offload == "all" else parallel}
            yield written.model_copy(update=update)


def _setting(config: RunConfig, runtime: RuntimeConfig, hardware: Hardware) -> Setting:
    run = config.model_copy(update={"runtime": runtime})
    return Setting(runtime, peak_memory(run, hardware.workers), step_seconds(run, hardware))


def step_seconds(config: RunConfig, hardware: Hardware) -> float:
    """Return the seconds that an optimizer step is planned to take, of the phase with the most
    weights."""
    model = _largest(config)
    states, tokens = config.optimizer.state_bytes(flops.trained(model)), config.tokens_per_step
    carried_out = flops.hardware_step_flops(model, config.optimizer, tokens, config.runtime)
    key = (model, config.runtime, config.batch_size, states, carried_out, hardware)
    return _seconds(*key)  # type: ignore[reportArgumentType]  # frozen models have a hash


@lru_cache(maxsize=4096)
def _seconds(
    model: ModelConfig,
    runtime: RuntimeConfig,
    batch_size: int,
    state_bytes: int,
    step_flops: int,
    hardware: Hardware,
) -> float:
    gpu = ACCELERATORS[hardware.accelerator]
    rate = gpu.peak_flops_per_second * DEFAULT_MFU[model.ffn.kind] * hardware.workers
    computing = step_flops / rate
    rows = max(1, batch_size // hardware.workers)
    micro = min(runtime.micro_batch_size, rows)
    weight, trained = precision(runtime, "cuda").weight, flops.trained_params(model)
    shards = hardware.workers if runtime.parallel == "fsdp" else 1
    layers = layers_of(model, runtime, micro * model.block_size, "cuda")
    beside = 2 * rows * model.block_size * sum(each.entering for each in layers if each.moves)
    alone = 0
    if runtime.offload == "all":  # Weights go to the device for each pass, forward and backward.
        beside += 2 * (rows // micro) * weight * trained // shards
        alone = weight * trained // shards
    elif runtime.offload == "optimizer":  # Gradients go to the host, weights come back.
        alone = 2 * weight * trained // shards
    copying = max(0.0, beside / gpu.link_bytes_per_second - computing)
    copying += alone / gpu.link_bytes_per_second
    stepping = 0.0
    if runtime.offload != "none":
        # A step reads and writes weight and state, and reads the gradient; all workers' at once.
        touched = (trained * (2 * 4 + 4) + 2 * state_bytes) * hardware.workers // shards
        stepping = touched / HOST_BYTES_PER_SECOND
    halvings = log2(rows / micro)
    return (computing + copying + stepping) * (1 + HALVING_COST * halvings)
