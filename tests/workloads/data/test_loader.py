"""Batches: a pure function of the step, and the fixed slice of the evaluation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.workloads.splits import stream, tiny_split
from workloads.data.dataset import MixedSplit, TokenDataset, TokenSplit
from workloads.data.loader import IGNORED, Batch, BatchLoader, ReadAhead, eval_batches, eval_targets
from workloads.data.manifest import DataError

BLOCK = 64
# Window orders of two epochs with seed 7: numbers that must never change, or runs do not resume.
ORDERS = [[4, 5, 9, 8, 1, 7, 6, 0, 2, 3], [8, 6, 9, 5, 0, 7, 3, 4, 1, 2]]


def test_batches_are_a_pure_function_of_the_step(stdlib: TokenDataset) -> None:
    split = stdlib.split("train")
    steps = 3 * (BatchLoader(split, 4096, 512, seed=0).num_windows // 512)  # Over three epochs.
    used = BatchLoader(split, 4096, 512, seed=0)
    for step in (0, steps, 1):
        used.batch(step, slice(0, 2))
    for step in (2, steps - 1):
        fresh = BatchLoader(split, 4096, 512, seed=0)
        assert torch.equal(used.batch(step, slice(0, 8))[0], fresh.batch(step, slice(0, 8))[0])
    other = BatchLoader(split, 4096, 512, seed=1)
    assert not torch.equal(used.batch(2, slice(0, 8))[0], other.batch(2, slice(0, 8))[0])


def test_the_order_is_the_same_on_every_machine() -> None:
    loader = BatchLoader(tiny_split(41), block_size=4, batch_size=10, seed=7)
    orders = [(loader.batch(epoch)[0][:, 0] // 4).tolist() for epoch in range(2)]
    assert orders == ORDERS


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_any_split_of_the_rows_reads_the_same_batch(stdlib: TokenDataset, parts: int) -> None:
    loader = BatchLoader(stdlib.split("train"), BLOCK, batch_size=12, seed=3)
    inputs, targets = loader.batch(5)
    assert inputs.shape == targets.shape == (12, BLOCK)
    size = 12 // parts
    pieces = [loader.batch(5, slice(at, at + size)) for at in range(0, 12, size)]
    assert torch.equal(torch.cat([piece[0] for piece in pieces]), inputs)
    assert torch.equal(torch.cat([piece[1] for piece in pieces]), targets)
    assert torch.equal(loader.batch(5, range(1, 12, parts))[1], targets[1::parts])
    with pytest.raises(IndexError):
        loader.batch(5, range(12, 13))


def test_an_epoch_reads_each_window_once_in_a_fresh_order() -> None:
    # 12 windows in batches of 8: the second batch straddles the two epochs.
    loader = BatchLoader(tiny_split(61), block_size=5, batch_size=8, seed=0)
    assert loader.num_windows == 12
    firsts = torch.cat([loader.batch(step)[0][:, 0] for step in range(3)]).tolist()
    epochs = [firsts[:12], firsts[12:]]
    assert [sorted(epoch) for epoch in epochs] == [list(range(0, 60, 5))] * 2
    assert epochs[0] != epochs[1]


def test_targets_are_inputs_shifted_by_one(stdlib: TokenDataset) -> None:
    split = stdlib.split("val")
    tokens = stream(split)
    num_windows = (tokens.size - 1) // BLOCK
    expected_inputs = tokens[: num_windows * BLOCK].reshape(-1, BLOCK)
    expected_targets = tokens[1 : num_windows * BLOCK + 1].reshape(-1, BLOCK)
    batches = list(eval_batches(split, BLOCK, batch_size=1000, eval_tokens=tokens.size))
    inputs, targets = (torch.cat(column)[:num_windows] for column in zip(*batches, strict=True))
    assert inputs.dtype == targets.dtype == torch.int64
    np.testing.assert_array_equal(inputs.numpy(), expected_inputs)
    np.testing.assert_array_equal(targets.numpy(), expected_targets)


def test_windows_never_cross_a_shard_boundary() -> None:
    split = tiny_split(11, 3, 16, 10)  # 2, 0, 3 and 1 windows of 5 + 1 tokens.
    loader = BatchLoader(split, block_size=5, batch_size=6, seed=0)
    inputs, targets = loader.batch(0)
    assert torch.equal(targets, inputs + 1)
    assert sorted(inputs[:, 0].tolist()) == [0, 5, 14, 19, 24, 30]
    in_order = torch.cat([x for x, _ in eval_batches(split, 5, 3, eval_tokens=1000)])
    assert in_order[:, 0].tolist() == [0, 5, 14, 19, 24, 30]


def test_the_evaluation_slice_is_fixed(stdlib: TokenDataset) -> None:
    split = stdlib.split("val")
    batches = list(eval_batches(split, BLOCK, batch_size=4, eval_tokens=10 * BLOCK + BLOCK - 1))
    assert [len(inputs) for inputs, _ in batches] == [4, 4, 4]
    inputs, targets = counted(batches)
    np.testing.assert_array_equal(inputs.numpy().ravel(), stream(split)[: 10 * BLOCK])
    np.testing.assert_array_equal(targets.numpy().ravel(), stream(split)[1 : 10 * BLOCK + 1])


@pytest.mark.parametrize(("batch_size", "workers"), [(3, 1), (4, 2), (2, 3), (100, 4)])
def test_workers_share_the_evaluation_slice_in_equal_batches(
    stdlib: TokenDataset, batch_size: int, workers: int
) -> None:
    split = stdlib.split("val")
    parts = [
        list(eval_batches(split, BLOCK, batch_size, 10 * BLOCK, rank, workers))
        for rank in range(workers)
    ]
    shapes = [[inputs.shape for inputs, _ in part] for part in parts]
    assert all(shape == shapes[0] for shape in shapes)
    rows = torch.cat([counted(part)[0] for part in parts]).tolist()
    whole = counted(list(eval_batches(split, BLOCK, 10, 10 * BLOCK)))[0].tolist()
    assert sorted(rows) == sorted(whole) and len(rows) == 10


def counted(batches: list[Batch]) -> Batch:
    """The rows that a loss counts, of all batches."""
    inputs, targets = (torch.cat(column) for column in zip(*batches, strict=True))
    counts = (targets != IGNORED).any(dim=1)
    assert (targets[counts] != IGNORED).all()
    return inputs[counts], targets[counts]


def test_too_few_tokens_for_a_window_are_refused() -> None:
    BatchLoader(tiny_split(6), block_size=5, batch_size=1, seed=0)
    with pytest.raises(DataError, match="has 10 tokens and no shard holds a window of 6; lower"):
        BatchLoader(tiny_split(5, 5), block_size=5, batch_size=1, seed=0)
    with pytest.raises(DataError, match="the train split has no tokens; prepare the text with"):
        BatchLoader(tiny_split(), block_size=5, batch_size=1, seed=0)
    with pytest.raises(DataError, match="eval_tokens 4 is less than one window of block_size 5"):
        eval_batches(tiny_split(100), block_size=5, batch_size=1, eval_tokens=4)


def test_windows_never_cross_a_row() -> None:
    # Two shards of rows of 11 tokens: each row has two windows of 5 + 1, and shares no token.
    shards = tuple(np.arange(start, start + 33).astype("<u2") for start in (0, 33))
    split = TokenSplit("train", Path("rows"), shards, row_tokens=11)
    loader = BatchLoader(split, block_size=5, batch_size=12, seed=0)
    inputs, targets = loader.batch(0)
    assert sorted(inputs[:, 0].tolist()) == sorted(11 * r + 5 * k for r in range(6) for k in (0, 1))
    assert torch.equal(targets, inputs + 1)
    # Windows of three tokens leave one token of each row out.
    firsts = torch.cat([x for x, _ in eval_batches(split, 3, 4, eval_tokens=1000)])[:, 0].tolist()
    assert firsts[:18] == [11 * r + 3 * k for r in range(6) for k in range(3)]
    with pytest.raises(DataError, match="rows of 11 tokens hold no window of 12; lower block_size"):
        BatchLoader(split, block_size=11, batch_size=1, seed=0)


def test_a_step_says_which_windows_it_reads(stdlib: TokenDataset) -> None:
    split = stdlib.split("val")
    loader = BatchLoader(split, BLOCK, batch_size=7, seed=3)
    steps = [0, 3, loader.num_windows // 7]  # the last one straddles two epochs
    for step in steps:
        read = loader.windows_of(step)
        assert {name for name, _ in read} == {""}
        firsts = stream(split)[[BLOCK * window for _, window in read]]
        np.testing.assert_array_equal(loader.batch(step)[0][:, 0].numpy(), firsts)


def test_a_mixture_reads_each_source_by_its_share() -> None:
    web, code = tiny_split(401), tiny_split(121)  # 80 and 24 windows of 5 + 1
    marked = tuple(shard + np.uint16(1000) for shard in code.shards)
    sources = {"web": web, "code": TokenSplit("train", Path("code"), marked)}
    weights = {"web": 0.7, "code": 0.3}
    loader = BatchLoader(MixedSplit(sources, weights), 5, batch_size=10, seed=1)
    read = [loader.windows_of(step) for step in range(16)]
    for step, windows in enumerate(read):
        assert [name for name, _ in windows].count("code") == 3, step
        inputs, targets = loader.batch(step)
        starts = [5 * window + 1000 * (name == "code") for name, window in windows]
        assert inputs[:, 0].tolist() == starts and torch.equal(targets, inputs + 1)
        assert torch.equal(loader.batch(step, range(4, 9))[0], inputs[4:9])
    # Each source goes through all of its windows before it repeats one.
    for name, count in (("web", 80), ("code", 24)):
        order = [window for windows in read for source, window in windows if source == name]
        assert sorted(order[:count]) == list(range(count))
        assert order[:count] != order[count : 2 * count]


def test_reading_ahead_gives_the_same_batches(stdlib: TokenDataset) -> None:
    loader = BatchLoader(stdlib.split("train"), BLOCK, batch_size=8, seed=0)
    asked: list[tuple[int, object]] = []

    def batch(step: int, rows: slice | range | None) -> Batch:
        asked.append((step, rows))
        return loader.batch(step, rows)

    ahead = ReadAhead(batch, pinned=False)
    reads = [(step, range(first, first + 4)) for step in range(3) for first in (0, 4)]
    for read, following in zip(reads, [*reads[1:], None], strict=True):
        assert torch.equal(ahead.batch(read, following)[0], loader.batch(*read)[0])
    assert asked == reads  # each of them once, and none beyond the last
    jump = (40, range(4))
    ahead.batch(reads[0], reads[1])
    assert torch.equal(ahead.batch(jump, None)[1], loader.batch(*jump)[1])


def test_an_error_of_reading_ahead_is_raised_where_its_batch_is_wanted() -> None:
    loader = BatchLoader(tiny_split(61), block_size=5, batch_size=8, seed=0)
    ahead = ReadAhead(loader.batch, pinned=False)
    ahead.batch((0, range(8)), (1, range(9)))
    with pytest.raises(IndexError):
        ahead.batch((1, range(9)), None)


@pytest.mark.parametrize("row_tokens", [None, 15])
def test_targets_of_the_evaluation_are_those_of_its_batches(row_tokens: int | None) -> None:
    split = replace(tiny_split(31, 45, 60), row_tokens=row_tokens)
    batches = eval_batches(split, 7, 4, eval_tokens=80)
    read = np.concatenate([targets[targets != IGNORED].numpy() for _, targets in batches])
    targets = eval_targets(split, 7, 80, at_most=80)
    assert targets.size == 77 and targets.tolist() == read.tolist()
    # Of more tokens than are wanted, three windows from all over the slice.
    windows = read.reshape(11, 7)
    assert eval_targets(split, 7, 80, at_most=27).tolist() == windows[[0, 3, 7]].ravel().tolist()
