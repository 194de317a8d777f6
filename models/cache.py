"""Keys and values of the tokens already read, so that generation computes each token once."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import UserError


class LayerCache:
    """The keys and values of one layer, in buffers (B, G, max_length, D) made at the first append."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store keys and values (B, G, T, D) of new tokens; return those of all tokens, (B, G, S, D)."""
        end = self.length + keys.shape[2]
        if end > self.max_length:
            raise UserError(f"the cache holds {self.max_length} tokens, {end} were given: make a longer KVCache")
        if self._keys is None or self._values is None:
            B, G, _, D = keys.shape
            self._keys = keys.new_empty(B, G, self.max_length, D)
            self._values = values.new_empty(B, G, self.max_length, D)
        self._keys[:, :, self.length : end] = keys
        self._values[:, :, self.length : end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]

    def branch(self, rows: Tensor, slots: Tensor, room: int) -> LayerCache:
        """Row r of the new cache holds the tokens `slots[r]` (R, P) of row `rows[r]` (R,), and has room for more."""
        if self._keys is None or self._values is None:
            raise UserError("the cache holds no tokens yet: read some before branching off")
        made, P = LayerCache(slots.shape[1] + room), slots.shape[1]
        _, G, _, D = self._keys.shape
        made._keys = self._keys.new_empty(len(rows), G, made.max_length, D)
        made._values = self._values.new_empty(len(rows), G, made.max_length, D)
        index = rows[:, None]  # (R, 1)
        made._keys[:, :, :P] = self._keys[index, :, slots].transpose(1, 2)  # (R, P, G, D) -> (R, G, P, D)
        made._values[:, :, :P] = self._values[index, :, slots].transpose(1, 2)
        made.length = P
        return made


class KVCache:
    """One LayerCache a layer. `length` tokens of every row are in it, left padding included."""

    def __init__(self, n_layers: int, max_length: int) -> None:
        self.layers = [LayerCache(max_length) for _ in range(n_layers)]

    @property
    def length(self) -> int:
        return self.layers[0].length

    def branch(self, rows: Tensor, lengths: Tensor, room: int) -> KVCache:
        """A new cache in which row r continues row `rows[r]`, of which `lengths[r]` tokens count: both (R,).

        The rows end where the longest one does, padded on the left, so that tokens keep their distances; an
        attention_mask must say so. There is room for `room` more tokens.
        """
        longest = int(lengths.max())
        slots = torch.arange(longest, device=lengths.device) - (longest - lengths)[:, None]  # (R, P)
        made = KVCache(len(self.layers), longest + room)
        made.layers = [layer.branch(rows, slots.clamp(min=0), room) for layer in self.layers]
        return made

    def clear(self) -> None:
        """Forget every token, keep the buffers."""
        for layer in self.layers:
            layer.length = 0
