"""Rows of different lengths (one conversation, one labelled text) as batches; batch i is a pure function of (seed, i).

Three ways through N rows, each row exactly once an epoch:

    shuffled    each epoch in a new order; `by_length` puts rows of similar length into a batch, the batches shuffled
    sequential  in the order given
    packed      several whole rows laid end to end in one of at most `context` tokens, none of which sees another
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, nearest
from .sampling import IGNORE, Batch

T = TypeVar("T")

ROW_MODES = ("shuffled", "sequential", "packed")
_POOL = 50  # batches whose rows are sorted by length together: enough for little padding, few enough to stay random


@dataclass(frozen=True)
class Row:
    """One example. `labels[t]` is the token that follows `ids[t]`, or -100 where it is no target; or one class."""

    ids: NDArray[np.int32]
    """(T,)"""
    labels: NDArray[np.int32] | int
    """(T,), already shifted; or the class"""
    token_types: NDArray[Any] | None = None
    """(T,): 0 the first text of a pair, 1 the second"""
    where: str = ""
    """file and row, for a message"""

    @property
    def n_targets(self) -> int:
        """How many tokens of it are trained; 1 for a class."""
        return 1 if isinstance(self.labels, int) else int((self.labels != IGNORE).sum())


def classes_of(rows: Sequence[Row]) -> list[int]:
    """The class of each row of labelled texts."""
    return [cast(int, row.labels) for row in rows]


class Batches(Protocol):
    """What a run trains on: batch i, the same one whenever it is asked for."""

    batch_size: int
    context: int

    @property
    def batches_per_epoch(self) -> int:
        """How many batches of all ranks together show each row once."""
        ...

    def batch(self, index: int) -> Batch:
        """Batch `index`, counted over all epochs."""
        ...

    def position(self, index: int) -> str:
        """Where batch `index` stands, for a message."""
        ...


def spread(rows: Sequence[T], most: int) -> list[T]:
    """At most so many of the rows, or of what goes with them, spread evenly, the same ones each time."""
    wanted = min(len(rows), most)
    return [rows[i * len(rows) // wanted] for i in range(wanted)]


@dataclass(frozen=True)
class OneEpoch:
    """A sampler's first epoch, batch by batch, each time it is called; its length is their number."""

    batches: Batches

    def __call__(self) -> Iterator[Batch]:
        return map(self.batches.batch, range(len(self)))

    def __len__(self) -> int:
        return self.batches.batches_per_epoch


