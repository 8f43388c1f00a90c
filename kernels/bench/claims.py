"""What the kernels claim: each row a pair to measure, and the least ratio that bears it out.

A ratio is the baseline's time or peak memory over the subject's. On a CPU the gate depends on
whether `kernels.gemm` has switched oneDNN on; baselines of plain formulations use torch's default
there, those of dense layers the same library as the subject.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from kernels.bench.errors import InputError
from kernels.bench.ffn import STRUCTURED, Kind, Layer, Pass

Baseline = Literal["plain", "dense", "default", "logits", "reference"]
BASELINES: dict[Baseline, str] = {
    "plain": "its plain formulation",
    "dense": "the dense FFN",
    "default": "torch's default products",
    "logits": "full logits",
    "reference": "operations as defined, but for attention",
}
SHARES = {"63": 0.625, "32": 0.3125}  # As the paper rounds them.
CPU_TOKENS, CUDA_TOKENS = 4096, 30_720


@dataclass(frozen=True)
class FFNTask:
    """An FFN of `layer` on so many tokens, self-guided or not."""

    layer: Layer
    tokens: int
    passed: Pass = "forward and backward"
    guided: bool = False

    def __str__(self) -> str:
        guided = "self-guided " if self.guided else ""
        share = "" if self.layer.kind == "dense" else f" {self.layer.fraction:.1%}"
        return (
            f"{guided}{self.layer.kind}{share} FFN, width {self.layer.width}, "
            f"{self.tokens:,} tokens, {self.passed}"
        )


@dataclass(frozen=True)
class LossTask:
    """Head and cross entropy, forward and backward, from features of `width`."""

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

    `share` is about that of the FFN's weights. Only `workloads` can train: `python -m workloads
    bench step` measures it.
    """

    preset: str
    kind: Kind
    share: float = 1.0
    guided: bool = False

    def __str__(self) -> str:
        guided = "self-guided " if self.guided else ""
        return f"training step of {self.preset}, {guided}{self.kind} {self.share:.1%} FFN"


Task = FFNTask | LossTask | StepTask


@dataclass(frozen=True)
class Claim:
    """`task` is at least `gate` times as fast, or as small in memory, as against `baseline`;
    `gate_default` is the gate where a CPU's products are torch's default, None where it is
    not claimed there."""

    name: str
    device: Literal["cpu", "cuda"]
    task: Task
    baseline: Baseline
    gate: float
    gate_default: float | None
    quantity: Literal["seconds", "bytes"] = "seconds"

    def gate_with(self, onednn: bool) -> float | None:
        """What is claimed on a CPU with or without oneDNN; on CUDA there is one gate."""
        return self.gate if onednn or self.device == "cuda" else self.gate_default


def _cpu() -> Iterator[Claim]:
    plain_gates: dict[Kind, tuple[float, float]] = {
        "lowrank": (1.5, 1.0),
        "blockdense": (1.5, 1.0),
        "blockshuffle": (1.7, 1.05),
    }
    for width in (256, 512):
        dense = FFNTask(Layer("dense", width), CPU_TOKENS)
        yield Claim(f"dense/default/w{width}", "cpu", dense, "default", 1.5, None)
    for kind in STRUCTURED:
        for width in (256, 512):
            for label, share in SHARES.items():
                name = f"w{width}/{label}"
                task = FFNTask(Layer(kind, width, share), CPU_TOKENS)
                yield Claim(f"{kind}/plain/{name}", "cpu", task, "plain", *plain_gates[kind])
                guided = FFNTask(task.layer, CPU_TOKENS, guided=True)
                yield Claim(f"self-guided/{kind}/{name}", "cpu", guided, "plain", 2.5, 1.4)
        for (label, share), gate in zip(SHARES.items(), (1.3, 1.8), strict=True):
            name = f"{kind}/dense/w512/{label}"
            task = FFNTask(Layer(kind, 512, share), CPU_TOKENS)
            yield Claim(name, "cpu", task, "dense", gate, gate)
    loss = LossTask(tokens=2048, width=256, vocabulary=32_000)
    yield Claim("cross-entropy/speed", "cpu", loss, "logits", 1.1, 1.1)
    yield Claim("cross-entropy/memory", "cpu", loss, "logits", 4.0, 4.0, "bytes")
    step = StepTask("mini", "dense")
    yield Claim("step/mini/dense", "cpu", step, "reference", 1.5, 1.5)
    step = StepTask("mini", "lowrank", SHARES["63"], guided=True)
    yield Claim("step/mini/self-guided", "cpu", step, "reference", 1.5, 1.5)


