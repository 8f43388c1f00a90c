"""What the loader costs: tokens a second from a warm cache, and its part of a training step.

A case is a shape of batches and a number of shards. Each is timed against the plain loop that
public training scripts have, such as nanoGPT's `get_batch`: one slice a row, stacked. Both read the
same text in turn, within one process. Then as many processes as there are cores, two at most, read
at the same time.
"""

from __future__ import annotations

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from kernels.bench.provenance import checkout
from kernels.machine import cpu_name
from kernels.timing import WARMUP_ROUNDS, Contender, Ratio, time_rounds
from workloads.bench.step import training_step
from workloads.data.dataset import TokenFile, TokenSplit
from workloads.data.loader import Batch, BatchLoader
from workloads.data.order import Epochs
from workloads.recipes.recipe import Recipe
from workloads.training.hardware import environment

WANTED_TOKENS_PER_SECOND = 50e6  # on two cores
MOST_OF_A_STEP = 0.01
PROCESSES = min(2, os.cpu_count() or 1)
# Windows of a corpus of 65 billion tokens in blocks of 128, whose order is computed.
LARGE = 500_000_000
LARGE_BATCH = 512


@dataclass(frozen=True)
class Case:
    """A shape of batches, the shards that they are read from, and how many make one sample."""

    name: str
    block_size: int
    batch_size: int
    shards: int
    batches: int

    @property
    def tokens(self) -> int:
        """Tokens of one sample."""
        return self.batches * self.batch_size * self.block_size


CASES = (
    Case("micro", block_size=128, batch_size=16, shards=1, batches=500),
    Case("paper", block_size=1024, batch_size=512, shards=1, batches=10),
    Case("paper, 480 shards", block_size=1024, batch_size=512, shards=480, batches=10),
)


@dataclass(frozen=True)
class Row:
    """One case: seconds of each round by contender (`loader`, `plain`), and the tokens a second of
    all processes together in each round."""

    case: Case
    samples: dict[str, list[float]]
    together: list[float]

    @property
    def tokens_per_second(self) -> float:
        """The median of one process."""
        return self.case.tokens / median(self.samples["loader"])

    @property
    def speedup(self) -> Ratio:
        """Time of the plain loop over that of the loader."""
        return Ratio.of(self.samples["plain"], self.samples["loader"])

    @property
    def passes(self) -> bool:
        return median(self.together) >= WANTED_TOKENS_PER_SECOND


@dataclass(frozen=True)
class Report:
    """All cases; seconds of a batch of `micro` and of its step, and of the windows of one batch of
    a corpus whose order is computed."""

    rows: list[Row]
    step_samples: dict[str, list[float]]
    order_samples: list[float]

    @property
    def share(self) -> Ratio:
        """Time of reading a batch over that of a step."""
        return Ratio.of(self.step_samples["batch"], self.step_samples["step"])

    @property
    def passes(self) -> bool:
        return all(row.passes for row in self.rows) and self.share.median < MOST_OF_A_STEP


