"""The keys and values that decoding keeps, so that each new token costs one token's work."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workloads.config.model import ModelConfig


@dataclass(frozen=True)
class LayerCache:
    """One layer's part of a cache while tokens are added at `positions` (batch, time).

    `mask` (batch, 1, time, slots) says which slots they see; None where all rows are new, and the
    tokens see each other causally.
    """

    keys: Tensor
    values: Tensor
    positions: Tensor
    mask: Tensor | None

    def extend(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Keep the keys and values of the new tokens, each (batch, num_kv_heads, time, head_dim).

        Return those of all tokens so far, and the mask.
        """
        rows = torch.arange(len(key), device=key.device)[:, None]
        self.keys[rows, :, self.positions] = key.transpose(1, 2).to(self.keys.dtype)
        self.values[rows, :, self.positions] = value.transpose(1, 2).to(self.values.dtype)
        return self.keys, self.values, self.mask


class KVCache:
    """`keys` and `values`, each (layers, batch, num_kv_heads, max_time, head_dim).

    A token's slot is its position in its own row. Rows may differ in length, with padding behind
    the shorter ones: no token sees slots beyond its own position, and the row's next token
    overwrites the padding.
    """

    def __init__(
        self,
        config: ModelConfig,
        batch: int,
        max_time: int,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        shape = (config.num_layers, batch, config.num_kv_heads, max_time, config.head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros_like(self.keys)
        self.lengths = torch.zeros(batch, dtype=torch.long, device=device)
        self._slots = 0  # How many may be filled, known without asking the device.
        self._positions: Tensor | None = None
        self._mask: Tensor | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values."""
        return self.keys.nbytes + self.values.nbytes

    def place(self, time: int) -> Tensor:
        """Return the positions (batch, time) of each row's next `time` tokens, padding included."""
        ahead = torch.arange(time, device=self.lengths.device)
        self._positions = self.lengths[:, None] + ahead
        fresh, self._slots = self._slots == 0, self._slots + time
        slots = torch.arange(self._slots, device=self.lengths.device)
        self._mask = None if fresh else slots <= self._positions[:, None, :, None]
        return self._positions

    def layer(self, index: int) -> LayerCache:
        """Return the part of layer `index`, to which the placed tokens are to be added."""
        assert self._positions is not None
        keys, values = (kept[index, :, :, : self._slots] for kept in (self.keys, self.values))
        return LayerCache(keys, values, self._positions, self._mask)

    def advance(self, counts: Tensor) -> None:
        """Keep the first `counts` (batch,) of each row's placed tokens; the others are padding."""
        self.lengths += counts
