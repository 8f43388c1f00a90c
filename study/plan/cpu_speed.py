"""The speed at which this machine's CPU trains: measured once, kept in the user's cache folder.

`python -m study.plan.cpu_speed` trains each of the CPU presets on one thread for a second and
prints FLOPs (`paper` convention) per second of processor time. Processor time leaves out what other
programs use, so the speed is that of a quiet machine. One thread, because threads that wait for
each other on a busy machine use up processor time as well; beside as many more processes as there
are further processors, because a study trains on all of them, and two that are one core slow each
other down. `plan` runs it in a process of its own, and so needs no torch itself. The speed is
measured anew with another CPU, torch or kernels.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from kernels.files import read_bytes, write_atomically
from kernels.machine import cpu_name, instruction_sets, source_hash
from workloads.config.model import ModelConfig
from workloads.cost import flops
from workloads.files import measured_here
from workloads.recipes.presets import PRESETS

# From small to large; a larger model trains at the speed of the last.
MEASURED = ("pico", "nano", "micro", "mini")
SECONDS_EACH = 1.0
TIMEOUT_SECONDS = 120.0
# Mask, softmax and their gradients take 2 to 5 ns a score on a Xeon with AVX-512, as long as so
# many FLOPs of products there.
SCORE_FLOPS = 300.0
FILE = "cpu_speeds.json"

Rates = dict[str, float]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
STORED = TypeAdapter(dict[str, dict[Literal["pico", "nano", "micro", "mini"], Positive]])


def cpu_rates() -> Rates:
    """Return the training FLOPs per second of each measured preset, on one thread of this CPU.

    Empty where they cannot be measured, such as where torch is not installed.
    """
    try:
        name, stored = _depends_on(), _load()
    except PackageNotFoundError:
        return {}
    if not stored.get(name):
        print("measuring the speed of this CPU, once: about 15 s", file=sys.stderr)
        rates = _measure_in_a_process()
        if not rates:
            return {}
        stored[name] = rates
        _store(stored)
    return stored[name]


def rate_for(model: ModelConfig, rates: Rates) -> float:
    """Return the training FLOPs per second of a model, read off the measured presets.

    A layer takes a token some time whatever its work is, and more in proportion to that. So the
    seconds of a layer and token, the head counted as a layer, lie on straight lines between the
    presets, and on the first of these below them. A larger model trains at the speed of the last.
    """
    work, known = _work(model), []
    for name, rate in rates.items():
        preset = PRESETS[name].model
        known.append((_work(preset), _of_a_layer(preset) / rate, rate))
    known.sort()
    if work >= known[-1][0] or len(known) == 1:
        return known[-1][2]
    above = max(1, next(i for i, (larger, *_) in enumerate(known) if larger > work))
    (low, short, slow), (high, long, fast) = known[above - 1 : above + 1]
    seconds = short + (long - short) * (work - low) / (high - low)
    trained = _of_a_layer(model)
    return trained / max(seconds, trained / max(slow, fast))


def _of_a_layer(model: ModelConfig) -> float:
    """Return the training FLOPs of a token in one layer, the head counted as one more."""
    return flops.train_flops_per_token(model) / (model.num_layers + 1)


def _work(model: ModelConfig) -> float:
    """Return the training FLOPs of a token in one layer, and what its attention scores cost beside
    their products."""
    scores = model.num_layers * model.num_heads * model.block_size
    return _of_a_layer(model) + SCORE_FLOPS * scores / (model.num_layers + 1)


def _depends_on() -> str:
    """Name what the speed depends on; raise PackageNotFoundError if torch is not installed."""
    extensions = hashlib.sha256(instruction_sets().encode()).hexdigest()[:12]
    parts = f"{cpu_name()}, {extensions}, torch {version('torch')}, kernels {source_hash()}"
    return f"{parts}, {os.cpu_count()} at a time"


def measure() -> Rates:
    """Train each measured preset, dense, for a second of processor time."""
    import torch

    torch.set_num_threads(1)
    with _all_at_work():
        return {preset: _measure_preset(preset) for preset in MEASURED}


@contextmanager
def _all_at_work() -> Iterator[None]:
    """Have a process train on each further processor, until all is measured or this process is
    gone."""
    parent, others = os.getpid(), list[int]()
    for _ in range((os.cpu_count() or 1) - 1):
        if other := os.fork():
            others.append(other)
            continue
        step, _flops = _step_of("nano")
        while os.getppid() == parent:
            step()
        os._exit(0)
    try:
        yield
    finally:
        for other in others:
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)


def _measure_preset(preset: str) -> float:
    step, per_step = _step_of(preset)
    step()  # creates the optimizer's state
    return per_step / _processor_seconds(step)


def _step_of(preset: str) -> tuple[Callable[[], None], int]:
    """Return a training step of a preset, and its FLOPs."""
    import torch

    from workloads.nn.transformer import Transformer
    from workloads.optim.build import build_optimizer
    from workloads.recipes.recipe import Recipe

    config = Recipe(preset=preset).resolve()
    model = Transformer(config.model)
    optimizer = build_optimizer(model, config.optimizer)
    shape = (config.batch_size, config.model.block_size)
    tokens = torch.randint(config.model.vocab_size, shape)

    def step() -> None:
        model(tokens, tokens).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step, flops.train_flops_per_token(config.model) * config.tokens_per_step


def _processor_seconds(step: Callable[[], None]) -> float:
    """Return the median step's seconds of processor time."""
    seconds: list[float] = []
    while len(seconds) < 2 or sum(seconds) < SECONDS_EACH:
        start = time.process_time()
        step()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def _measure_in_a_process() -> Rates:
    try:
        done = subprocess.run(
            [sys.executable, "-m", "study.plan.cpu_speed"],
            capture_output=True,
            check=True,
            timeout=TIMEOUT_SECONDS,
        )
    except subprocess.SubprocessError:
        return {}
    return json.loads(done.stdout)


def _load() -> dict[str, Rates]:
    """Return the stored rates by what they depend on; a file that cannot be read is ignored."""
    with suppress(OSError, ValueError):
        content = read_bytes(measured_here(FILE))
        STORED.validate_json(content)
        return json.loads(content)
    return {}


def _store(rates: dict[str, Rates]) -> None:
    """Keep the rates. Where the folder cannot be written, the next plan measures again."""
    with suppress(OSError):
        write_atomically(measured_here(FILE), json.dumps(rates, indent=1))


if __name__ == "__main__":
    print(json.dumps(measure()))
