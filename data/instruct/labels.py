"""Pieces of text -> ids and labels; what is too long is refused, cut or dropped, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...errors import UserError
from ...tokenizers.pieces import encode_pieces
from ..rows import Row
from ..sampling import IGNORE
from .chat import Chat, Rendered

OVERFLOWS = ("error", "truncate", "drop")
_CHUNK = 256  # rows encoded at once, in parallel: progress shows between two chunks


@dataclass(frozen=True)
class Tokenised:
    """A row of any length: its ids, and whether each is to be produced by the model."""

    ids: NDArray[np.int32]
    """(T,)"""
    is_target: NDArray[np.bool_]
    """(T,)"""
    where: str


@dataclass(frozen=True)
class Counts:
    """What became of the rows. `lengths` and `targets` (N,) are from before anything was cut or dropped."""

    lengths: NDArray[np.int64]
    targets: NDArray[np.int64]
    kept: NDArray[np.int64]
    """lengths of the rows that are trained on"""
    kept_targets: int
    cut: int
    dropped: int
    ended: int
    """answers that keep their stop token"""
    unended: int
    """answers that are cut before it"""


def tokenise_rows(chat: Chat, rendered: Sequence[Rendered], *, progress: bool, what: str) -> list[Tokenised]:
    """The ids of each row, the targets by its pieces. Raises UserError for an answer that no stop token ends."""
    from tqdm import tqdm

    found: list[Tokenised] = []
    stops = set(chat.stop_ids)
    with tqdm(total=len(rendered), unit=" rows", desc=f"tokenising {what}", disable=not progress, leave=False) as bar:
        for start in range(0, len(rendered), _CHUNK):
            chunk = rendered[start : start + _CHUNK]
            for row, pieces in zip(chunk, encode_pieces(chat.tokenizer, [row.pieces for row in chunk]), strict=True):
                lengths = [len(ids) for ids in pieces]
                for ids, trained in zip(pieces, row.trained, strict=True):
                    if trained and (not ids or ids[-1] not in stops):
                        raise UserError(
                            f"{row.where}: an answer does not end in the stop token {chat.stop!r} once it is "
                            f"tokenised: the tokenizer {chat.tokenizer.name} does not know it as one token"
                        )
                ids = np.array([i for piece in pieces for i in piece], dtype=np.int32)
                found.append(Tokenised(ids, np.repeat(row.trained, lengths).astype(bool), row.where))
            bar.update(len(chunk))
    return found


def fit(
    rows: Sequence[Tokenised], max_length: int, on_overflow: str, on_bad_row: str
) -> tuple[list[Row], Counts, str | None]:
    """Rows of at most `max_length` tokens with their labels, the counts, and the first row left without a target.

    Raises UserError for a row that is too long, or without a target once it is cut, unless told to drop it.
    """
    lengths = np.array([len(row.ids) for row in rows], dtype=np.int64)
    targets = np.array([int(row.is_target.sum()) for row in rows], dtype=np.int64)
    over = lengths > max_length
    if over.any() and on_overflow == "error":
        worst = int(lengths.argmax())
        raise UserError(
            f"{rows[worst].where} has {lengths[worst]:,} tokens, and {max_length:,} fit into a row; so it is with "
            f"{over.sum():,} of {len(rows):,} rows: raise trainer.max_seq_length, or set dataset.on_overflow to "
            "truncate or drop"
        )
    kept: list[Row] = []
    emptied: list[Tokenised] = []
    ended = unended = cut = 0
    for row, is_over in zip(rows, over, strict=True):
        if is_over and on_overflow == "drop":
            continue
        labels = np.append(np.where(row.is_target, row.ids, IGNORE)[1:], IGNORE).astype(np.int32)[:max_length]
        if not (labels != IGNORE).any():
            emptied.append(row)
            continue
        # The label of the last place is the token after it, which is known though it is cut off.
        ended += int((row.is_target & ~np.append(row.is_target[1:], False))[: max_length + 1].sum())
        unended += int(is_over and row.is_target[max_length] and _goes_on(row, max_length))
        cut += int(is_over)
        kept.append(Row(row.ids[:max_length], labels, where=row.where))
    if emptied and on_bad_row == "error":
        raise UserError(
            f"{emptied[0].where} has no target left once it is cut to {max_length:,} tokens, its question alone is as "
            f"long; so it is with {len(emptied):,} rows: raise trainer.max_seq_length, or set dataset.on_bad_row to "
            "drop"
        )
    counts = Counts(
        lengths,
        targets,
        np.array([len(row.ids) for row in kept], dtype=np.int64),
        sum(row.n_targets for row in kept),
        cut,
        len(rows) - len(kept),
        ended,
        unended,
    )
    return kept, counts, emptied[0].where if emptied else None


def _goes_on(row: Tokenised, at: int) -> bool:
    """Whether the answer that is cut at a place has more to it than the token of that place, a target still."""
    return at + 1 < len(row.ids) and bool(row.is_target[at + 1])