class RowSampler:
    """Batches of `batch_size` rows for each of `world` ranks, padded on the right to the longest of the batch.

    The width is rounded up to `multiple_of`, to `context` at most. Where rows are missing in an epoch's last batch,
    rows without targets take their place; a batch of classes is shorter instead, and only a rank left without any row
    holds one of class -100. `attention_mask` tells padding apart, except in packed batches, where it is a segment of
    its own, and for a `causal` model, where what comes later is never seen: without a mask the faster attention serves.

    A window of 8 batches of 1 row holds the rows of one batch of 8, unless they are grouped by length.
    Raises UserError for a row longer than `context`, for no rows, and for packed classes.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        batch_size: int,
        context: int,
        seed: int = 0,
        *,
        pad_id: int,
        mode: str = "shuffled",
        by_length: bool = False,
        multiple_of: int = 8,
        causal: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if mode not in ROW_MODES:
            raise UserError(f"trainer.datasampling is '{mode}'.{nearest(mode, ROW_MODES)}")
        if not 0 <= rank < world:
            raise UserError(f"rank {rank} of {world}: ranks count from 0")
        if not rows:
            raise UserError("there are no rows to make batches of")
        self.lengths = np.array([len(row.ids) for row in rows])  # (N,)
        longest = int(self.lengths.argmax())
        if self.lengths[longest] > context:
            raise UserError(
                f"{rows[longest].where or f'row {longest}'}: it has {self.lengths[longest]} tokens, and a row has at "
                f"most {context}: raise trainer.max_seq_length, or set dataset.on_overflow"
            )
        self.has_classes = isinstance(rows[0].labels, int)
        if self.has_classes and mode == "packed":
            raise UserError("rows with one class each cannot be packed: set trainer.datasampling to shuffled")
        self.rows, self.batch_size, self.context = rows, batch_size, context
        self.seed, self.mode, self.by_length = seed, mode, by_length
        self.pad_id, self.multiple_of, self.causal = pad_id, multiple_of, causal
        self.rank, self.world = rank, world
        self.has_types = any(row.token_types is not None for row in rows)
        self._bins = pack_lengths(self.lengths, context) if mode == "packed" else None
        self.n_slots = len(rows) if self._bins is None else len(self._bins)
        self._order: tuple[int, list[list[int]]] | None = None

    @property
    def batches_per_epoch(self) -> int:
        """How many batches of all ranks together show each row once."""
        return -(-self.n_slots // (self.batch_size * self.world))

    @property
    def efficiency(self) -> float:
        """Share of an epoch's tokens that are no padding, were each row or pack padded to `context`."""
        return float(self.lengths.sum() / (self.n_slots * self.context))

    def batch(self, index: int) -> Batch:
        """Batch `index`, counted over all epochs; its epoch is index // batches_per_epoch."""
        epoch = index // self.batches_per_epoch
        members = [[self.row(number, epoch) for number in numbers] for numbers in self.members(index)]
        width = max((sum(len(row.ids) for row in rows) for rows in members if rows), default=1)
        width = min(-(-width // self.multiple_of) * self.multiple_of, self.context)
        shape = (len(members), width)
        ids = np.full(shape, self.pad_id, np.int64)  # (B, T)
        labels = np.full(shape[:1] if self.has_classes else shape, IGNORE, np.int64)  # (B,) or (B, T)
        mask, types, segments = np.zeros((3, *shape), np.int64)  # (B, T) each
        for b, rows in enumerate(members):
            start = 0
            for number, row in enumerate(rows):
                place = slice(start, start := start + len(row.ids))
                ids[b, place], mask[b, place], segments[b, place] = row.ids, 1, number
                if row.token_types is not None:
                    types[b, place] = row.token_types
                if self.has_classes:
                    labels[b] = row.labels
                else:
                    labels[b, place] = row.labels
            segments[b, start:] = len(rows)
            mask[b, 0] = 1  # a row without any token is not all masked
        import torch

        packed = self._bins is not None
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(labels),
            segment_ids=torch.from_numpy(segments) if packed else None,
            attention_mask=None if packed or self.causal else torch.from_numpy(mask),
            token_type_ids=torch.from_numpy(types) if self.has_types else None,
        )

    def row(self, number: int, epoch: int) -> Row:
        """What row `number` is in an epoch: always the same, unless a subclass draws a part of it."""
        return self.rows[number]

    def members(self, index: int) -> list[list[int]]:
        """Which of `rows` each row of batch `index` holds: one, several where packed, none where it is filled up."""
        epoch, within = divmod(index, self.batches_per_epoch)
        first = (within * self.world + self.rank) * self.batch_size
        members = self._epoch_order(epoch)[first : first + self.batch_size]
        missing = self.batch_size - len(members)
        if self.has_classes:
            missing = 0 if members else 1
        return members + [[] for _ in range(missing)]

    def position(self, index: int) -> str:
        """Where batch `index` stands, for a message: the same settings and number give the same batch again."""
        epoch, within = divmod(index, self.batches_per_epoch)
        return f"batch {index}: epoch {epoch}, {within + 1} of {self.batches_per_epoch}, seed {self.seed}"

    def _epoch_order(self, epoch: int) -> list[list[int]]:
        """The members of each slot, in the order of this epoch."""
        if self._order is None or (self._order[0] != epoch and self.mode != "sequential"):
            self._order = (epoch, self._new_order(epoch))
        return self._order[1]

    def _new_order(self, epoch: int) -> list[list[int]]:
        if self.mode == "sequential":
            return [[row] for row in range(len(self.rows))]
        random = np.random.Generator(np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64)))
        order = random.permutation(len(self.rows))
        if self._bins is not None:
            # The bins are of lengths; which row of a length goes where changes with the epoch, and so does their order.
            place = order[np.argsort(-self.lengths[order], kind="stable")].tolist()
            return [[place[p] for p in self._bins[b]] for b in random.permutation(len(self._bins))]
        if self.by_length:
            order = self._group(order, random)
        return [[row] for row in order.tolist()]

    def _group(self, order: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """Sort pools of rows by length, cut them into batches of all ranks, shuffle those; a short one stays last."""
        size = self.batch_size * self.world
        pools = [order[i : i + _POOL * size] for i in range(0, len(order), _POOL * size)]
        order = np.concatenate([pool[np.argsort(-self.lengths[pool], kind="stable")] for pool in pools])
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        whole = len(order) // size
        return np.concatenate([*(batches[i] for i in random.permutation(whole)), *batches[whole:]])


def pack_lengths(lengths: NDArray[np.int64], capacity: int) -> list[list[int]]:
    """Bins of at most `capacity`, each a list of places in the descending order of `lengths`.

    Best fit, decreasing: each goes where the least room is left that holds it. Their number depends on the lengths
    alone, at most 11/9 of the least possible and a bit. Source: Johnson et al., 1974, https://doi.org/10.1137/0203025.
    """
    bins: list[list[int]] = []
    open_bins: dict[int, list[int]] = {}  # room left -> bins
    rooms: list[int] = []  # the keys, ascending
    for place, length in enumerate(np.sort(lengths)[::-1].tolist()):
        at = bisect_left(rooms, length)
        if at == len(rooms):
            bins.append([])
            chosen, room = len(bins) - 1, capacity
        else:
            room = rooms[at]
            chosen = open_bins[room].pop()
            if not open_bins[room]:
                del open_bins[room], rooms[at]
        bins[chosen].append(place)
        room -= length
        if room not in open_bins:
            open_bins[room] = []
            insort(rooms, room)
        open_bins[room].append(chosen)
    return bins
