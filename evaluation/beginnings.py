"""Keys and values of common beginnings, kept token by token, and caches of the rows that go on from them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..models.cache import KVCache, LayerCache


class Beginnings(KVCache):
    """Given to the model as its cache, keeps the real tokens of rows padded on the right, and adds nothing to them."""

    def __init__(self, n_layers: int, n_tokens: int) -> None:
        super().__init__(n_layers, n_tokens)
        self.kept = [_Kept(n_tokens) for _ in range(n_layers)]
        self.layers: list[LayerCache] = [*self.kept]
        self.first: list[int] = []
        """Where each row's tokens begin among those kept."""

    def expect(self, lengths: Sequence[int], device: torch.device) -> None:
        """The next batch has rows of these lengths."""
        T = max(lengths)
        real = torch.tensor([n * T + t for n, length in enumerate(lengths) for t in range(length)], device=device)
        for layer in self.kept:
            layer.real = real
        first = self.kept[0].n
        for length in lengths:
            self.first.append(first)
            first += length

    def go_on(self, rows: Sequence[int], lengths: Sequence[int], room: int, device: torch.device) -> KVCache:
        """A cache in which row r has the `lengths[r]` tokens of the row kept as number `rows[r]`, and `room` to come.

        The tokens end where those of the longest end, padded on the left, so that they keep their distances to what
        comes; an attention_mask must say so.
        """
        P = max(lengths)
        first = torch.tensor([self.first[row] for row in rows], device=device)[:, None]  # (R, 1)
        padding = P - torch.tensor(lengths, device=device)[:, None]  # (R, 1)
        slots = first + (torch.arange(P + room, device=device) - padding).clamp(min=0)  # (R, P + room)
        slots[:, P:] = 0  # anything: what comes is written there
        cache = KVCache(len(self.kept), P + room)
        for i, layer in enumerate(self.kept):
            cache.layers[i] = _GoingOn(layer, slots, P)
        return cache


class _Kept(LayerCache):
    """Keys and values (N, G, D) of one layer."""

    real: Tensor

    def __init__(self, n_tokens: int) -> None:
        super().__init__(n_tokens)
        self.n = 0
        self.keys: Tensor | None = None
        self.values: Tensor | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        if self.keys is None or self.values is None:
            _, G, _, D = keys.shape
            self.keys = keys.new_empty(self.max_length, G, D)
            self.values = values.new_empty(self.max_length, G, D)
        end = self.n + len(self.real)
        for kept, new in ((self.keys, keys), (self.values, values)):
            tokens = new.transpose(1, 2).flatten(0, 1)  # (B, G, T, D) -> (B * T, G, D)
            torch.index_select(tokens, 0, self.real, out=kept[self.n : end])
        self.n = end
        return keys, values


class _GoingOn(LayerCache):
    """Rows that go on from kept tokens; they are put together at the only append."""

    def __init__(self, kept: _Kept, slots: Tensor, length: int) -> None:
        super().__init__(slots.shape[1])
        self.kept, self.slots, self.length = kept, slots, length

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        assert self.kept.keys is not None
        assert self.kept.values is not None
        return self._joined(self.kept.keys, keys), self._joined(self.kept.values, values)

    def _joined(self, kept: Tensor, new: Tensor) -> Tensor:
        """kept (N, G, D), new (R, G, T, D) -> (R, G, S, D)"""
        whole = kept.index_select(0, self.slots.flatten()).unflatten(0, self.slots.shape)  # (R, S, G, D)
        whole[:, self.length :] = new.transpose(1, 2)
        return whole.transpose(1, 2)
