"""Batch i is a pure function of (seed, i, rank): resuming at i replays nothing.

Three ways through a stream of N tokens, rows of T inputs each:

    standard    row = T + 1 tokens from a random place (nanoGPT); documents run into each other
    packed      the stream cut into rows of T, each epoch in a new order; document boundaries kept
    sequential  the same rows in order

With a stride S the last two begin a row every S tokens: only a row's last S positions have targets (the first row's
all), so every token is a target once, and is predicted from at least T - S tokens where its document has them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError, nearest
from .stream import TokenStream

if TYPE_CHECKING:
    import torch

MODES = ("standard", "sequential", "packed")
IGNORE = -100


@dataclass(frozen=True)
class Batch:
    """What one forward and backward pass sees. All int64.

    input_ids (B, T); labels (B, T), the token that follows or -100, or (B,), the class of a row. segment_ids (B, T)
    number the documents of a row from 0: attention stays within a number, positions restart at each. attention_mask
    (B, T) is 0 on padding; token_type_ids (B, T) tell the texts of a pair apart. What is None plays no part.
    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    segment_ids: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None
    token_type_ids: torch.Tensor | None = None

    @property
    def inputs(self) -> dict[str, Any]:
        """What the model is called with; `labels` apart, that is all that is there."""
        tensors = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "labels"}
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on a device."""
        if str(device) == "cpu":
            return self
        tensors = {name: tensor.to(device, non_blocking=True) for name, tensor in self.inputs.items()}
        return Batch(labels=self.labels.to(device, non_blocking=True), **tensors)


class Sampler:
    """Batches of `stream`, `batch_size` rows of `context` tokens for each of `world` ranks.

    In the packed modes every token but the stream's first is a target once an epoch, except the first of each
    document: the last token of one document does not predict the next. The last row and the last batch are filled
    up with padding whose labels are -100, so every batch has the same shape and every rank the same number of
    batches; a rank may then hold a batch without targets. Raises UserError when the text is too short, and for a
    `stride` of random crops or longer than a row.
    """

    def __init__(
        self,
        stream: TokenStream,
        batch_size: int,
        context: int,
        seed: int = 0,
        mode: str = "standard",
        rank: int = 0,
        world: int = 1,
        stride: int | None = None,
    ) -> None:
        if mode not in MODES:
            raise UserError(f"trainer.datasampling is '{mode}'.{nearest(mode, MODES)}")
        if not 0 <= rank < world:
            raise UserError(f"rank {rank} of {world}: ranks count from 0")
        if stride is not None and (mode == "standard" or not 0 < stride <= context):
            raise UserError(
                f"dataset.stride is {stride}: it is from 1 to the row's length, {context}, and of rows in order "
                "(trainer.datasampling packed or sequential)"
            )
        # Held-out text may fall short of a row: packed, it is padded.
        need = 2 if mode != "standard" and stream.name == "held-out text" else context + 1
        if stream.n_tokens < need:
            raise UserError(
                f"the {stream.name} has {stream.n_tokens} tokens, and a context of {context} needs {need}: "
                "give more text (dataset.name, dataset.val_fraction) or a shorter model.context_window"
            )
        self.stream, self.batch_size, self.context = stream, batch_size, context
        self.seed, self.mode, self.rank, self.world = seed, mode, rank, world
        self.stride = stride or context
        self.n_rows = 1 + max(0, -(-(stream.n_tokens - 1 - context) // self.stride))
        self._order: tuple[int, NDArray[np.int64]] | None = None

    @property
    def batches_per_epoch(self) -> int:
        """How many batches of all ranks together show as many tokens as the stream has."""
        rows = self.batch_size * self.world
        return max(1, self.n_rows // rows) if self.mode == "standard" else -(-self.n_rows // rows)

    def batch(self, index: int) -> Batch:
        """Batch `index`, counted over all epochs; its epoch is index // batches_per_epoch."""
        return self._crops(index) if self.mode == "standard" else self._packed(index)

    def position(self, index: int) -> str:
        """Where batch `index` stands, for a message: the same settings and number give the same batch again."""
        epoch, within = divmod(index, self.batches_per_epoch)
        return f"batch {index}: epoch {epoch}, {within + 1} of {self.batches_per_epoch}, seed {self.seed}"

    def _crops(self, index: int) -> Batch:
        row = (index * self.world + self.rank) * self.batch_size + np.arange(self.batch_size, dtype=np.uint64)
        draw = _random_bits(self.seed, row) >> np.uint64(11)  # 53 bits: exact as a float
        places = (draw * (2.0**-53 * (self.stream.n_tokens - self.context))).astype(np.int64)
        tokens = self.stream.gather(places, self.context + 1)
        return _batch(tokens[:, :-1], tokens[:, 1:])

    def _packed(self, index: int) -> Batch:
        epoch, within = divmod(index, self.batches_per_epoch)
        T, stream = self.context, self.stream
        first = (within * self.world + self.rank) * self.batch_size
        slots = np.arange(first, first + self.batch_size)
        real = slots < self.n_rows
        rows = self._epoch_order(epoch)[np.minimum(slots, self.n_rows - 1)]
        last = stream.n_tokens - 1
        begins = rows * self.stride  # (B,)
        positions = begins[:, None] + np.arange(T + 1, dtype=np.int64)  # (B, T + 1)
        inside = (positions <= last) & real[:, None]
        starts = np.minimum(begins, max(0, last - T))  # the stream's last row is read from further left
        if stream.n_tokens > T:
            tokens = stream.gather(starts, T + 1)
            for b in np.flatnonzero(starts != begins):
                tokens[b] = np.roll(tokens[b], int(starts[b] - begins[b]))
        else:
            tokens = np.zeros(positions.shape, np.int64)
            tokens[:, : stream.n_tokens] = stream.read(0, stream.n_tokens)
        document = np.searchsorted(stream.starts, positions, side="right")  # (B, T + 1); padding: one further
        new = (rows == 0)[:, None] | (np.arange(T) >= T - self.stride)  # (B, T): not a target of the row before
        predicts = inside[:, 1:] & new & (document[:, 1:] == document[:, :-1])
        labels = np.where(predicts, tokens[:, 1:], IGNORE)
        inputs = np.where(inside[:, :-1], tokens[:, :-1], 0)
        return _batch(inputs, labels, document[:, :-1] - document[:, :1])

    def _epoch_order(self, epoch: int) -> NDArray[np.int64]:
        """(n_rows,): which row comes when in this epoch."""
        if self._order is None or (self._order[0] != epoch and self.mode == "packed"):
            if self.mode == "sequential":
                order = np.arange(self.n_rows)
            else:
                bits = np.random.Philox(key=np.array([self.seed, epoch], dtype=np.uint64))
                order = np.random.Generator(bits).permutation(self.n_rows)
            self._order = (epoch, order)
        return self._order[1]


def _random_bits(seed: int, counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """64 random bits for each counter: splitmix64 (Steele et al., 2014), which can start anywhere."""
    x = (counter + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(_hash_int(seed))
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _hash_int(seed: int) -> int:
    # Seeds 0, 1, 2 must not give streams that are shifts of each other.
    x = (seed * 0xD1342543DE82EF95 + 0x2545F4914F6CDD1D) & 0xFFFFFFFFFFFFFFFF
    x = ((x ^ (x >> 32)) * 0xD6E8FEB86659FD93) & 0xFFFFFFFFFFFFFFFF
    return x ^ (x >> 32)


def _batch(inputs: NDArray[np.int64], labels: NDArray[np.int64], segments: NDArray[np.int64] | None = None) -> Batch:
    import torch

    arrays = (inputs, labels) if segments is None else (inputs, labels, segments)
    return Batch(*(torch.from_numpy(np.ascontiguousarray(x, dtype=np.int64)) for x in arrays))
