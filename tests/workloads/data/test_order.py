"""The order of windows: permutations of any size, and the pattern of a mixture."""

import itertools
import time
from collections.abc import Sequence

import numpy as np
import pytest

from workloads.data.order import MOST_HELD, Epochs, Feistel, Order, pattern, permutation

KEYS = np.random.SeedSequence(5).generate_state(Feistel.ROUNDS, np.uint64)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 257, 4096, 4097, 100_003])
def test_a_computed_permutation_has_every_number_once(count: int) -> None:
    order = Feistel(count, KEYS)(np.arange(count))
    assert order.dtype == np.int64
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_a_computed_permutation_never_changes() -> None:
    # Numbers that must never change, or runs do not resume.
    assert permutation(63_000_000, [0, 0])(np.arange(4)).tolist() == [
        *(30_598_492, 51_188_861, 46_580_884, 9_944_677)
    ]
    # The same by Python's own integers, one number at a time.
    found = permutation(63_000_000, [3, 1])(np.arange(20))
    keys = np.random.SeedSequence([3, 1]).generate_state(8, np.uint64).tolist()
    assert found.tolist() == [walked(n, 63_000_000, keys) for n in range(20)]


def walked(number: int, count: int, keys: Sequence[int]) -> int:
    """The cipher, written down for one number: 26 bits in halves of 13, four double rounds."""
    while True:
        low, high = number % 2**13, number >> 13
        for even, odd in zip(keys[::2], keys[1::2], strict=True):
            low ^= mixed(high + even) % 2**13
            high ^= mixed(low + odd) % 2**13
        number = high << 13 | low
        if number < count:
            return number


def mixed(z: int) -> int:
    """The output function of splitmix64."""
    z %= 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return z ^ (z >> 31)


def test_a_computed_permutation_is_shuffled_as_a_random_one_is() -> None:
    count = 200_000
    places = np.arange(count)
    orders = [
        Feistel(count, np.random.SeedSequence([seed]).generate_state(8, np.uint64))(places)
        for seed in range(6)
    ]
    for order in orders:
        # Neighbours do not stay neighbours: of a random order, 2 of them do on average.
        assert (np.abs(np.diff(order)) == 1).sum() < 12
        assert (order == places).sum() < 8  # 1 on average
        # No trend, and each stretch of it takes evenly from the whole range.
        assert abs(np.corrcoef(places, order)[0, 1]) < 5 / np.sqrt(count)
        assert abs(np.corrcoef(order[:-1], order[1:])[0, 1]) < 5 / np.sqrt(count)
        counts = np.histogram2d(places, order, bins=20)[0]
        expected = count / 400
        chi_squared = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi_squared - 361) < 5 * np.sqrt(2 * 361)
        # Low bits are as random as high ones.
        assert abs((order[::2] & 1).mean() - 0.5) < 5 * 0.5 / np.sqrt(count / 2)
    for first, second in itertools.pairwise(orders):
        assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(count)


def test_an_epoch_of_a_large_corpus_costs_nothing_to_begin() -> None:
    # 65 billion tokens in blocks of 128.
    began = time.perf_counter()
    epochs = Epochs(500_000_000, seed=0)
    windows = epochs.windows(np.arange(500_000_000 - 256, 500_000_000 + 256))
    assert time.perf_counter() - began < 0.5  # a permutation in memory takes 4 GB and half a minute
    assert windows.min() >= 0 and windows.max() < 500_000_000 and len(set(windows)) >= 511


@pytest.mark.parametrize("count", [MOST_HELD - 3, MOST_HELD + 3])
def test_every_window_is_read_once_an_epoch_on_both_sides_of_the_limit(count: int) -> None:
    windows = Epochs(count, seed=2).windows(np.arange(count, 2 * count))
    assert np.bincount(windows, minlength=count).max() == 1


def test_small_texts_keep_the_order_that_runs_were_recorded_with() -> None:
    # As it was written down for the first runs.
    bits = np.random.MT19937(np.random.SeedSequence([7, 1]))
    wanted = np.random.RandomState(bits).permutation(1000)
    found = Order({"": 1000}, {"": 1.0}, seed=7).windows(np.arange(1000, 2000))[1]
    np.testing.assert_array_equal(found, wanted)


def test_a_source_keeps_its_order_whatever_it_is_mixed_with() -> None:
    samples = np.arange(4000)
    found = []
    for others in ({"code": 0.5}, {"code": 0.2, "books": 0.3}):
        counts = {"web": 300} | dict.fromkeys(others, 50)
        order = Order(counts, {"web": 0.5, **others}, seed=0)
        sources, windows = order.windows(samples)
        found.append(windows[sources == order.names.index("web")])
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(found[0][:50], Epochs(300, 0).windows(np.arange(50)))


@pytest.mark.parametrize(
    ("weights", "period"),
    [([0.8, 0.2], 5), ([1, 1, 1], 100_000), ([0.5], 1), ([0.25, 0.7, 0.05], 20), ([1e-9, 1], None)],
)
def test_a_pattern_gives_each_source_its_share_at_any_time(
    weights: list[float], period: int | None
) -> None:
    sources, ranks = pattern(weights)
    assert period is None or sources.size == period
    for source, weight in enumerate(np.asarray(weights) / sum(weights)):
        chosen = sources == source
        assert ranks[chosen].tolist() == list(range(chosen.sum()))
        ideal = weight * np.arange(1, sources.size + 1)
        assert np.abs(np.cumsum(chosen) - ideal).max() < len(weights)


def test_the_pattern_never_changes() -> None:
    assert pattern([0.5, 0.3, 0.2])[0].tolist() == [0, 1, 2, 0, 0, 1, 0, 2, 1, 0]


def test_a_mixture_is_a_pure_function_of_the_sample() -> None:
    def order() -> Order:
        return Order({"web": 700, "code": 90}, {"web": 0.61, "code": 0.39}, seed=4)

    whole = order().windows(np.arange(5000))
    for start in (4321, 17, 0):  # out of order, in parts, by a new object
        part = order().windows(np.arange(start, start + 100))
        for found, wanted in zip(part, whole, strict=True):
            np.testing.assert_array_equal(found, wanted[start : start + 100])
