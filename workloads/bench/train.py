"""What a structured FFN costs to train on the CPU, beside a dense one of the same shape.

Forward and backward of fc1 -> GELU -> fc2 with biases on random data, in float32. Each row
measures up to three layers in turn within one process: the dense one, the structured one, and the
same weights through the plain formulation of the paper's public code (arXiv 2406.16450): reshape,
transpose, batched product, copy. A round times them there and back (D S P P S D), so that a slow
drift of the machine hits all of them alike, and gives one ratio of each pair.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from workloads.bench.provenance import provenance
from workloads.config import FFNConfig, ModelConfig
from workloads.ffn import FeedForward
from workloads.hardware import cpu_name
from workloads.presets import FFNChoice

# What a layer may cost beyond its share of the FLOPs, as a share of the dense layer's time.
ALLOWANCE = 0.15
FRACTIONS = (0.625, 0.3125)
WARMUP_ROUNDS = 2

Forward = Callable[[Tensor], Tensor]
Product = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]


@dataclass(frozen=True)
class Size:
    """The layer and the batch; the layer's inner width is four times `width`."""

    width: int
    tokens: int
    rounds: int
    threads: int


@dataclass(frozen=True)
class Ratio:
    """The median over rounds, and the least and the greatest of them."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, above: list[float], below: list[float]) -> Ratio:
        rounds = [a / b for a, b in zip(above, below, strict=True)]
        return cls(median(rounds), min(rounds), max(rounds))

    def __str__(self) -> str:
        return f"{self.median:.3f} ({self.low:.3f}-{self.high:.3f})"


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
        plain = self.samples.get("plain")
        return Ratio.of(plain, self.samples["ours"]) if plain else None


def measure(size: Size, show: Callable[[str], None]) -> list[Row]:
    """One row for each parametrization; `show` is told which one begins."""
    torch.set_num_threads(size.threads)
    torch.manual_seed(0)
    x = torch.randn(size.tokens, size.width, requires_grad=True)
    direction = torch.randn(size.tokens, size.width)
    dense = build(size.width, FFNConfig())
    rows = []
    for name, config in parametrizations(size.width).items():
        show(name)
        layer = build(size.width, config)
        forwards: dict[str, Forward] = {"dense": dense, "ours": layer}
        if config.kind in PLAIN:
            forwards["plain"] = through(layer, PLAIN[config.kind])
        samples = _rounds(forwards, x, direction, size.rounds)
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

    def project(x: Tensor, weights: dict[str, Parameter]) -> Tensor:
        return product(x, weights["v"], weights["u"], weights["bias"])

    return lambda x: project(F.gelu(project(x, first)), second)


# The plain formulations


def plain_block_dense(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """Blocks to the front, a batched product, a copy back, and a linear layer."""
    blocks, inner_block, n_block = v.shape
    sliced = x.reshape(-1, blocks, n_block).transpose(0, 1)
    inner = torch.bmm(sliced, v.mT).transpose(0, 1).reshape(-1, blocks * inner_block)
    return F.linear(inner, u, bias).reshape(*x.shape[:-1], len(u))


def plain_block_shuffle(x: Tensor, v: Tensor, u: Tensor, bias: Tensor | None) -> Tensor:
    """As `plain_block_dense`, twice, with the two shuffles as copies."""
    blocks, k_block, n_block = v.shape
    sliced = x.reshape(-1, blocks, n_block).transpose(0, 1)
    inner = torch.bmm(sliced, v.mT).transpose(0, 1).reshape(-1, k_block, blocks)
    dealt = inner.transpose(1, 2).contiguous().transpose(0, 1)
    y = torch.bmm(dealt, u.mT).permute(1, 2, 0).reshape(*x.shape[:-1], -1)
    return y if bias is None else y + bias


PLAIN: dict[str, Product] = {"blockdense": plain_block_dense, "blockshuffle": plain_block_shuffle}


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
        **provenance(torch.device("cpu")),
        "rows": [
            asdict(row)
            | {"limit": row.limit, "passes": row.passes, "cost": asdict(row.cost)}
            | {"speedup": asdict(row.speedup) if row.speedup else None}
            for row in rows
        ],
    }


def _rounds(
    forwards: dict[str, Forward], x: Tensor, direction: Tensor, rounds: int
) -> dict[str, list[float]]:
    """Seconds of each layer in each round, there and back."""
    samples: dict[str, list[float]] = {name: [] for name in forwards}
    for number in range(WARMUP_ROUNDS + rounds):
        seconds = dict.fromkeys(forwards, 0.0)
        for name in [*forwards, *reversed(forwards)]:
            seconds[name] += _seconds(forwards[name], x, direction)
        if number >= WARMUP_ROUNDS:
            for name in forwards:
                samples[name].append(seconds[name] / 2)
    return samples


def _seconds(forward: Forward, x: Tensor, direction: Tensor) -> float:
    start = time.perf_counter()
    forward(x).backward(direction)
    return time.perf_counter() - start


def _weights(layer: FeedForward) -> int:
    """Entries of the weights, which are also the multiply-adds per token."""
    return sum(p.numel() for name, p in layer.named_parameters() if not name.endswith("bias"))


def _shape(width: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=1, block_size=1, num_layers=1, hidden_dim=width, ffn_dim=4 * width, num_heads=1
    )


def _name(config: FFNConfig) -> str:
    sizes = {" r": config.rank, " B": config.nblocks}
    return config.kind + "".join(f"{key}{value}" for key, value in sizes.items() if value)
