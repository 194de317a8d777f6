"""A text given in pieces, each encoded as what follows the pieces before it, with no token across a border.

What a model is asked ends where its answer begins, so a token never joins the end of a question with the beginning of
the answer: a model that trained on such tokens would be asked in others. `T(p1, ..., pn)` begins with
`T(p1, ..., pk)` for every k; the rest is as close to the ids of the whole text as that allows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from .base import Tokenizer

_TAIL = 32  # characters before a piece that it is encoded after: longer than most special tokens
_NEUTRAL = "\n"  # what no tokenizer joins with a letter


def encode_texts(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text; a control token spelt in it (`<|im_end|>`) is that token, whatever the tokenizer."""
    control = tokenizer.control_tokens
    if tokenizer.finds_control_tokens or not control:
        return tokenizer.encode_batch(texts)
    pattern = control_pattern(tokenizer)
    parts = [pattern.split(text) for text in texts]  # text, control token, text, ...
    plain = iter(tokenizer.encode_batch([part for split in parts for part in split[::2]]))
    found: list[list[int]] = []
    for split in parts:
        ids: list[int] = []
        for i, part in enumerate(split):
            ids += [control[part]] if i % 2 else next(plain)
        found.append(ids)
    return found


def control_pattern(tokenizer: Tokenizer) -> re.Pattern[str]:
    """A regular expression whose one group is any control token, the longest first; it matches nothing if none is."""
    tokens = sorted(tokenizer.control_tokens, key=len, reverse=True)
    return re.compile(f"({'|'.join(map(re.escape, tokens))})" if tokens else "((?!))")


def encode_pieces(tokenizer: Tokenizer, texts: Sequence[Sequence[str]]) -> list[list[list[int]]]:
    """The ids of each piece of each text.

    A piece is encoded behind the end of what comes before it, whose own ids are then taken away. Where the two would
    share a token it is encoded behind a line end, and where that fails too, alone.
    """
    before: list[str] = []
    pieces: list[str] = []
    for text in texts:
        done = ""
        for piece in text:
            before.append(done[-_TAIL:])
            pieces.append(piece)
            done += piece
    contexts = {tail: tuple(ids) for tail, ids in _encode_all(tokenizer, {*before, _NEUTRAL}).items()}
    found: list[list[int] | None] = [None] * len(pieces)
    for attempt in (before, [_NEUTRAL] * len(pieces), [""] * len(pieces)):
        todo = [i for i, ids in enumerate(found) if ids is None]
        encoded = encode_texts(tokenizer, [attempt[i] + pieces[i] for i in todo])
        for i, ids in zip(todo, encoded, strict=True):
            context = contexts[attempt[i]] if attempt[i] else ()
            if tuple(ids[: len(context)]) == context:
                found[i] = ids[len(context) :]
    taken = iter(found)
    return [[next(taken) or [] for _ in text] for text in texts]


def _encode_all(tokenizer: Tokenizer, texts: set[str]) -> dict[str, list[int]]:
    listed = sorted(texts)
    return dict(zip(listed, encode_texts(tokenizer, listed), strict=True))
