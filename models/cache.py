"""Keys and values of the tokens already read, so that generation computes each token once."""

from __future__ import annotations

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


class KVCache:
    """One LayerCache a layer. `length` tokens of every row are in it, left padding included."""

    def __init__(self, n_layers: int, max_length: int) -> None:
        self.layers = [LayerCache(max_length) for _ in range(n_layers)]

    @property
    def length(self) -> int:
        return self.layers[0].length

    def clear(self) -> None:
        """Forget every token, keep the buffers."""
        for layer in self.layers:
            layer.length = 0
