"""Where a text may be cut so that the halves, encoded apart, give the ids of the whole.

The patterns of GPT-2, cl100k_base, o200k_base and their kin start a new word between a letter and a space or line end,
and what they made of the text before such a point does not depend on what comes after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .corpus import Piece

CUT = re.compile(r"(?<=[a-z])(?=[ \n])")
PIECE_CHARS = 1 << 16


def cut(text: str, size: int = PIECE_CHARS) -> list[str]:
    """`text` in parts of about `size` characters, cut at safe points only; a text without one stays whole."""
    if len(text) <= size * 3 // 2:
        return [text]
    parts: list[str] = []
    start = 0
    while len(text) - start > size * 3 // 2:
        found = CUT.search(text, start + size)
        if found is None:
            break
        parts.append(text[start : found.start()])
        start = found.start()
    parts.append(text[start:])
    return parts


def cut_pieces(pieces: Iterable[Piece], size: int = PIECE_CHARS) -> Iterator[Piece]:
    """The same text in pieces that may be encoded apart."""
    held = ""
    for text, ends in pieces:
        parts = cut(held + text, size)
        held = "" if ends else parts.pop()
        for i, part in enumerate(parts):
            yield part, ends and i == len(parts) - 1


def join_pieces(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Whole documents, for a tokenizer that needs them whole."""
    parts: list[str] = []
    for text, ends in pieces:
        parts.append(text)
        if ends:
            yield "".join(parts), True
            parts = []


def split_at(pieces: Iterable[Piece], characters: int) -> Iterator[Piece]:
    """One document made two: the first ends after so many characters."""
    seen = 0
    for text, ends in pieces:
        here = characters - seen
        if 0 < here <= len(text):
            yield text[:here], True
            if text[here:] or ends:
                yield text[here:], ends
        else:
            yield text, ends
        seen += len(text)
