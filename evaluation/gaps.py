"""Pseudo-log-likelihoods for encoders: each scored token is masked in turn, and guessed from all the others.

Source: https://arxiv.org/abs/1910.14659. They are no probabilities of the text, and compare with each other alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import UserError
from ..models.model import Model
from .batches import Limit, Reader
from .requests import Encoded
from .scoring import Place, Tally


class Gaps(Reader[int]):
    """A unit is an item: as many rows as it has scored tokens."""

    def __init__(self, model: Model, waiting: Sequence[Encoded], tally: Tally, mask_id: int | None) -> None:
        if mask_id is None:
            raise UserError("an encoder's tokens are guessed where the mask token stands, and the tokenizer names none")
        self.mask_id = mask_id
        super().__init__(model, waiting, tally)

    def plan(self) -> list[int]:
        return sorted(range(len(self.waiting)), key=lambda i: -self._length(i))

    def items(self, unit: int) -> list[int]:
        return [unit]

    def tokens(self, unit: int) -> int:
        return self._length(unit) * self.waiting[unit].n

    def read(self, units: Sequence[int], limit: Limit) -> None:
        gaps = [(i, slot) for i in units for slot in self._slots(i)]
        while gaps:
            some = limit.rows_of(self._length(gaps[0][0]))
            batch, gaps = gaps[:some], gaps[some:]
            rows = [[*self.waiting[i].ids, *self.waiting[i].ending] for i, _ in batch]
            longest = len(rows[0])
            mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows], device=self.device)
            places: list[Place] = []
            for n, (i, slot) in enumerate(batch):
                places.append(Place(n, slot, rows[n][slot], i))
                rows[n][slot] = self.mask_id
                rows[n] += [self.pad_id] * (longest - len(rows[n]))
            hidden = self.model.hidden_states(torch.tensor(rows, device=self.device), mask)  # (B, T, C)
            self.tally.add(self.model.head, hidden, places, self.model.config.vocab_size)

    @property
    def pad_id(self) -> int:
        """A family that counts positions by ids goes by it; for others the mask alone says what is padding."""
        return self.model.config.pad_token_id or 0

    def _slots(self, i: int) -> range:
        ids = self.waiting[i].ids
        return range(len(ids) - self.waiting[i].n, len(ids))

    def _length(self, i: int) -> int:
        return len(self.waiting[i].ids) + len(self.waiting[i].ending)
