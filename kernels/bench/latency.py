"""How long an FFN's forward pass takes, by width, by weights and by tokens, dense and structured.

The paper's latency figures (arXiv 2406.16450): structured FFNs of 63% and 32% of the weights over
widths, FFNs of one width over their weights, and FFNs of 32% over token counts at four widths. Each
structured FFN is timed in turn with the dense one of its width; on a CPU with one thread.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import median

import torch

from kernels.bench.errors import InputError
from kernels.bench.ffn import FFN, STRUCTURED, Kind, Layer, Pass, inputs, timed
from kernels.machine import device_name
from kernels.timing import CPU_THREADS, time_rounds

SHARES = (0.625, 0.3125)
# Of the figure over weights; blockshuffle has those that a whole number of blocks gives.
WEIGHT_SHARES = (0.625, 0.46875, 0.3125, 0.15625)
TOKENS_SHARE = 0.3125
BLOCKSHUFFLE_BLOCKS = (2, 4, 8)
SWEPT_WIDTHS = 4
MEASURED: Pass = "forward"


@dataclass(frozen=True)
class Sweep:
    """What is measured: `widths` at `tokens` tokens; `weights_width` over its weights at as many;
    `token_counts` at each of `token_widths`."""

    widths: tuple[int, ...]
    tokens: int
    weights_width: int
    token_widths: tuple[int, ...]
    token_counts: tuple[int, ...]

    @classmethod
    def of(cls, device: torch.device) -> Sweep:
        """The paper's on CUDA; on a CPU widths and tokens that take a few minutes."""
        if device.type == "cuda":
            counts = (128, 512, 1536, 2048, 4096, 8192, 16_384)
            wide = (2048, 3072, 5120, 6144)
            return cls((768, 1024, 1536, 2048, 3072, 4096, 5120), 30_720, 5120, wide, counts)
        widths = (128, 256, 512, 768)
        return cls(widths, 4096, widths[-1], widths, (16, 64, 256, 1024))

    def within(self, widths: tuple[int, ...], tokens: int | None) -> Sweep:
        """The same at these widths and up to so many tokens; what is not given stays.

        Raises InputError for a width that the blocks do not divide.
        """
        if odd := [width for width in widths if width % max(BLOCKSHUFFLE_BLOCKS)]:
            raise InputError(
                f"--width {odd[0]} must be a multiple of {max(BLOCKSHUFFLE_BLOCKS)}, the blocks"
            )
        sweep = self
        if widths:
            narrow, wide = widths[-SWEPT_WIDTHS:], widths[-1]
            sweep = replace(sweep, widths=widths, weights_width=wide, token_widths=narrow)
        if tokens:
            counts = tuple(count for count in sweep.token_counts if count < tokens)
            sweep = replace(sweep, tokens=tokens, token_counts=counts)
        return sweep

    def points(self) -> Iterator[tuple[int, int, float]]:
        """Each (width, tokens, share) once, in the order of the figures."""
        found = [(width, self.tokens, share) for width in self.widths for share in SHARES]
        found += [(self.weights_width, self.tokens, share) for share in WEIGHT_SHARES]
        found += [(w, n, TOKENS_SHARE) for w in self.token_widths for n in self.token_counts]
        yield from dict.fromkeys(found)


@dataclass(frozen=True)
class Row:
    """One structured FFN, as `python -m analysis plot latency` reads it: medians of seconds."""

    kind: str
    fraction: float
    width: int
    tokens: int
    params: int
    seconds: float
    dense_seconds: float
    measured: str
    hardware: str
    torch: str


def measure(
    sweep: Sweep, count: int, device: torch.device, show: Callable[[str], None]
) -> Iterator[Row]:
    """The rows of each point, over `count` rounds; `show` is told which point begins."""
    torch.manual_seed(0)
    if device.type == "cpu":
        torch.set_num_threads(CPU_THREADS)
    for width, tokens, share in sweep.points():
        show(f"width {width}, {tokens} tokens, {share:.0%} of the weights")
        data = inputs(width, tokens, device)
        layers = {kind: Layer(kind, width, share) for kind in STRUCTURED if _has(kind, share)}
        sides = {
            kind: timed(FFN(layer, device).fast, data, MEASURED)
            for kind, layer in {"dense": Layer("dense", width), **layers}.items()
        }
        samples = time_rounds(sides, count, device)
        for kind, layer in layers.items():
            yield Row(
                kind=kind,
                fraction=layer.fraction,
                width=width,
                tokens=tokens,
                params=layer.weights,
                seconds=median(samples[kind]),
                dense_seconds=median(samples["dense"]),
                measured=MEASURED,
                hardware=device_name(device),
                torch=torch.__version__,
            )


def _has(kind: Kind, share: float) -> bool:
    """Whether the kind comes in this share of the weights."""
    return kind != "blockshuffle" or 1.25 / share in BLOCKSHUFFLE_BLOCKS


def write(path: Path, rows: list[Row]) -> None:
    """The rows as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = [field.name for field in fields(Row)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        writer.writerows([getattr(row, name) for name in names] for row in rows)
