"""One id a character, for the characters of one corpus: the vocabulary of tiny Shakespeare has 65 of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .base import Tokenizer
from .export import Exported, of_characters

MAX_CHARACTERS = 65536
MISSING = np.iinfo(np.uint32).max


class CharTokenizer(Tokenizer):
    """ids number the sorted characters, as nanoGPT does; there are no special tokens.

    Raises UserError for a character the vocabulary lacks.
    """

    kind = "char"
    name = "char"
    splittable = True

    def __init__(self, characters: str) -> None:
        if not characters:
            raise UserError("a character vocabulary needs at least one character, and the corpus has none")
        if len(set(characters)) != len(characters):
            raise UserError("a character vocabulary names some character twice")
        self.characters = characters
        self.vocab_size = len(characters)
        self.mask_id = characters.index("_") if "_" in characters else None

    @cached_property
    def _table(self) -> NDArray[np.uint32]:
        """(largest code point + 1,): code point -> id, MISSING where there is none."""
        codes = np.frombuffer(self.characters.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        table = np.full(int(codes.max()) + 1, MISSING, dtype=np.uint32)
        table[codes] = np.arange(len(codes), dtype=np.uint32)
        return table

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self._encode(text).tolist()

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> NDArray[np.uint32]:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        table = self._table
        ids = table[np.minimum(codes, len(table) - 1)]
        unknown = (codes >= len(table)) | (ids == MISSING)
        if unknown.any():
            character = text[int(unknown.argmax())]
            raise UserError(
                f"the character {character!r} (U+{ord(character):04X}) is not among the {self.vocab_size} of this "
                "character tokenizer: build it on a corpus that holds it, or use tokenizer_type: byte"
            )
        return ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return "".join(self.characters[i] for i in ids)

    def description(self) -> dict[str, Any]:
        return {"characters": self.characters}

    def _exported(self) -> Exported:
        return of_characters(self.characters)

    def _card(self) -> dict[str, Any]:
        return {"characters": self.characters}


def build_char_tokenizer(documents: Iterable[str]) -> CharTokenizer:
    """The tokenizer of every character in `documents`. Raises UserError for an empty corpus."""
    characters: set[str] = set()
    for document in documents:
        characters.update(document)
        if len(characters) > MAX_CHARACTERS:
            raise UserError(f"the corpus has more than {MAX_CHARACTERS} different characters: use tokenizer_type: byte")
    return CharTokenizer("".join(sorted(characters)))
