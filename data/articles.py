"""Lines as running text: joined, or parted where an article of WikiText begins.

WikiText comes a line a row. An article's title stands between single equals signs (` = Title = `) behind an empty
line, those of its sections between more of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from .corpus import Piece

_TITLE = re.compile(r"\s*= [^=\s](.*[^=\s])? =\s*")
_PIECE_CHARS = 1 << 16  # joined lines are handed on in pieces of this size: each costs some work


def joined(lines: Iterable[str]) -> Iterator[Piece]:
    """All lines as one document."""
    held, parts, size = "", list[str](), 0
    for line in map(as_line, lines):
        parts.append(line)
        size += len(line)
        if size >= _PIECE_CHARS:
            if held:
                yield held, False
            held, parts, size = "".join(parts), [], 0
    if text := held + "".join(parts):
        yield text, True


def articles(lines: Iterable[str]) -> Iterator[str]:
    """A document from each title to the next, empty lines kept; the empty ones before the first are left out."""
    parts: list[str] = []
    after_empty = True
    for line in map(as_line, lines):
        if after_empty and is_title(line):
            yield from _if_any("".join(parts))
            parts = []
        parts.append(line)
        after_empty = not line.strip()
    yield from _if_any("".join(parts))


def _if_any(text: str) -> Iterator[str]:
    if text.strip():
        yield text


def is_title(line: str) -> bool:
    """Whether a line is an article's title."""
    return _TITLE.fullmatch(line) is not None


def as_line(text: str) -> str:
    """A line with its end."""
    return text if text.endswith("\n") else text + "\n"


def are_lines(first: list[str]) -> bool:
    """Whether rows that begin so are WikiText's lines: nothing, then a title."""
    texts = [text for text in first if text.strip()]
    return bool(texts) and len(texts) < len(first) and is_title(texts[0])
