"""Batches of tokens whose content is a pure function of (seed, step), so that resume is exact.

A split is read as windows: blocks of `block_size + 1` tokens, one every `block_size` tokens. The
first `block_size` tokens of a window are the inputs and the last `block_size` are the targets, so
every token is a target once an epoch, but for the first of each shard and a remainder shorter than
a window at its end. A window never crosses a shard boundary; it may cross documents.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch

from workloads.data.dataset import TokenSplit
from workloads.data.manifest import DataError, too_short

Batch = tuple[torch.Tensor, torch.Tensor]
IGNORED = -100  # the target that PyTorch's cross entropy leaves out


class BatchLoader:
    """Shuffled training batches: each epoch is a fresh permutation of all windows.

    Sample i of a run is row `i % batch_size` of step `i // batch_size` and comes from epoch
    `i // num_windows`. Raises DataError when the split has not even one window.
    """

    def __init__(self, split: TokenSplit, block_size: int, batch_size: int, seed: int) -> None:
        self._windows = _Windows(split, block_size)
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._order = np.empty(0, dtype=np.int64)

    @property
    def num_windows(self) -> int:
        """Samples in an epoch."""
        return self._windows.count

    def batch(self, step: int, rows: slice | range | None = None) -> Batch:
        """Return the inputs and targets of `step`, each int64 of shape (rows, block_size).

        `rows` selects rows of the global batch, for a data-parallel rank or a micro-batch. Raises
        IndexError when a range goes outside the batch.
        """
        samples = [step * self._batch_size + row for row in self._selected(rows)]
        return self._windows.read([self._window_of(sample) for sample in samples])

    def _selected(self, rows: slice | range | None) -> Sequence[int]:
        batch = range(self._batch_size)
        if rows is None:
            return batch
        return batch[rows] if isinstance(rows, slice) else [batch[row] for row in rows]

    def _window_of(self, sample: int) -> int:
        epoch, position = divmod(sample, self.num_windows)
        if epoch != self._epoch:
            # RandomState and not Generator: NumPy promises that its numbers never change.
            bits = np.random.MT19937(np.random.SeedSequence([self._seed, epoch]))
            self._order = np.random.RandomState(bits).permutation(self.num_windows)
            self._epoch = epoch
        return int(self._order[position])


def eval_batches(
    split: TokenSplit,
    block_size: int,
    batch_size: int,
    eval_tokens: int,
    rank: int = 0,
    world_size: int = 1,
) -> Iterator[Batch]:
    """Return one worker's batches of the evaluation slice.

    The slice is the first `eval_tokens // block_size` windows, or all where there are fewer. Every
    worker gets the same number of batches of the same shape, because sharded models compute in
    step. Rows beyond the slice have targets of -100, which a loss leaves out. Raises DataError, at
    once, when the slice has not even one window.
    """
    windows = _Windows(split, block_size)
    count = min(eval_tokens // block_size, windows.count)
    if not count:
        raise DataError(
            f"eval_tokens {eval_tokens} is less than one window of block_size {block_size}; "
            "raise eval_tokens"
        )
    batch_size = min(batch_size, -(-count // world_size))
    starts = range(rank * batch_size, count + rank * batch_size, world_size * batch_size)
    return (_padded(windows, start, batch_size, count) for start in starts)


def _padded(windows: "_Windows", start: int, batch_size: int, count: int) -> Batch:
    wanted = range(start, start + batch_size)
    inputs, targets = windows.read([min(index, count - 1) for index in wanted])
    targets[[index >= count for index in wanted]] = IGNORED
    return inputs, targets


class _Windows:
    """The windows of a split, numbered in stream order."""

    def __init__(self, split: TokenSplit, block_size: int) -> None:
        self._shards = split.shards
        self._block_size = block_size
        counts = [(shard.size - 1) // block_size for shard in split.shards]
        self._ends = np.cumsum(counts)  # (shards,): the windows up to and with each shard
        self._starts = self._ends - counts
        self.count = int(self._ends[-1])
        if not self.count:
            problem = too_short(split.name, split.num_tokens, block_size)
            raise DataError(f"{split.directory}: {problem}")

    def read(self, indices: Sequence[int]) -> Batch:
        """Return the inputs and targets of these windows, each (len(indices), block_size)."""
        tokens = np.empty((len(indices), self._block_size + 1), dtype=np.int64)
        for row, index in enumerate(indices):
            shard = int(np.searchsorted(self._ends, index, side="right"))
            start = (index - int(self._starts[shard])) * self._block_size
            tokens[row] = self._shards[shard][start : start + self._block_size + 1]
        both = torch.from_numpy(tokens)
        return both[:, :-1].contiguous(), both[:, 1:].contiguous()
