"""Peak memory and time of training steps, as planned and as measured, by length and settings.

Each row is a process of its own, so that none inherits another's memory, and is written as soon as
it is measured. Tokens are random: no row needs a dataset.
"""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from workloads.config.run import RunConfig
from workloads.config.runtime import RuntimeConfig
from workloads.cost.fit import HOST_OVERHEAD_BYTES, tile_tokens
from workloads.cost.flops import train_flops_at
from workloads.cost.layer_memory import precision
from workloads.cost.memory import peak_memory
from workloads.errors import InputError
from workloads.nn.self_guided import MergedGuides
from workloads.optim.build import build_optimizer
from workloads.optim.update import use_gradients
from workloads.recipes.presets import PRESETS
from workloads.recipes.recipe import Recipe
from workloads.training import parallel, phases
from workloads.training.hardware import peak_flops_per_second

SHAPES = {"cuda": "llama-1b", "cpu": "nano"}
FIRST_TOKENS = {"cuda": 32_768, "cpu": 256}
# Of a CPU, and of a CUDA device at most: each twice the one before.
CPU_LENGTHS, MOST_LENGTHS = 2, 8
# The rest is left to what no model of tensors counts.
SHARE_OF_DEVICE = 0.94
STEPS = 2  # The second is timed; the first allocates, and loads kernels.
# The shape of an 8B model: what differs from the 1B one.
LARGER: dict[str, Any] = {"num_layers": 32, "hidden_dim": 4096, "attn_dim": 4096}
LARGER |= {"ffn_dim": 14_336, "num_heads": 32, "num_kv_heads": 8, "tie_embeddings": False}
EVERYTHING = {"parameters": "bf16", "activation_checkpointing": 1, "layer_inputs": "cpu"}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "ffn recomputed": {"activation_checkpointing": 1, "recompute": "ffn"},
    "layers recomputed": {"activation_checkpointing": 1},
    "inputs on the host": {"activation_checkpointing": 1, "layer_inputs": "cpu"},
    "tiles": {"activation_checkpointing": 1, "layer_inputs": "cpu", "ffn_tile_tokens": 1},
    "bf16, states on the host": EVERYTHING | {"offload": "optimizer"},
    "bf16, all on the host": EVERYTHING | {"offload": "all", "parallel": "fsdp"},
}


@dataclass(frozen=True)
class Row:
    """One setting at one length: bytes of device and host, planned and measured, seconds of a step
    and the share of the device's peak rate. What was not measured is None, and `failure` says why.
    """

    model: str
    tokens: int
    setting: str
    planned_bytes: int
    planned_host_bytes: int
    measured_bytes: int | None = None
    seconds: float | None = None
    peak_share: float | None = None
    failure: str = ""


