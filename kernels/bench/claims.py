"""The kernels' claims: what is compared, and the ratio that the comparison must reach.

A ratio is the baseline's time or peak memory over the candidate's. On a CPU the threshold depends
on whether `kernels.gemm` chooses oneDNN. Then plain baselines multiply by torch's default library,
as their users would, and dense baselines by the same library as the candidate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kernels.bench.errors import InputError
from kernels.bench.ffn import STRUCTURED, Kind, Layer, Passes
from kernels.nearest import nearest_name

Baseline = Literal["plain", "dense", "default", "logits", "reference"]
BASELINES: dict[Baseline, str] = {
    "plain": "its plain formulation",
    "dense": "the dense FFN",
    "default": "torch's default products",
    "logits": "full logits",
    "reference": "reference operations, with torch's attention",
}
# Fractions of the dense weights, by the percentages to which the paper rounds them.
FRACTIONS = {"63": 0.625, "32": 0.3125}
CPU_TOKENS, CUDA_TOKENS = 4096, 30_720


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


Task = FFNTask | LossTask | StepTask


@dataclass(frozen=True)
class Claim:
    """The claim that the baseline takes at least `threshold` times the task's seconds or bytes.

    `threshold_default` replaces `threshold` on a CPU whose products are torch's default; None means
    that nothing is claimed there.
    """

    name: str
    device: Literal["cpu", "cuda"]
    task: Task
    baseline: Baseline
    threshold: float
    threshold_default: float | None
    quantity: Literal["seconds", "bytes"] = "seconds"

    def threshold_with(self, onednn: bool) -> float | None:
        """Return the threshold with or without oneDNN, which matters only on a CPU."""
        return self.threshold if onednn or self.device == "cuda" else self.threshold_default


def _cpu_claims() -> Iterator[Claim]:
    # Thresholds with oneDNN and with torch's default.
    plain_thresholds: dict[Kind, tuple[float, float]] = {
        "lowrank": (1.5, 1.0),
        "blockdense": (1.5, 1.0),
        "blockshuffle": (1.7, 1.05),
    }
    for width in (256, 512):
        dense = FFNTask(Layer("dense", width), CPU_TOKENS)
        yield Claim(f"dense/default/w{width}", "cpu", dense, "default", 1.5, None)
    for kind in STRUCTURED:
        threshold, threshold_default = plain_thresholds[kind]
        for width in (256, 512):
            for label, fraction in FRACTIONS.items():
                name = f"w{width}/{label}"
                task = FFNTask(Layer(kind, width, fraction), CPU_TOKENS)
                yield Claim(
                    f"{kind}/plain/{name}", "cpu", task, "plain", threshold, threshold_default
                )
                guided = FFNTask(task.layer, CPU_TOKENS, guided=True)
                yield Claim(f"self-guided/{kind}/{name}", "cpu", guided, "plain", 2.5, 1.4)
        for (label, fraction), threshold in zip(FRACTIONS.items(), (1.3, 1.8), strict=True):
            task = FFNTask(Layer(kind, 512, fraction), CPU_TOKENS)
            yield Claim(f"{kind}/dense/w512/{label}", "cpu", task, "dense", threshold, threshold)
    loss = LossTask(tokens=2048, width=256, vocabulary=32_000)
    yield Claim("cross-entropy/speed", "cpu", loss, "logits", 1.1, 1.1)
    yield Claim("cross-entropy/memory", "cpu", loss, "logits", 4.0, 4.0, "bytes")
    step = StepTask("mini", "dense")
    yield Claim("step/mini/dense", "cpu", step, "reference", 1.5, 1.5)
    step = StepTask("mini", "lowrank", FRACTIONS["63"], guided=True)
    yield Claim("step/mini/self-guided", "cpu", step, "reference", 1.5, 1.5)


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
                yield Claim(name, "cuda", task, "plain", threshold, threshold)
        for width in (2048, 4096, 5120):
            for (label, fraction), threshold in _by_fraction(dense_thresholds[kind]):
                task = FFNTask(Layer(kind, width, fraction), CUDA_TOKENS)
                name = f"{kind}/dense/w{width}/{label}"
                yield Claim(name, "cuda", task, "dense", threshold, threshold)
        for (label, fraction), threshold in _by_fraction(published_thresholds[kind]):
            task = FFNTask(Layer(kind, 5120, fraction), CUDA_TOKENS, "forward")
            name = f"{kind}/published/w5120/{label}"
            yield Claim(name, "cuda", task, "dense", threshold, threshold)
    loss = LossTask(tokens=CUDA_TOKENS, width=768, vocabulary=32_000)
    yield Claim("cross-entropy/speed", "cuda", loss, "logits", 1.3, 1.3)
    yield Claim("cross-entropy/memory", "cuda", loss, "logits", 10.0, 10.0, "bytes")


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
