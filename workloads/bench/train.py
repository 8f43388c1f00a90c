"""What a structured FFN costs to train on the CPU, beside a dense one of the same shape.

Forward and backward of fc1 -> GELU -> fc2 with biases on random data, in float32. Each row times
up to three layers in turn within one process: the dense one as torch has it, the structured one,
and the same weights in the formulation of the paper's public code. `kernels.timing` says what a
round is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kernels.bench import baselines
from kernels.bench.provenance import checkout
from kernels.machine import cpu_name
from kernels.timing import Contender, Ratio, time_rounds
from workloads.config.model import FFNConfig, ModelConfig
from workloads.nn.ffn import FeedForward
from workloads.recipes.variant import FFNChoice
from workloads.training.hardware import environment

# What a layer may cost beyond its fraction of the FLOPs, as a fraction of the dense layer's time.
ALLOWANCE = 0.15
FRACTIONS = (0.625, 0.3125)

Forward = Callable[[Tensor], Tensor]
Product = Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]
# The products of the paper's public code, by FFN kind.
BASELINES: dict[str, Product] = {
    "blockdense": baselines.block_dense,
    "blockshuffle": baselines.block_shuffle,
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
    """One FFN: seconds of each round by layer (`dense`, `structured`, `baseline`)."""

    name: str
    fraction: float
    samples: dict[str, list[float]]

    @property
    def cost(self) -> Ratio:
        """Time of the structured layer over that of the dense one."""
        return Ratio.of(self.samples["structured"], self.samples["dense"])

    @property
    def limit(self) -> float:
        """The cost up to which the row passes."""
        return self.fraction + ALLOWANCE

    @property
    def passes(self) -> bool:
        return self.cost.median <= self.limit

    @property
    def speedup(self) -> Ratio | None:
        """Time of the baseline over that of the structured layer; None without a baseline."""
        baseline = self.samples.get("baseline")
        return Ratio.of(baseline, self.samples["structured"]) if baseline else None


def measure(size: Size, show: Callable[[str], None]) -> list[Row]:
    """Measure one row for each structured FFN, and call `show` with its name before."""
    torch.set_num_threads(size.threads)
    torch.manual_seed(0)
    x = torch.randn(size.tokens, size.width, requires_grad=True)
    direction = torch.randn(size.tokens, size.width)
    dense = nn.Sequential(
        nn.Linear(size.width, 4 * size.width), nn.GELU(), nn.Linear(4 * size.width, size.width)
    )
    rows = []
    for name, ffn in structured_ffns(size.width).items():
        show(name)
        layer = build(size.width, ffn)
        forwards: dict[str, Forward] = {"dense": dense, "structured": layer}
        if ffn.kind in BASELINES:
            forwards["baseline"] = with_product(layer, BASELINES[ffn.kind])
        contenders = {key: _pass(forward, x, direction) for key, forward in forwards.items()}
        samples = time_rounds(contenders, size.rounds)
        rows.append(Row(name, _weights(layer) / _weights(dense), samples))
    return rows


def structured_ffns(width: int) -> dict[str, FFNConfig]:
    """Return the FFNs of the table by name: each kind at about each of `FRACTIONS`."""
    shape = _shape(width)
    ranks = [
        FFNChoice(kind=kind, nblocks=nblocks, fraction=fraction).resolve(shape)
        for kind, nblocks in (("lowrank", None), ("blockdense", 2))
        for fraction in FRACTIONS
    ]
    blockshuffle = [FFNConfig(kind="blockshuffle", nblocks=blocks) for blocks in (2, 4)]
    return {" ".join([ffn.kind, *ffn.size_labels]): ffn for ffn in ranks + blockshuffle}


def build(width: int, ffn: FFNConfig) -> FeedForward:
    """Build the layer that the trainer would."""
    return FeedForward(_shape(width), ffn)


def with_product(layer: FeedForward, product: Product) -> Forward:
    """Return the layer's function with `product` in place of both of its projections."""
    first, second = (dict(each.named_parameters()) for each in (layer.fc1, layer.fc2))

    def project(x: Tensor, weights: dict[str, nn.Parameter]) -> Tensor:
        return product(x, weights["v"], weights["u"], weights["bias"])

    return lambda x: project(F.gelu(project(x, first)), second)


# The table and the record


def table(rows: list[Row]) -> str:
    """Format the rows; a ratio is its median with the smallest and the largest round."""
    lines = [
        f"{'FFN':<20}{'FLOPs':>7}  {'cost / dense':<22}{'limit':>6}  {'':<5}{'speed / baseline'}",
        *(
            f"{row.name:<20}{row.fraction:>7.4f}  {row.cost!s:<22}{row.limit:>6.3f}  "
            f"{'pass' if row.passes else 'over':<5}{row.speedup or '-'}"
            for row in rows
        ),
    ]
    return "\n".join(lines)


def record(size: Size, rows: list[Row]) -> dict[str, Any]:
    """Return the raw samples and what they were measured on, ready for JSON."""
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


def _pass(forward: Forward, x: Tensor, direction: Tensor) -> Contender:
    return lambda number: forward(x).backward(direction)


def _weights(layer: nn.Module) -> int:
    """Count the entries of the weights, which are also the multiply-adds per token."""
    return sum(p.numel() for name, p in layer.named_parameters() if not name.endswith("bias"))


def _shape(width: int) -> ModelConfig:
    return ModelConfig(
        vocab_size=1, block_size=1, num_layers=1, hidden_dim=width, ffn_dim=4 * width, num_heads=1
    )
