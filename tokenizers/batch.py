"""Rows of ids as one rectangle: cut to a length, filled up on one side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Side = Literal["left", "right"]
Row = tuple[Sequence[int], Sequence[int]]
"""The ids of a text or a pair of texts, and the token type of each."""


@dataclass(frozen=True)
class TokenBatch:
    """Texts as a model takes them, int64; `torch.from_numpy` shares the memory."""

    input_ids: NDArray[np.int64]
    """(B, T)"""
    attention_mask: NDArray[np.int64]
    """(B, T): 1 a token, 0 padding"""
    token_type_ids: NDArray[np.int64] | None
    """(B, T): 0 the first text, 1 the second; None where the tokenizer's models know no types"""


def pad(rows: Sequence[Row], fill: int, side: Side, multiple: int, types: bool) -> TokenBatch:
    """Rows of any lengths -> (B, T), T the longest of them rounded up to a multiple of `multiple`."""
    longest = max((len(ids) for ids, _ in rows), default=0)
    shape = len(rows), -(-longest // multiple) * multiple
    input_ids = np.full(shape, fill, dtype=np.int64)  # (B, T)
    attention_mask, token_types = np.zeros((2, *shape), dtype=np.int64)  # (B, T) each
    for row, (ids, kinds) in enumerate(rows):
        place = slice(len(ids)) if side == "right" else slice(shape[1] - len(ids), None)
        input_ids[row, place], attention_mask[row, place], token_types[row, place] = ids, 1, kinds
    return TokenBatch(input_ids, attention_mask, token_types if types else None)


def cut(ids: Sequence[int], length: int, side: Side) -> Sequence[int]:
    """At most `length` ids; those at `side` go."""
    return ids[:length] if side == "right" else ids[len(ids) - min(length, len(ids)) :]


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How much of two texts of `first` and `second` ids fits into `room`: the longer gives way until both are equal.

    As `tokenizers` does it (utils/truncation.rs): of an odd rest the longer text keeps one more.
    """
    short, long = sorted((first, second))
    long = max(short, room - short)
    if short + long > room:
        short, long = room // 2, room // 2 + room % 2
    return (short, long) if first <= second else (long, short)
