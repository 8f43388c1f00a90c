"""Batches of tokens whose content is a pure function of (seed, step), so that resume is exact.

A split is read as windows: blocks of `block_size + 1` tokens, one every `block_size` tokens. The
first `block_size` tokens of a window are the inputs and the last `block_size` are the targets, so
every token is a target once an epoch, but for the first of each shard and a remainder shorter than
a window at its end. A window never crosses a shard boundary, nor a row's where shards consist of
rows; it may cross documents.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from workloads.data.dataset import MixedSplit, TokenSplit, rows_too_short
from workloads.data.manifest import DataError, too_short
from workloads.data.order import Order

Batch = tuple[torch.Tensor, torch.Tensor]
Rows = slice | range | None
Read = tuple[int, Rows]  # the step and the rows of a batch
IGNORED = -100  # the target that PyTorch's cross entropy leaves out


class BatchLoader:
    """Shuffled training batches: each epoch is a fresh permutation of all windows.

    Sample i of a run is row `i % batch_size` of step `i // batch_size`; `workloads.data.order` says
    which window it is. Raises DataError when a split has not even one window.
    """

    def __init__(
        self, split: TokenSplit | MixedSplit, block_size: int, batch_size: int, seed: int
    ) -> None:
        if isinstance(split, TokenSplit):
            split = MixedSplit({"": split}, {"": 1.0})
        self._windows = [_Windows(each, block_size) for each in split.sources.values()]
        counts = {n: w.count for n, w in zip(split.sources, self._windows, strict=True)}
        self._order = Order(counts, split.weights, seed)
        self._batch_size = batch_size
        self.num_windows = sum(counts.values())
        """Windows of all sources."""

    def windows_of(self, step: int) -> list[tuple[str, int]]:
        """Return which window of which source each row of a step reads; a split that is no mixture
        is one source, with an empty name.

        Windows are numbered in the order of the split's tokens.
        """
        sources, windows = self._order.windows(self._samples(step, None))
        names = self._order.names
        return [(names[s], w) for s, w in zip(sources.tolist(), windows.tolist(), strict=True)]

    def batch(self, step: int, rows: Rows = None) -> Batch:
        """Return the inputs and targets of `step`, each int64 of shape (rows, block_size).

        `rows` selects rows of the global batch, for a data-parallel rank or a micro-batch. Raises
        IndexError when a range goes outside the batch.
        """
        sources, windows = self._order.windows(self._samples(step, rows))
        if len(self._windows) == 1:
            return _inputs_and_targets(self._windows[0].read(windows))
        parts = [(sources == index, each) for index, each in enumerate(self._windows)]
        read = [each.read(windows[chosen]) for chosen, each in parts]
        tokens = np.empty((windows.size, read[0].shape[1]), np.result_type(*read))
        for (chosen, _), part in zip(parts, read, strict=True):
            tokens[chosen] = part
        return _inputs_and_targets(tokens)

    def _samples(self, step: int, rows: Rows) -> np.ndarray:
        batch = range(self._batch_size)
        if rows is None or isinstance(rows, slice):
            selected = batch[rows or slice(None)]
        else:
            selected = [batch[row] for row in rows]
        return step * self._batch_size + np.asarray(selected, np.int64)


class ReadAhead:
    """Reads the batch that is wanted next in a thread, while the one before it is computed with.

    The batches are those of `batch` itself; with `pinned` they lie in memory from which a CUDA
    device copies without waiting.
    """

    def __init__(self, batch: Callable[[int, Rows], Batch], pinned: bool) -> None:
        self._batch, self._pinned = batch, pinned
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._ahead: tuple[Read, Future[Batch]] | None = None

    def batch(self, wanted: Read, following: Read | None) -> Batch:
        """Return a batch, and begin to read the one that is wanted next, if there is one."""
        ahead, self._ahead = self._ahead, None
        future = ahead[1] if ahead and ahead[0] == wanted else self._start(wanted)
        found = future.result()
        if following:
            self._ahead = following, self._start(following)
        return found

    def _start(self, read: Read) -> Future[Batch]:
        return self._thread.submit(self._fetch, *read)

    def _fetch(self, step: int, rows: Rows) -> Batch:
        inputs, targets = self._batch(step, rows)
        return (inputs.pin_memory(), targets.pin_memory()) if self._pinned else (inputs, targets)


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
    windows, count = _eval_windows(split, block_size, eval_tokens)
    batch_size = min(batch_size, -(-count // world_size))
    starts = range(rank * batch_size, count + rank * batch_size, world_size * batch_size)
    return (_padded(windows, start, batch_size, count) for start in starts)


def eval_targets(split: TokenSplit, block_size: int, eval_tokens: int, at_most: int) -> np.ndarray:
    """Return the targets of the evaluation slice in the order of the text, of shape (tokens,).

    Of a slice of more than `at_most` tokens, they are those of so many windows, spread evenly over
    it. Raises DataError as `eval_batches` does.
    """
    windows, count = _eval_windows(split, block_size, eval_tokens)
    wanted = min(count, max(1, at_most // block_size))
    return windows.read(np.arange(wanted) * count // wanted)[:, 1:].reshape(-1)


def _eval_windows(split: TokenSplit, block_size: int, eval_tokens: int) -> tuple["_Windows", int]:
    """Return a split's windows, and how many of them the evaluation slice begins with."""
    windows = _Windows(split, block_size)
    count = min(eval_tokens // block_size, windows.count)
    if not count:
        raise DataError(
            f"eval_tokens {eval_tokens} is less than one window of block_size {block_size}; "
            "raise eval_tokens"
        )
    return windows, count


def _padded(windows: "_Windows", start: int, batch_size: int, count: int) -> Batch:
    wanted = np.arange(start, start + batch_size)
    inputs, targets = _inputs_and_targets(windows.read(np.minimum(wanted, count - 1)))
    targets[torch.from_numpy(wanted >= count)] = IGNORED
    return inputs, targets


def _inputs_and_targets(tokens: np.ndarray) -> Batch:
    """Return the inputs and targets of windows, (n, block_size + 1) tokens, as int64."""
    return (
        torch.from_numpy(tokens[:, :-1].astype(np.int64)),
        torch.from_numpy(tokens[:, 1:].astype(np.int64)),
    )


class _Windows:
    """The windows of a split, numbered in stream order."""

    def __init__(self, split: TokenSplit, block_size: int) -> None:
        self._shards = [_as_windows(shard, split.row_tokens, block_size) for shard in split.shards]
        counts = [rows * in_row for rows, in_row, _ in (each.shape for each in self._shards)]
        self._ends = np.cumsum(counts)  # (shards,): the windows up to and with each shard
        self._starts = self._ends - counts
        self.count = sum(counts)
        if not self.count:
            problem = (
                rows_too_short(split.row_tokens, block_size)
                if split.row_tokens
                else too_short(split.name, split.num_tokens, block_size)
            )
            raise DataError(f"{split.directory}: {problem}")

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Return the tokens of these windows, (len(indices), block_size + 1)."""
        if len(self._shards) == 1:
            return self._read_shard(0, indices)
        shards = np.searchsorted(self._ends, indices, side="right")
        places = (indices - self._starts[shards]).tolist()
        tokens = np.empty((indices.size, self._shards[0].shape[2]), self._shards[0].dtype)
        for row, (shard, place) in enumerate(zip(shards.tolist(), places, strict=True)):
            tokens[row] = self._read_shard(shard, place)
        return tokens

    def _read_shard(self, shard: int, indices: np.ndarray | int) -> np.ndarray:
        """Return the tokens of windows of one shard, or of one window."""
        windows = self._shards[shard]
        return windows[divmod(indices, windows.shape[1])]


def _as_windows(shard: np.ndarray, row_tokens: int | None, block_size: int) -> np.ndarray:
    """Return a view of a shard's tokens, (rows, windows of a row, block_size + 1).

    A shard that is one stream is one row.
    """
    length = row_tokens or shard.size
    rows, in_row = shard.size // length if length else 0, max(0, (length - 1) // block_size)
    if not rows * in_row:
        return np.empty((0, 1, block_size + 1), shard.dtype)
    size = shard.itemsize
    return np.lib.stride_tricks.as_strided(
        np.asarray(shard),
        (rows, in_row, block_size + 1),
        (length * size, block_size * size, size),
        writeable=False,
    )
