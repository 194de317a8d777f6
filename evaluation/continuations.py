"""Reading for a causal model: the common beginnings of many groups as one batch, then what is left of every row.

Beginnings are padded on the right, where a causal model needs no mask. Their keys and values are kept (beginnings.py)
until every row of theirs has gone on from them; rows of similar lengths go together, whatever they go on from.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.cache import KVCache
from ..models.rope import is_long
from .batches import Limit, Reader
from .beginnings import Beginnings
from .scoring import Place
from .sharing import Group, Ids, share

WIDER = 16  # times the tokens of a batch that its rows may have with the beginnings they go on from


@dataclass(frozen=True)
class Rest:
    """What is left of a row after the beginning that is number `start` in the batch."""

    start: int
    prefix: int
    row: Ids

    @property
    def ids(self) -> Ids:
        return self.row[self.prefix :]


class Continuations(Reader[Group]):
    """A unit is a group of rows; a row is what the model reads of one or more items: all of their ids but the last."""

    def plan(self) -> list[Group]:
        self.of_row: dict[Ids, list[int]] = defaultdict(list)
        for i, item in enumerate(self.waiting):
            self.of_row[item.ids[:-1]].append(i)
        alone = [row for row in self.of_row if self._is_long(len(row))]  # their beginnings are turned otherwise
        groups = share([row for row in self.of_row if not self._is_long(len(row))])
        groups += [Group(len(row), (row,)) for row in alone]
        # Longest first: what does not fit shows at once, and time left is not underestimated.
        return sorted(groups, key=lambda group: (not self._is_long(group.prefix), not group.has_rest, -group.prefix))

    def items(self, unit: Group) -> list[int]:
        return [i for row in unit.rows for i in self.of_row[row]]

    def tokens(self, unit: Group) -> int:
        return unit.tokens

    def read(self, units: Sequence[Group], limit: Limit) -> None:
        # longrope turns a whole batch by its longest row, so those it turns otherwise are read apart.
        for kind in (True, False):
            alike = [unit for unit in units if self._is_long(unit.prefix) == kind]
            if alike:
                self._read(alike, limit)

    def _read(self, units: Sequence[Group], limit: Limit) -> None:
        n_kept = sum(unit.prefix for unit in units if unit.has_rest)
        kept = Beginnings(self.model.config.n_layers, n_kept)
        rests: list[Rest] = []
        while units:
            some = limit.rows_of(units[0].prefix)
            batch = [unit for unit in units[:some] if unit.has_rest == units[0].has_rest]
            units = units[len(batch) :]
            rows = [unit.rows[0][: unit.prefix] for unit in batch]
            first = len(kept.first)
            if batch[0].has_rest:
                kept.expect([len(row) for row in rows], self.device)
            hidden = self._hidden(rows, kept if batch[0].has_rest else None)  # (B, T, C)
            parts = [Rest(first + n, unit.prefix, row) for n, unit in enumerate(batch) for row in unit.rows]
            self._score(hidden, [p for part in parts for p in self._places(part, part.start - first, 0, part.prefix)])
            rests += [part for part in parts if part.ids]
        rests.sort(key=lambda rest: (-len(rest.ids), -rest.prefix))
        while rests:
            width = len(rests[0].ids)
            some = limit.rows_of(width)
            some = min(some, max(1, WIDER * limit.tokens // (max(r.prefix for r in rests[:some]) + width)))
            batch, rests = rests[:some], rests[some:]
            hidden = self._go_on(batch, kept)  # (R, T, C)
            numbered = enumerate(batch)
            self._score(hidden, [p for n, r in numbered for p in self._places(r, n, r.prefix, len(r.row))])

    def _go_on(self, rests: Sequence[Rest], kept: Beginnings) -> Tensor:
        """-> (R, T, C), T the longest rest"""
        T = max(len(rest.ids) for rest in rests)
        lengths = [rest.prefix for rest in rests]
        P, rows = max(lengths), [rest.ids for rest in rests]
        cache = kept.go_on([rest.start for rest in rests], lengths, T, self.device)
        if min(lengths) == P:
            return self._hidden(rows, cache)
        past = torch.tensor(lengths, device=self.device)  # (R,)
        mask = torch.arange(P + T, device=self.device) >= (P - past)[:, None]  # (R, P + T)
        return self._hidden(rows, cache, mask, past)

    def _hidden(
        self, rows: Sequence[Ids], cache: KVCache | None, mask: Tensor | None = None, past: Tensor | None = None
    ) -> Tensor:
        """Rows, padded on the right, after the `past` (B,) tokens in the cache -> (B, T, C)"""
        config, T = self.model.config, max(map(len, rows))
        ids = torch.tensor([[*row, *(0,) * (T - len(row))] for row in rows], device=self.device)  # (B, T)
        positions = None
        if config.positions not in ("relative", "none") and (past is not None or config.pad_token_id is not None):
            first = 0 if cache is None else cache.length
            ends = torch.tensor([len(row) - 1 for row in rows], device=self.device)  # (B,)
            index = torch.minimum(torch.arange(T, device=self.device), ends[:, None])  # (B, T), none past a row's end
            positions = index + (first if past is None else past[:, None])
        return self.model.hidden_states(ids, attention_mask=mask, position_ids=positions, cache=cache)

    def _places(self, rest: Rest, row: int, first: int, end: int) -> list[Place]:
        """Where the items of a row are scored, of its tokens from `first` to `end`, which stand from slot 0."""
        places: list[Place] = []
        for i in self.of_row[rest.row]:
            ids, n = self.waiting[i].ids, self.waiting[i].n
            slots = range(max(first, len(ids) - 1 - n), min(end, len(ids) - 1))
            places += [Place(row, slot - first, ids[slot + 1], i) for slot in slots]
        return places

    def _score(self, hidden: Tensor, places: list[Place]) -> None:
        self.tally.add(self.model.head, hidden, places, self.model.config.vocab_size)

    def _is_long(self, length: int) -> bool:
        ropes = self.model.config.rope, self.model.config.rope_local
        return any(rope is not None and is_long(rope, length) for rope in ropes)