def _cuda() -> Iterator[Claim]:
    dense_gates: dict[Kind, tuple[float, float]] = {
        "lowrank": (1.45, 2.7),
        "blockdense": (1.45, 2.7),
        "blockshuffle": (1.35, 2.4),
    }
    # The paper's on an A100, forward.
    published: dict[Kind, tuple[float, float]] = {
        "lowrank": (1.4, 2.6),
        "blockdense": (1.4, 2.6),
        "blockshuffle": (1.1, 2.0),
    }

    def rows(
        name: str, kind: Kind, width: int, gates: tuple[float, float], passed: Pass, guided: bool
    ) -> Iterator[Claim]:
        for (label, share), gate in zip(SHARES.items(), gates, strict=True):
            task = FFNTask(Layer(kind, width, share), CUDA_TOKENS, passed, guided)
            yield Claim(
                f"{name}/w{width}/{label}", "cuda", task, "plain" if guided else "dense", gate, gate
            )

    for kind in STRUCTURED:
        for width in (768, 1536, 2048, 4096):
            gates = (1.4, 1.25)
            yield from rows(f"self-guided/{kind}", kind, width, gates, "forward and backward", True)
        for width in (2048, 4096, 5120):
            gates = dense_gates[kind]
            yield from rows(f"{kind}/dense", kind, width, gates, "forward and backward", False)
        yield from rows(f"{kind}/published", kind, 5120, published[kind], "forward", False)
    loss = LossTask(tokens=CUDA_TOKENS, width=768, vocabulary=32_000)
    yield Claim("cross-entropy/speed", "cuda", loss, "logits", 1.3, 1.3)
    yield Claim("cross-entropy/memory", "cuda", loss, "logits", 10.0, 10.0, "bytes")


CLAIMS: tuple[Claim, ...] = (*_cpu(), *_cuda())


def of_kernels(device: str) -> list[Claim]:
    """The device's claims that `kernels` alone can measure."""
    return [c for c in CLAIMS if c.device == device and not isinstance(c.task, StepTask)]


def of_steps() -> list[Claim]:
    """The claims about whole training steps, which `workloads` measures."""
    return [claim for claim in CLAIMS if isinstance(claim.task, StepTask)]


def named(names: list[str], claims: list[Claim]) -> list[Claim]:
    """Those of these names, or of those they begin with; all where no name is given.

    Raises InputError, naming the nearest, for one that no claim begins with.
    """
    for name in names:
        if not any(_within(claim, name) for claim in claims):
            raise InputError(_unknown(name, claims))
    return [claim for claim in claims if not names or any(_within(claim, n) for n in names)]


def _within(claim: Claim, name: str) -> bool:
    return f"{claim.name}/".startswith(f"{name.rstrip('/')}/")


def _unknown(name: str, claims: list[Claim]) -> str:
    parts = [claim.name.split("/") for claim in claims]
    places = {"/".join(part[: n + 1]) for part in parts for n in range(len(part))}
    near = difflib.get_close_matches(name, sorted(places), n=1, cutoff=0.0)[0]
    groups = ", ".join(sorted({part[0] for part in parts}))
    return f"{name}: no such claim here; the nearest is {near} (of {groups})"