def measure(tokens: int, rounds: int, show: Callable[[str], None]) -> Report:
    """Measure all cases on a text of so many tokens, and call `show` with the name of each before
    it."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.bin"
        np.random.default_rng(0).integers(0, 32_000, tokens, np.uint16).tofile(path)
        rows = []
        for case in CASES:
            show(case.name)
            rows.append(_measure(case, path, tokens, rounds))
        show("a step")
        return Report(rows, _step_samples(path, tokens, rounds), _order_samples(rounds))


def table(report: Report) -> str:
    """Format the report; a ratio is its median with the smallest and the largest round."""
    head = f"{'case':<19}{'M tokens/s':>11}{f'{PROCESSES} processes':>14}  {'':<5}plain / loader"
    lines = [
        f"{row.case.name:<19}{row.tokens_per_second / 1e6:>11.0f}"
        f"{median(row.together) / 1e6:>14.0f}  {'pass' if row.passes else 'slow':<5}{row.speedup}"
        for row in report.rows
    ]
    passes = "pass" if report.share.median < MOST_OF_A_STEP else "over"
    order = median(report.order_samples) * 1e6
    return "\n".join(
        [
            head,
            *lines,
            f"a batch of micro over its step: {report.share}  {passes}",
            f"order of {LARGE_BATCH} of {LARGE:,} windows, computed: {order:.0f} microseconds",
        ]
    )


def record(report: Report) -> dict[str, Any]:
    """Return the raw samples and what they were measured on, ready for JSON."""
    return {
        "benchmark": "batches from a warm cache",
        "cpu": cpu_name(),
        "processes": PROCESSES,
        "environment": environment(torch.device("cpu")),
        **checkout(),
        "rows": [asdict(row) | {"passes": row.passes} for row in report.rows],
        "step": report.step_samples | {"share": asdict(report.share)},
        "order_seconds": report.order_samples,
    }


def _measure(case: Case, path: Path, tokens: int, rounds: int) -> Row:
    split = _split(case, path, tokens)
    contenders = {"loader": _reader(case, split), "plain": _plain(case, split)}
    return Row(case, time_rounds(contenders, rounds), _together(case, path, tokens, rounds))


def _split(case: Case, path: Path, tokens: int) -> TokenSplit:
    size = tokens // case.shards
    files = [TokenFile(path, "<u2", size, 2 * size * i) for i in range(case.shards)]
    return TokenSplit("train", path, tuple(file.map() for file in files))


def _reader(case: Case, split: TokenSplit) -> Contender:
    loader = BatchLoader(split, case.block_size, case.batch_size, seed=0)

    def read(number: int) -> None:
        first = (number + WARMUP_ROUNDS) * case.batches
        for step in range(first, first + case.batches):
            loader.batch(step)

    return read


def _plain(case: Case, split: TokenSplit) -> Contender:
    """Return a reader of as many random rows, one slice a row."""
    block = case.block_size
    generator = np.random.default_rng(0)

    def batch() -> Batch:
        shards = generator.integers(len(split.shards), size=case.batch_size)
        rows = []
        for number in shards:
            shard = split.shards[number]
            start = generator.integers(shard.size - block)
            rows.append(torch.from_numpy(shard[start : start + block + 1].astype(np.int64)))
        tokens = torch.stack(rows)
        return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()

    def read(number: int) -> None:
        for _ in range(case.batches):
            batch()

    return read


def _together(case: Case, path: Path, tokens: int, rounds: int) -> list[float]:
    """Return the tokens a second that processes read at the same time, in each round."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with context.Pool(PROCESSES, _share_barrier, (barrier,)) as pool:
        arguments = [(case, path, tokens, rounds)] * PROCESSES
        seconds = pool.starmap(_read_in_step, arguments, chunksize=1)
    slowest = [max(each) for each in zip(*seconds, strict=True)]
    return [PROCESSES * case.tokens / taken for taken in slowest]


def _share_barrier(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _read_in_step(case: Case, path: Path, tokens: int, rounds: int) -> list[float]:
    """Read in a process of its own; return the seconds of each round, which all begin together."""
    torch.set_num_threads(1)
    read, seconds = _reader(case, _split(case, path, tokens)), []
    for number in range(rounds + 1):  # the first is to warm up
        _barrier.wait()
        began = time.perf_counter()
        read(number)
        seconds.append(time.perf_counter() - began)
    return seconds[1:]


_barrier: Any = None


def _step_samples(path: Path, tokens: int, rounds: int) -> dict[str, list[float]]:
    config, device = Recipe(preset="micro").resolve(), torch.device("cpu")
    case = CASES[0]
    loader = BatchLoader(_split(case, path, tokens), case.block_size, case.batch_size, seed=0)
    contenders: dict[str, Contender] = {
        "batch": lambda number: loader.batch(number + WARMUP_ROUNDS),
        "step": training_step(config, device),
    }
    return time_rounds(contenders, rounds)


def _order_samples(rounds: int) -> list[float]:
    epochs, samples = Epochs(LARGE, seed=0), []
    for number in range(rounds):
        began = time.perf_counter()
        epochs.windows(np.arange(number * LARGE_BATCH, (number + 1) * LARGE_BATCH))
        samples.append(time.perf_counter() - began)
    return samples
