"""The kernels' claims: what is compared, and what the comparison must reach on any machine.

A ratio is the baseline's time or peak memory over the candidate's. On a CPU the claims about time
are that no operation and no training step is slower than its plain formulation, and that an FFN
reaches a fraction of the machine's own peak. By how much an operation is faster depends on the CPU:
that is recorded, and not claimed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from kernels.bench.errors import InputError
from kernels.bench.ffn import STRUCTURED, Kind, Layer, Passes
from kernels.nearest import nearest_name

Baseline = Literal["plain", "dense", "logits", "reference"]
BASELINES: dict[Baseline, str] = {
    "plain": "its plain formulation",
    "dense": "the dense FFN",
    "logits": "full logits",
    "reference": "reference operations",
}
# Fractions of the dense weights, by the percentages to which the paper rounds them.
FRACTIONS = {"63": 0.625, "32": 0.3125}
CPU_TOKENS, CUDA_TOKENS = 4096, 30_720
# Fractions of the machine's peak that an FFN of width 512 reaches on every CPU, by the fraction of
# the dense weights that it has.
LEAST_OF_PEAK = {"63": 0.5, "32": 0.4}
# The CPU presets of `workloads`: number of heads, features of a head.
HEADS = {"nano": (4, 16), "micro": (4, 24), "mini": (5, 32)}
BATCH, TIME = 16, 128


@dataclass(frozen=True)
class FFNTask:
    """An FFN on a number of tokens, self-guided or not."""

    layer: Layer
    tokens: int
    passes: Passes = "forward and backward"
    guided: bool = False

    def __str__(self) -> str:
        guided = "self-guided " if self.guided else ""
        fraction = "" if self.layer.kind == "dense" else f" {self.layer.fraction:.1%}"
        return (
            f"{guided}{self.layer.kind}{fraction} FFN, width {self.layer.width}, "
            f"{self.tokens:,} tokens, {self.passes}"
        )


@dataclass(frozen=True)
class LossTask:
    """The output head and the cross entropy, forward and backward, on features of `width`."""

    tokens: int
    width: int
    vocabulary: int

    def __str__(self) -> str:
        return (
            f"head and cross entropy, vocabulary {self.vocabulary:,}, width {self.width}, "
            f"{self.tokens:,} tokens, forward and backward"
        )


@dataclass(frozen=True)
class OperationTask:
    """One operation on activations (batch, heads, time, head_dim), forward and backward."""

    operation: Literal["attention", "rotary"]
    shape: tuple[int, int, int, int]

    def __str__(self) -> str:
        sizes = " x ".join(f"{size:,}" for size in self.shape)
        return f"{self.operation} of {sizes}, forward and backward"


@dataclass(frozen=True)
class StepTask:
    """A whole training step of a preset: model, loss, gradients, optimizer.

    Only `python -m workloads bench step` measures it, because `kernels` cannot train. `fraction` is
    the requested fraction of the dense FFN's weights.
    """

    preset: str
    kind: Kind
    fraction: float = 1.0
    guided: bool = False

    def __str__(self) -> str:
        guided = "self-guided " if self.guided else ""
        return f"training step of {self.preset}, {guided}{self.kind} {self.fraction:.1%} FFN"


Task = FFNTask | LossTask | OperationTask | StepTask


@dataclass(frozen=True)
class Claim:
    """The claim that the baseline takes at least `threshold` times the task's seconds or bytes.

    Attributes:
        name: its name, in parts that `select` knows.
        device: where it is claimed.
        task: what the candidate and the baseline do.
        baseline: what the candidate is compared with.
        threshold: the least ratio.
        quantity: of what the ratio is.
        least_of_peak: the least fraction of the peak that the candidate's nominal FLOPs reach.
    """

    name: str
    device: Literal["cpu", "cuda"]
    task: Task
    baseline: Baseline
    threshold: float = 1.0
    quantity: Literal["seconds", "bytes"] = "seconds"
    least_of_peak: float | None = None


def _cpu_claims() -> Iterator[Claim]:
    for kind in STRUCTURED:
        for width in (256, 512):
            for label, fraction in FRACTIONS.items():
                name = f"w{width}/{label}"
                task = FFNTask(Layer(kind, width, fraction), CPU_TOKENS)
                yield Claim(f"{kind}/plain/{name}", "cpu", task, "plain")
                guided = replace(task, guided=True)
                yield Claim(f"self-guided/{kind}/{name}", "cpu", guided, "plain")
        for label, fraction in FRACTIONS.items():
            task = FFNTask(Layer(kind, 512, fraction), CPU_TOKENS)
            name, least_of_peak = f"{kind}/dense/w512/{label}", LEAST_OF_PEAK[label]
            yield Claim(name, "cpu", task, "dense", least_of_peak=least_of_peak)
    loss = LossTask(tokens=2048, width=256, vocabulary=32_000)
    yield Claim("cross-entropy/speed", "cpu", loss, "logits")
    yield Claim("cross-entropy/memory", "cpu", loss, "logits", 4.0, "bytes")
    for preset, (heads, head_dim) in HEADS.items():
        yield from _preset_claims(preset, heads, head_dim)


def _preset_claims(preset: str, heads: int, head_dim: int) -> Iterator[Claim]:
    """Yield the claims about one CPU preset: its operations without weights, and whole steps."""
    activations = BATCH, heads, TIME, head_dim
    for task in (OperationTask("attention", activations), OperationTask("rotary", activations)):
        yield Claim(f"{task.operation}/{preset}", "cpu", task, "reference")
    guided = StepTask(preset, "lowrank", FRACTIONS["63"], guided=True)
    steps = {kind: StepTask(preset, kind, FRACTIONS["63"]) for kind in STRUCTURED}
    for name, step in {"dense": StepTask(preset, "dense"), **steps, "self-guided": guided}.items():
        yield Claim(f"step/{preset}/{name}", "cpu", step, "reference")


def _cuda_claims() -> Iterator[Claim]:
    # Thresholds at the two fractions.
    guided_thresholds = (1.4, 1.25)
    dense_thresholds: dict[Kind, tuple[float, float]] = {
        "lowrank": (1.45, 2.7),
        "blockdense": (1.45, 2.7),
        "blockshuffle": (1.35, 2.4),
    }
    # The paper's own ratios, of forward passes on an A100.
    published_thresholds: dict[Kind, tuple[float, float]] = {
        "lowrank": (1.4, 2.6),
        "blockdense": (1.4, 2.6),
        "blockshuffle": (1.1, 2.0),
    }
    for kind in STRUCTURED:
        for width in (768, 1536, 2048, 4096):
            for (label, fraction), threshold in _by_fraction(guided_thresholds):
                task = FFNTask(Layer(kind, width, fraction), CUDA_TOKENS, guided=True)
                name = f"self-guided/{kind}/w{width}/{label}"
                yield Claim(name, "cuda", task, "plain", threshold)
        for width in (2048, 4096, 5120):
            for (label, fraction), threshold in _by_fraction(dense_thresholds[kind]):
                task = FFNTask(Layer(kind, width, fraction), CUDA_TOKENS)
                name = f"{kind}/dense/w{width}/{label}"
                yield Claim(name, "cuda", task, "dense", threshold)
        for (label, fraction), threshold in _by_fraction(published_thresholds[kind]):
            task = FFNTask(Layer(kind, 5120, fraction), CUDA_TOKENS, "forward")
            name = f"{kind}/published/w5120/{label}"
            yield Claim(name, "cuda", task, "dense", threshold)
    loss = LossTask(tokens=CUDA_TOKENS, width=768, vocabulary=32_000)
    yield Claim("cross-entropy/speed", "cuda", loss, "logits", 1.3)
    yield Claim("cross-entropy/memory", "cuda", loss, "logits", 10.0, "bytes")


def _by_fraction(thresholds: tuple[float, float]) -> Iterator[tuple[tuple[str, float], float]]:
    """Yield ((label, fraction), threshold) for each fraction of the dense weights."""
    return zip(FRACTIONS.items(), thresholds, strict=True)


CLAIMS: tuple[Claim, ...] = (*_cpu_claims(), *_cuda_claims())


def of_kernels(device: str) -> list[Claim]:
    """Return the device's claims that `kernels` can measure by itself."""
    return [c for c in CLAIMS if c.device == device and not isinstance(c.task, StepTask)]


def of_steps() -> list[Claim]:
    """Return the claims about whole training steps, which `workloads` measures."""
    return [claim for claim in CLAIMS if isinstance(claim.task, StepTask)]


def select(names: list[str], claims: list[Claim]) -> list[Claim]:
    """Return the claims with these names or below them; all claims if no name is given.

    `blockshuffle` selects every claim whose name begins with `blockshuffle/`.

    Raises:
        InputError: a name selects no claim; the message suggests the nearest name.
    """
    for name in names:
        if not any(_is_selected(claim, name) for claim in claims):
            raise InputError(_unknown(name, claims))
    return [claim for claim in claims if not names or any(_is_selected(claim, n) for n in names)]


def _is_selected(claim: Claim, name: str) -> bool:
    return f"{claim.name}/".startswith(f"{name.rstrip('/')}/")


def _unknown(name: str, claims: list[Claim]) -> str:
    """Return the error message for a name that selects no claim."""
    parts = [claim.name.split("/") for claim in claims]
    known = {"/".join(part[: n + 1]) for part in parts for n in range(len(part))}
    groups = ", ".join(sorted({part[0] for part in parts}))
    nearest = nearest_name(name, sorted(known))
    return f"{name}: no such claim here; the nearest is {nearest} (of {groups})"
