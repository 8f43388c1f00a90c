"""Seconds of an FFN's forward pass by width, by weights and by tokens, dense and structured.

These are the paper's latency figures (Wei et al. 2024, arXiv 2406.16450): structured FFNs of 63%
and 32% of the dense weights over widths, FFNs of one width over their weights, and FFNs of 32% over
numbers of tokens at four widths. Each structured FFN is timed in turn with the dense FFN of its
width, on a CPU with one thread.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from statistics import median

import torch

from kernels.bench.errors import InputError
from kernels.bench.ffn import FFN, STRUCTURED, Kind, Layer, Passes, inputs, passing
from kernels.files import write_atomically
from kernels.machine import device_name
from kernels.timing import CPU_THREADS, time_rounds

FRACTIONS = (0.625, 0.3125)
# Of the figure over weights; blockshuffle has those that a whole number of blocks gives.
WEIGHT_FRACTIONS = (0.625, 0.46875, 0.3125, 0.15625)
TOKENS_FRACTION = 0.3125
BLOCKSHUFFLE_BLOCKS = (2, 4, 8)
MAX_TOKEN_WIDTHS = 4
MEASURED: Passes = "forward"


@dataclass(frozen=True)
class Sweep:
    """The measurements of the three figures.

    Attributes:
        widths: widths of the figure over widths.
        tokens: tokens of the figures over widths and over weights.
        weights_width: width of the figure over weights.
        token_widths: widths of the figure over tokens.
        token_counts: numbers of tokens of the figure over tokens.
    """

    widths: tuple[int, ...]
    tokens: int
    weights_width: int
    token_widths: tuple[int, ...]
    token_counts: tuple[int, ...]

    @classmethod
    def of(cls, device: torch.device) -> Sweep:
        """Return the paper's sweep on CUDA, and one of a few minutes on a CPU."""
        if device.type == "cuda":
            return cls(
                widths=(768, 1024, 1536, 2048, 3072, 4096, 5120),
                tokens=30_720,
                weights_width=5120,
                token_widths=(2048, 3072, 5120, 6144),
                token_counts=(128, 512, 1536, 2048, 4096, 8192, 16_384),
            )
        widths = (128, 256, 512, 768)
        return cls(widths, 4096, widths[-1], widths, (16, 64, 256, 1024))

    def within(self, widths: tuple[int, ...], tokens: int | None) -> Sweep:
        """Return this sweep at the given widths and up to the given number of tokens.

        Without `widths` or `tokens` that part of the sweep is kept.

        Raises:
            InputError: a width is no multiple of the numbers of blocks.
        """
        if odd := [width for width in widths if width % max(BLOCKSHUFFLE_BLOCKS)]:
            raise InputError(
                f"--width {odd[0]} must be a multiple of {max(BLOCKSHUFFLE_BLOCKS)}, the blocks"
            )
        sweep = self
        if widths:
            widest = widths[-MAX_TOKEN_WIDTHS:]
            sweep = replace(sweep, widths=widths, weights_width=widths[-1], token_widths=widest)
        if tokens:
            counts = tuple(count for count in sweep.token_counts if count < tokens)
            sweep = replace(sweep, tokens=tokens, token_counts=counts)
        return sweep

    def settings(self) -> Iterator[tuple[int, int, float]]:
        """Yield each (width, tokens, fraction of the dense weights) once, figure by figure."""
        found = [(width, self.tokens, fraction) for width in self.widths for fraction in FRACTIONS]
        found += [(self.weights_width, self.tokens, fraction) for fraction in WEIGHT_FRACTIONS]
        found += [(w, n, TOKENS_FRACTION) for w in self.token_widths for n in self.token_counts]
        yield from dict.fromkeys(found)


@dataclass(frozen=True)
class Row:
    """One structured FFN's medians of seconds, as `python -m analysis plot latency` reads them."""

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
    sweep: Sweep, num_rounds: int, device: torch.device, show: Callable[[str], None]
) -> Iterator[Row]:
    """Measure each setting of the sweep over `num_rounds` rounds, and yield its rows.

    `show` receives a line for people before each setting.
    """
    torch.manual_seed(0)
    if device.type == "cpu":
        torch.set_num_threads(CPU_THREADS)
    for width, tokens, fraction in sweep.settings():
        show(f"width {width}, {tokens} tokens, {fraction:.0%} of the weights")
        data = inputs((tokens, width), device)
        layers = {kind: Layer(kind, width, fraction) for kind in STRUCTURED if _has(kind, fraction)}
        contenders = {
            kind: passing(FFN(layer, device).fast, data, MEASURED)
            for kind, layer in {"dense": Layer("dense", width), **layers}.items()
        }
        samples = time_rounds(contenders, num_rounds, device)
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


def _has(kind: Kind, fraction: float) -> bool:
    """Return whether the kind can have this fraction of the dense weights."""
    return kind != "blockshuffle" or 1.25 / fraction in BLOCKSHUFFLE_BLOCKS


def write(path: Path, rows: list[Row]) -> None:
    """Write the rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [field.name for field in fields(Row)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    write_atomically(path, text.getvalue())
