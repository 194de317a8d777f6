"""Reading for a causal model: the common beginnings of many groups as one batch, then what is left of every row.

Beginnings are padded on the right, where a causal model needs no mask. The rows that go on from them find the keys and
values moved to the end of their part (KVCache.branch), so that tokens keep their distances; the rests are padded on the
right again.
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
from .scoring import Place
from .sharing import Group, Ids, share

WIDER = 4  # times the tokens of a batch that its rows may have with the beginnings they go on from


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

    def width(self, unit: Group) -> int:
        return unit.prefix

    def tokens(self, unit: Group) -> int:
        return unit.tokens

    def read(self, units: Sequence[Group], limit: Limit) -> None:
        # longrope turns a whole batch by its longest row, so those it turns otherwise are read apart.
        for kind in (True, False):
            alike = [unit for unit in units if self._is_long(unit.prefix) == kind]
            if alike:
                self._read(alike, limit)

    def _read(self, units: Sequence[Group], limit: Limit) -> None:
        rests = [Rest(n, unit.prefix, row) for n, unit in enumerate(units) for row in unit.rows]
        longest = max(unit.prefix for unit in units)
        cache = KVCache(self.model.config.n_layers, longest) if any(rest.ids for rest in rests) else None
        hidden = self._hidden([unit.rows[0][: unit.prefix] for unit in units], cache)  # (B, T, C)
        self._score(hidden, [place for rest in rests for place in self._places(rest, rest.start, 0, rest.prefix)])
        if cache is None:
            return
        del hidden
        rests = sorted((rest for rest in rests if rest.ids), key=lambda rest: (-len(rest.ids), -rest.prefix))
        while rests:
            width = len(rests[0].ids)
            some = min(limit.rows_of(width), max(1, WIDER * limit.tokens // (longest + width)))
            batch, rests = rests[:some], rests[some:]
            hidden = self._go_on(batch, cache)  # (R, T, C)
            self._score(
                hidden,
                [p for n, rest in enumerate(batch) for p in self._places(rest, n, rest.prefix, len(rest.row))],
            )

    def _go_on(self, rests: list[Rest], cache: KVCache) -> Tensor:
        """-> (R, T, C), T the longest rest"""
        T = max(len(rest.ids) for rest in rests)
        starts = torch.tensor([rest.start for rest in rests], device=self.device)  # (R,)
        lengths = torch.tensor([rest.prefix for rest in rests], device=self.device)  # (R,)
        branch = cache.branch(starts, lengths, T)
        P = branch.length
        if min(rest.prefix for rest in rests) == P:
            return self._hidden([rest.ids for rest in rests], branch)
        mask = torch.arange(P + T, device=self.device) >= (P - lengths)[:, None]  # (R, P + T)
        return self._hidden([rest.ids for rest in rests], branch, mask, lengths)

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
