"""Labelled texts as rows of ids by the tokenizer's own template, whole, cut, or a random stretch an epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...tokenizers.base import Tokenizer
from ..rows import Row, RowSampler
from .bad_rows import BadRows
from .examples import Example

OVERFLOWS = ("error", "truncate", "drop")
_AT_ONCE = 2_000  # texts whose ids are Python lists at the same time


@dataclass(frozen=True)
class Encoded:
    """The rows that are used, which of the examples they are, and how long each was before anything was cut.

    `lengths` has those of too long rows that were dropped as well.
    """

    rows: list[Row]
    kept: list[int]
    lengths: list[int]


def fit(
    examples: Sequence[Example],
    classes: Sequence[int],
    tokenizer: Tokenizer,
    max_length: int,
    bad: BadRows,
    on_overflow: str = "truncate",
) -> Encoded:
    """The rows, none longer than `max_length`: those that are cut, dropped or refused; `bad` is told of empty ones.

    Special tokens are those of the tokenizer's template ([CLS] .. [SEP], <s> .. </s>, or none); a row that is too long
    loses tokens at the tokenizer's own side, of a pair the longer text first, and never a special token.

    Raises:
        UserError: a row is refused, or the special tokens alone do not fit.
    """
    rows: list[Row] = []
    kept: list[int] = []
    lengths: list[int] = []
    longest = (0, "")
    for start in range(0, len(examples), _AT_ONCE):
        some = examples[start : start + _AT_ONCE]
        found = _encode(tokenizer, some, None)
        long = [i for i, (ids, _) in enumerate(found) if len(ids) > max_length]
        lengths += [len(ids) for ids, _ in found if len(ids)]
        longest = max([longest, *((len(found[i][0]), some[i].where) for i in long)])
        if on_overflow == "truncate":
            for i, cut in zip(long, _encode(tokenizer, [some[i] for i in long], max_length), strict=True):
                found[i] = cut
        for i, (example, (ids, types)) in enumerate(zip(some, found, strict=True)):
            bad.rows += 1
            if not len(ids):
                bad.add(f"{example.where}: the tokenizer {tokenizer.name} makes no token of the text")
            elif len(ids) <= max_length:
                kinds = np.array(types, np.int32) if tokenizer.token_types and any(types) else None
                rows.append(Row(np.array(ids, np.int32), int(classes[start + i]), kinds, example.where))
                kept.append(start + i)
    if longest[0] and on_overflow == "error":
        over = sum(length > max_length for length in lengths)
        raise UserError(
            f"{longest[1]} has {longest[0]:,} tokens, and {max_length:,} fit into a row; so it is with {over:,} of "
            f"{len(examples):,} rows: raise trainer.max_seq_length, or set dataset.on_overflow to truncate or drop"
        )
    return Encoded(rows, kept, lengths)


def encode(
    examples: Sequence[Example], classes: Sequence[int], tokenizer: Tokenizer, max_length: int
) -> tuple[list[Row], list[int]]:
    """A row for each example, cut to `max_length`, and how long each was. Raises UserError for one without tokens."""
    bad = BadRows(drop=False, remedy="delete them")
    encoded = fit(examples, classes, tokenizer, max_length, bad)
    bad.settle(tokenizer.name)
    return encoded.rows, encoded.lengths


def _encode(tokenizer: Tokenizer, examples: Sequence[Example], max_length: int | None) -> list[Any]:
    if not examples:
        return []
    texts = [example.text for example in examples]
    pairs = [example.pair or "" for example in examples] if examples[0].pair is not None else None
    return tokenizer.rows(texts, pairs, max_length=max_length)


# --- random stretches ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stretches:
    """What random stretches are drawn from: the whole text's ids without special tokens, and those around them."""

    bodies: list[NDArray[np.int32]]
    before: tuple[int, ...]
    after: tuple[int, ...]


def encode_bodies(examples: Sequence[Example], tokenizer: Tokenizer) -> Stretches:
    """The whole texts. Raises UserError for pairs of texts, of which no one stretch can be taken."""
    if any(example.pair is not None for example in examples):
        raise UserError("dataset.random_crop takes a stretch of one text, and these are pairs of texts: leave it out")
    bodies: list[NDArray[np.int32]] = []
    for start in range(0, len(examples), _AT_ONCE):
        found = tokenizer.encode_arrays([example.text for example in examples[start : start + _AT_ONCE]])
        bodies += [np.asarray(ids, np.int32) for ids in found]
    body, framed = tokenizer.encode("a"), list(tokenizer.rows(["a"])[0][0])
    for start in range(len(framed) - len(body) + 1):
        if framed[start : start + len(body)] == body:
            return Stretches(bodies, tuple(framed[:start]), tuple(framed[start + len(body) :]))
    raise UserError(f"dataset.random_crop: the tokenizer {tokenizer.name} changes a text that it frames: leave it out")


class CroppedRows(RowSampler):
    """A RowSampler in which each epoch shows a random stretch of each text: a function of seed, epoch and row.

    A stretch has at least the share `keep` of the text's tokens, as far as they fit into `context`, and the special
    tokens around it. Batches are grouped by the lengths of the whole rows. Source: random cropping as regularisation
    of the input, the counterpart of Krizhevsky et al., 2012, section 4.1, for text.
    """

    def __init__(
        self, rows: Sequence[Row], *arguments: Any, stretches: Stretches, keep: float, **settings: Any
    ) -> None:
        super().__init__(rows, *arguments, **settings)
        if not 0 < keep <= 1:
            raise UserError(f"dataset.random_crop is {keep:g}: the share of a text that stays is above 0 and at most 1")
        if len(stretches.bodies) != len(rows):
            raise UserError(f"{len(rows)} rows and {len(stretches.bodies)} texts to crop: must be as many")
        self.stretches, self.keep = stretches, keep

    def row(self, number: int, epoch: int) -> Row:
        whole, body = self.rows[number], self.stretches.bodies[number]
        before, after = self.stretches.before, self.stretches.after
        room = self.context - len(before) - len(after)
        # The counter, not the state, tells rows apart: any row of any epoch at once.
        key = np.array([self.seed, epoch], dtype=np.uint64)
        random = np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, 1, number], dtype=np.uint64)))
        shortest = max(1, int(np.ceil(self.keep * len(body))))
        length = min(int(random.integers(shortest, max(shortest, len(body)) + 1)), len(body), room)
        start = int(random.integers(0, len(body) - length + 1))
        ids = np.concatenate([np.array(before, np.int32), body[start : start + length], np.array(after, np.int32)])
        return Row(ids, whole.labels, None, whole.where)
