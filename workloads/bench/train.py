"""What a structured FFN costs to train on the CPU, beside a dense one of the same shape.

Forward and backward of fc1 -> GELU -> fc2 with biases on random data, in float32. Each row
measures up to three layers in turn within one process: the dense one as torch has it, the
structured one, and the same weights through the plain formulation of the paper's public code.
Rounds are those of `kernels.timing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.bench import baselines as plain
from kernels.bench.provenance import checkout
from kernels.machine import cpu_name
from kernels.timing import Contender as Side
from kernels.timing import Ratio
from kernels.timing import time_rounds as rounds
from workloads.config.model import FFNConfig, ModelConfig
from workloads.nn.ffn import FeedForward
from workloads.recipes.variant import FFNChoice
from workloads.training.hardware import environment

# What a layer may cost beyond its share of the FLOPs, as a share of the dense layer's time.
ALLOWANCE = 0.15
FRACTIONS = (0.625, 0.3125)

Forward = Callable[[Tensor], Tensor]
Product = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
PLAIN: dict[str, Product] = {
    "blockdense": plain.block_dense,
    "blockshuffle": plain.block_shuffle,
}


@dataclass(frozen=True)
class Size:
    """The layer and the batch; the layer's inner width is four times `width`."""

    width: int
    tokens: int
    rounds: int
    threads: int


@dataclass(frozen=True)
class Row:
    """One parametrization: seconds of each round by layer (`dense`, `ours`, `plain`)."""

    name: str
    fraction: float
    samples: dict[str, list[float]]

    @property
    def cost(self) -> Ratio:
        return Ratio.of(self.samples["ours"], self.samples["dense"])

    @property
    def limit(self) -> float:
        return self.fraction + ALLOWANCE

    @property
    def passes(self) -> bool:
        return self.cost.median <= self.limit

    @property
    def speedup(self) -> Ratio | None:
        plainly = self.samples.get("plain")
        return Ratio.of(plainly, self.samples["ours"]) if plainly else None


def measure(size: Size, show: Callable[[str], None]) -> list[Row]:
    """One row for each parametrization; `show` is told which one begins."""
    torch.set_num_threads(size.threads)
    torch.manual_seed(0)
    x = torch.randn(size.tokens, size.width, requires_grad=True)
    direction = torch.randn(size.tokens, size.width)
    dense = nn.Sequential(
        nn.Linear(size.width, 4 * size.width), nn.GELU(), nn.Linear(4 * size.width, size.width)
    )
    rows = []
    for name, config in parametrizations(size.width).items():
        show(name)
        layer = build(size.width, config)
        forwards: dict[str, Forward] = {"dense": dense, "ours": layer}
        if config.kind in PLAIN:
            forwards["plain"] = through(layer, PLAIN[config.kind])
        sides = {side: _pass(forward, x, direction) for side, forward in forwards.items()}
        samples = rounds(sides, size.rounds)
        rows.append(Row(name, _weights(layer) / _weights(dense), samples))
    return rows


def parametrizations(width: int) -> dict[str, FFNConfig]:
    """The rows of the table: each kind at about each of `FRACTIONS`, as a plan sizes it."""
    shape = _shape(width)
    ranks = [
        FFNChoice(kind=kind, nblocks=nblocks, fraction=fraction).resolve(shape)
        for kind, nblocks in (("lowrank", None), ("blockdense", 2))
        for fraction in FRACTIONS
    ]
    blockshuffle = [FFNConfig(kind="blockshuffle", nblocks=blocks) for blocks in (2, 4)]
    return {_name(config): config for config in ranks + blockshuffle}


def build(width: int, config: FFNConfig) -> FeedForward:
    """The trainer's own layer."""
    return FeedForward(_shape(width), config)


def through(layer: FeedForward, product: Product) -> Forward:
    """The layer's weights, with `product` in the place of both projections."""
    first, second = (dict(side.named_parameters()) for side in (layer.fc1, layer.fc2))

    def project(x: Tensor, weights: dict[str, nn.Parameter]) -> Tensor:
        return product(x, weights["v"], weights["u"], weights["bias"])

    return lambda x: project(F.gelu(project(x, first)), second)


# The table and the record


def table(rows: list[Row]) -> str:
    """The rows as text; the ratios are medians with the least and the greatest round."""
    lines = [
        f"{'FFN':<20}{'FLOPs':>7}  {'cost / dense':<22}{'limit':>6}  {'':<5}{'speed / plain'}",
        *(
            f"{row.name:<20}{row.fraction:>7.4f}  {row.cost!s:<22}{row.limit:>6.3f}  "
            f"{'pass' if row.passes else 'over':<5}{row.speedup or '-'}"
            for row in rows
        ),
    ]
    return "\n".join(lines)


def record(size: Size, rows: list[Row]) -> dict[str, Any]:
    """Everything behind the table: where it was measured, with what, and the raw samples."""
    return {
        "benchmark": "ffn forward and backward, float32",
        "size": asdict(size),
        "cpu": cpu_name(),
        "environment": environment(torch.device("cpu")),
        **checkout(),
        "rows": [
            asdict(row)
            | {"limit": row.limit, "passes": row.passes, "cost": asdict(row.cost)}
            | {"speedup": asdict(row.speedup) if row.speedup else None}
            for row in rows
        ],
    }


def _pass(forward: Forward, x: Tensor, direction: Tensor) -> Side:
    return lambda number: forward(x).backward(direction)


def _weights(layer: nn.Module) -> int:
    """Entries of the weights, which are also the multiply-adds per token."""
    return sum(p.numel() for name, p in layer.named_parameters() if not name.endswith("bias"))


def _shape(width: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=1, block_size=1, num_layers=1, hidden_dim=width, ffn_dim=4 * width, num_heads=1
    )


def _name(config: FFNConfig) -> str:
    return " ".join([config.kind, *config.size_labels])
