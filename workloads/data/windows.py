"""Where the windows that a loader reads lie in the tokens of a split (`workloads.data.loader`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Windows:
    """The windows of a split, numbered in the order of its tokens.

    Window i of a shard reads `block_size + 1` tokens from its token `i * block_size` on, and all
    but the first are targets. Places are counted in tokens from the beginning of the split.
    """

    def __init__(
        self, shard_tokens: Sequence[int], block_size: int, row_tokens: int | None = None
    ) -> None:
        sizes = np.array(shard_tokens, np.int64)
        rows = sizes // row_tokens if row_tokens else 1
        self._counts = rows * np.maximum(((row_tokens or sizes) - 1) // block_size, 0)
        self._first_windows = np.cumsum(self._counts) - self._counts
        self._first_tokens = np.cumsum(sizes) - sizes
        self._block_size = block_size
        self.count = int(self._counts.sum())

    def reading(self, begins: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the first window that reads a token of each stretch from `begins` to before
        `ends`, and the one after the last. Of splits without rows; all arrays are (n,)."""
        shard, place = self._in_shard(begins)
        # The window that begins before a token reads it as its last target, too.
        first = np.clip((place - 1) // self._block_size, 0, self._counts[shard])
        last_shard, last_place = self._in_shard(ends - 1)
        last = np.minimum(last_place // self._block_size + 1, self._counts[last_shard])
        first, last = self._first_windows[shard] + first, self._first_windows[last_shard] + last
        return first, np.maximum(first, last)

    def targets_before(self, places: np.ndarray) -> np.ndarray:
        """Return the targets of an epoch among the tokens before each place, counted through the
        windows in order. Of splits without rows; (n,)."""
        shard, place = self._in_shard(places)
        most = self._counts[shard] * self._block_size
        return self._first_windows[shard] * self._block_size + np.clip(place - 1, 0, most)

    def _in_shard(self, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the shard of each place, and the place counted from the shard's beginning."""
        shard = np.searchsorted(self._first_tokens, places, side="right") - 1
        return shard, places - self._first_tokens[shard]
