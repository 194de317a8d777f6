"""The gradient of a token table on a CPU: few of its rows have one, and the table may be most of the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.sampling import Batch
from ..models.model import Model


class LookupGradient:
    """Keeps one dense gradient of a table for the whole run, and clears only the rows that the last window touched.

    Otherwise each backward pass fills a new tensor of the table's size with zeros: half of MiniLM is its table, and a
    batch of short texts looks up a hundredth of it. The lookup's gradient is sparse and is added to the kept one.

    A tied table also has the head's gradient, which is dense: there the lookup's is added to that, and nothing is kept.
    """

    def __init__(self, model: Model, *, compiled: bool) -> None:
        tokens = model.embedder.tokens
        # A generator looks up the same table, and adds its head's gradient to it: then all of it is dense.
        on_cpu = tokens.weight.device.type == "cpu" and not compiled and model.generator is None
        tokens.sparse = on_cpu and tokens.weight.requires_grad
        self._weight = tokens.weight if tokens.sparse and not model.is_tied else None
        self._kept: Tensor | None = None
        self._touched: Tensor | None = None  # (n,) ids, each once

    def clear(self, window: Sequence[Batch]) -> None:
        """After every gradient was set to None, before the backward passes of `window`: put the kept one back."""
        if self._weight is None or not self._weight.requires_grad:  # frozen, as long as the head alone trains
            return
        if self._kept is None:
            self._kept = torch.zeros_like(self._weight)
        if self._touched is not None:
            self._kept.index_fill_(0, self._touched, 0.0)
        self._touched = torch.cat([batch.input_ids.flatten() for batch in window]).unique()
        self._weight.grad = self._kept

    def rows(self) -> Tensor | None:
        """The rows of the kept gradient that are not 0, a copy (n, E); None where none is kept."""
        return None if self._kept is None or self._touched is None else self._kept[self._touched]

    def put(self, rows: Tensor) -> None:
        """Write them back."""
        assert self._kept is not None
        assert self._touched is not None
        self._kept.index_copy_(0, self._touched, rows)

    def is_kept(self, gradient: Tensor) -> bool:
        """Whether this is the table's."""
        return gradient is self._kept
