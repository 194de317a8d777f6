"""The one interface every tokenizer here has: text -> ids and back, special ids, a fingerprint, save."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError

SAVED_NAME = "tokenizer.groundup.json"
"""The file that says, in a saved folder, which tokenizer lies there."""


class Tokenizer(ABC):
    """Text to ids and back.

    `eos_id` ends a document, `mask_id` is what `next_token_mlm` puts in place of a token; either may be None.
    `splittable` promises that encoding two halves of a text, cut where `cut_points.py` allows it, gives the
    ids of the whole: long documents are then encoded in parallel.
    """

    kind: str
    name: str
    vocab_size: int
    eos_id: int | None = None
    bos_id: int | None = None
    pad_id: int | None = None
    mask_id: int | None = None
    splittable: bool = False

    @abstractmethod
    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Text -> ids. `add_special_tokens` adds what the tokenizer's own template adds (nothing, for most)."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Ids -> text; bytes that are no UTF-8 become U+FFFD."""

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[list[int]]:
        """Many texts -> their ids, in parallel where the tokenizer can."""
        if not add_special_tokens:
            return [ids.tolist() for ids in self.encode_arrays(texts)]
        return [self.encode(text, add_special_tokens=True) for text in texts]

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """As `encode_batch`, into unsigned arrays: what the tokenising of a corpus uses."""
        return [np.array(self.encode(text), dtype=np.uint32) for text in texts]

    def normalize(self, text: str) -> str:
        """The text that the ids stand for, where the tokenizer drops part of it on purpose."""
        return text

    @abstractmethod
    def description(self) -> dict[str, Any]:
        """Everything that changes an id, JSON-able: the fingerprint is its hash."""

    @cached_property
    def fingerprint(self) -> str:
        """A hash of everything that changes the ids; equal fingerprints give equal ids."""
        text = json.dumps({"kind": self.kind, **self.description()}, sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def save(self, directory: str | Path) -> None:
        """Write what `load_tokenizer(directory)` needs to give the same ids, without network or cache.

        Raises UserError where the folder cannot be written.
        """
        folder = Path(directory)
        card = {"kind": self.kind, "name": self.name, **self._card(), "fingerprint": self.fingerprint}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._save_files(folder)
            # Last, since it says that the rest is there.
            (folder / SAVED_NAME).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot save the tokenizer in {folder}: {error.strerror or error}") from None

    def _card(self) -> dict[str, Any]:
        """What `tokenizer.groundup.json` says of this kind of tokenizer."""
        return {}

    def _save_files(self, folder: Path) -> None:  # noqa: B027 (most need no file)
        """Write what does not fit there."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, vocab_size={self.vocab_size})"
