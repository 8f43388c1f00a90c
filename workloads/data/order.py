"""The order in which windows of text are read: a pure function of the seed and the sample's number.

Sample i of a run is row `i % batch_size` of step `i // batch_size`. Each epoch of a source is a
fresh permutation of all its windows. A mixture gives every sample to one of its sources in a fixed
pattern, in which each source has its share to within as many samples as there are sources at any
time; a source's own samples go through its own epochs. This module imports no torch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

# Up to so many windows an epoch is a permutation held in memory, 8 bytes a window: the order of
# every recorded run. Beyond, `Feistel` computes it, without memory.
MOST_HELD = 2**22
# A share of a mixture is rounded to this part of the samples.
PATTERN = 100_000

Positions = Callable[[np.ndarray], np.ndarray]


class Order:
    """The order of a mixture's windows; of a single text, one source under the empty name.

    `counts` holds the windows of each source, `weights` their shares of the samples.
    """

    def __init__(self, counts: Mapping[str, int], weights: Mapping[str, float], seed: int) -> None:
        self.names = list(counts)
        self._epochs = [Epochs(count, seed, name) for name, count in counts.items()]
        shares = [weights[name] for name in self.names]
        self._pattern, self._ranks = pattern(shares)
        self._in_pattern = np.bincount(self._pattern, minlength=len(shares))

    def windows(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the index of the source, and the window within it, of each sample."""
        if len(self.names) == 1:
            return np.zeros(samples.size, np.int64), self._epochs[0].windows(samples)
        periods, places = np.divmod(samples, self._pattern.size)
        sources = self._pattern[places]
        own = periods * self._in_pattern[sources] + self._ranks[places]
        windows = np.empty_like(samples)
        for source, epochs in enumerate(self._epochs):
            chosen = sources == source
            windows[chosen] = epochs.windows(own[chosen])
        return sources, windows


class Epochs:
    """The samples of one source: epoch after epoch, each a permutation of its `count` windows."""

    def __init__(self, count: int, seed: int, name: str = "") -> None:
        self._count = count
        # A source's order follows from its name, whatever other sources there are.
        words = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        self._entropy = (seed,), ((words,) if name else ())
        self._epoch, self._order = -1, None

    def windows(self, samples: np.ndarray) -> np.ndarray:
        """Return the window of each of the source's samples."""
        epochs, positions = np.divmod(samples, self._count)
        windows = np.empty_like(positions)
        for epoch in np.unique(epochs):
            chosen = epochs == epoch
            windows[chosen] = self._of_epoch(int(epoch))(positions[chosen])
        return windows

    def _of_epoch(self, epoch: int) -> Positions:
        if self._order is None or epoch != self._epoch:
            before, after = self._entropy
            self._order = permutation(self._count, [*before, epoch, *after])
            self._epoch = epoch
        return self._order


def permutation(count: int, entropy: Sequence[int]) -> Positions:
    """Return a permutation of `range(count)` as a function of positions, an int64 array."""
    seeds = np.random.SeedSequence(list(entropy))
    if count > MOST_HELD:
        return Feistel(count, seeds.generate_state(Feistel.ROUNDS, np.uint64))
    # RandomState and not Generator: NumPy promises that its numbers never change.
    return np.random.RandomState(np.random.MT19937(seeds)).permutation(count).__getitem__


class Feistel:
    """A permutation of `range(count)` that is computed for each position.

    A Feistel network permutes the numbers of as many bits as `count` has: in turn, each half of the
    bits is changed by a hash of the other half. A number outside the range is permuted again until
    it is inside, which takes fewer than two turns on average (Black and Rogaway, "Ciphers with
    arbitrary finite domains", 2002).
    """

    ROUNDS = 8

    def __init__(self, count: int, keys: np.ndarray) -> None:
        """`keys` are `ROUNDS` uint64 numbers."""
        bits = max(2, (count - 1).bit_length())
        self._count = np.uint64(count)
        self._low_bits = np.uint64(bits // 2)
        self._low = np.uint64(2 ** (bits // 2) - 1)
        self._high = np.uint64(2 ** (bits - bits // 2) - 1)
        self._keys = keys

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Return where each position goes; int64 in and out."""
        found = self._turn(positions.astype(np.uint64))
        while (outside := np.flatnonzero(found >= self._count)).size:
            found[outside] = self._turn(found[outside])
        return found.astype(np.int64)

    def _turn(self, numbers: np.ndarray) -> np.ndarray:
        low, high = numbers & self._low, numbers >> self._low_bits
        for first, second in zip(self._keys[::2], self._keys[1::2], strict=True):
            low ^= _hash(high + first) & self._low
            high ^= _hash(low + second) & self._high
        return high << self._low_bits | low


def _hash(numbers: np.ndarray) -> np.ndarray:
    """Return the finalizer of splitmix64 (Steele, Lea and Flood 2014), of uint64 numbers."""
    numbers = (numbers ^ numbers >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ numbers >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return numbers ^ numbers >> np.uint64(31)


def pattern(weights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return the repeating pattern of a mixture: the source of each of its samples, and how many
    samples the source had before in the pattern.

    The k-th of a source's n samples comes where (k + 1/2) / n of the pattern is over.
    """
    counts = _whole_shares(weights)
    ranks = np.concatenate([np.arange(count) for count in counts])
    sources = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort([sources, (ranks + 0.5) / counts[sources]])
    return sources[order], ranks[order]


def _whole_shares(weights: Sequence[float]) -> np.ndarray:
    """Return whole numbers in proportion to the weights, as small as they can be, at least 1."""
    exact = np.asarray(weights, np.float64) / math.fsum(weights) * PATTERN
    # Of weights such as 0.8, the product is whole but for the last digit.
    whole = np.floor(exact + 1e-6).astype(np.int64)
    left = PATTERN - int(whole.sum())
    whole[np.argsort(whole - exact, kind="stable")[:left]] += 1
    whole = np.maximum(whole, 1)
    return whole // math.gcd(*whole.tolist())