def measure(
    device: str,
    minutes: float,
    tell: Callable[[Row], None],
    out: Path | None = None,
) -> list[Row]:
    """Measure lengths from the shortest on, doubled while a setting fits, until the time is up.

    On a CPU two lengths of a small model are measured. Rows are told and appended to
    `out`, one JSON object a line, as they are measured. Raises InputError where the preset or the
    device is not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no CUDA device; use --device cpu")
    if SHAPES[device] not in PRESETS:
        raise InputError(f"--device {device} measures preset {SHAPES[device]}, which is not there")
    ends, rows = time.monotonic() + 60 * minutes, []
    for model, setting, config in _runs(device, capacity(device)):
        if time.monotonic() > ends:
            break
        row = _measured(model, setting, config, device)
        rows.append(row)
        tell(row)
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(row)) + "\n")
    return rows


def capacity(device: str) -> tuple[float, float]:
    """Return the bytes of device and host that a plan may take on this machine."""
    host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") - HOST_OVERHEAD_BYTES
    if device == "cuda":
        return SHARE_OF_DEVICE * torch.cuda.mem_get_info()[1], host
    return host, host


def head() -> str:
    """Return the names of the columns."""
    names = f"{'model':<10}{'tokens':>9}  {'setting':<26}{'plan GB':>9}{'peak GB':>9}"
    return f"{names}{'s/step':>8}{'of peak':>9}"


def line(row: Row) -> str:
    """Return one row for people."""
    measured = "" if row.measured_bytes is None else f"{row.measured_bytes / 1e9:.2f}"
    seconds = "" if row.seconds is None else f"{row.seconds:.3g}"
    share = "" if row.peak_share is None else f"{row.peak_share:.1%}"
    return (
        f"{row.model:<10}{row.tokens:>9}  {row.setting:<26}{row.planned_bytes / 1e9:>9.2f}"
        f"{measured:>9}{seconds:>8}{share:>9}  {row.failure}".rstrip()
    )


def _runs(device: str, held: tuple[float, float]) -> Iterator[tuple[str, str, RunConfig]]:
    """Yield what the device is planned to hold: each length in every setting, then the 8B shape."""
    name, tokens = SHAPES[device], FIRST_TOKENS[device]
    for _ in range(CPU_LENGTHS if device == "cpu" else MOST_LENGTHS):
        for setting in SETTINGS:
            config = _config(device, tokens, setting, {})
            if _fits(config, device, held):
                yield name, setting, config
        tokens *= 2
    for setting in [name for name in SETTINGS if name.startswith("bf16")] * (device == "cuda"):
        config = _config(device, FIRST_TOKENS[device], setting, LARGER)
        if _fits(config, device, held):
            yield "8B", setting, config


def _config(device: str, tokens: int, setting: str, model: dict[str, Any]) -> RunConfig:
    recipe = {"preset": SHAPES[device], "model": model | {"block_size": tokens}, "batch_size": 1}
    recipe |= {"budget": {"steps": STEPS}, "eval_tokens": tokens}
    recipe |= {"runtime": {"micro_batch_size": 1} | SETTINGS[setting]}
    return _tiled(Recipe.model_validate(recipe).resolve())


def _tiled(config: RunConfig) -> RunConfig:
    """Return the run with the planned tiles, in place of the mark that it has any."""
    runtime = config.runtime
    if not runtime.ffn_tile_tokens:
        return config
    product = precision(runtime, "cuda").product
    tile = min(
        tile_tokens(config.model, config.model.ffn, product), max(1, config.model.block_size // 4)
    )
    tiled = RuntimeConfig.model_validate(runtime.model_dump() | {"ffn_tile_tokens": tile})
    return config.model_copy(update={"runtime": tiled})


def _fits(config: RunConfig, device: str, held: tuple[float, float]) -> bool:
    peak = peak_memory(config, device="cuda" if device == "cuda" else "cpu")
    return peak.device_bytes <= held[0] and peak.host_bytes <= held[1]


def _measured(model: str, setting: str, config: RunConfig, device: str) -> Row:
    peak = peak_memory(config, device="cuda" if device == "cuda" else "cpu")
    planned = Row(model, config.model.block_size, setting, peak.device_bytes, peak.host_bytes)
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        try:
            found = pool.submit(step_in_this_process, config.model_dump_json(), device).result()
        except (RuntimeError, MemoryError, BrokenProcessPool) as error:
            words = str(error).partition("\n")[0]
            return replace(planned, failure=words or type(error).__name__)
    return replace(planned, **found)


def step_in_this_process(config_json: str, device_type: str) -> dict[str, Any]:
    """Take steps of random tokens; return the last one's seconds, and the peak bytes of tensors of
    a CUDA device. Of a CPU, whose plan is of the process, no bytes are measured here."""
    config = RunConfig.model_validate_json(config_json)
    device = torch.device(device_type)
    casts = device_type == "cuda" and config.runtime.parameters == "fp32"
    precise = torch.autocast(device_type, torch.bfloat16, enabled=casts)
    with parallel.group(config, device):
        torch.manual_seed(config.seed)
        model = phases.build_model(config.phases[0])
        network = parallel.parallelize(model, config, device)
        offloads = config.runtime.offload == "optimizer"
        optimizer = build_optimizer(model, config.optimizer, on_cpu=offloads)
        tokens = torch.randint(
            config.model.vocab_size, (1, config.model.block_size + 1), device=device
        )
        seconds = 0.0
        for _ in range(STEPS):
            gc.collect()
            _wait(device)
            began = time.perf_counter()
            guides = MergedGuides(model)
            guides.begin(precise)
            guides.before_last()
            with precise:
                loss = network(tokens[:, :-1], tokens[:, 1:])
            loss.backward()
            guides.end()
            use_gradients(model, optimizer.step, config.optimizer.max_grad_norm)
            _wait(device)
            seconds = time.perf_counter() - began
    found: dict[str, Any] = {"seconds": seconds}
    if device_type == "cuda":
        found["measured_bytes"] = torch.cuda.max_memory_allocated(device)
    if peak := peak_flops_per_second(device):
        found["peak_share"] = train_flops_at(config, 1) / seconds / peak
    return found


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
