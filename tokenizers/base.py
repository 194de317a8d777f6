"""The one interface every tokenizer here has: text -> ids and back, batches, special ids, a fingerprint, save."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UserError
from .batch import Row, Side, TokenBatch, cut, longest_first, pad

if TYPE_CHECKING:
    from .export import Exported

SAVED_NAME = "tokenizer.groundup.json"
"""The file that says, in a saved folder, which tokenizer lies there."""


class Tokenizer(ABC):
    """Text to ids and back.

    `bos_id` and `eos_id` begin and end a document (where a tokenizer names none, its `cls_id` and `sep_id` do),
    `mask_id` is what `next_token_mlm` puts in place of a token; each special id may be None. `max_length` is the
    longest text the tokenizer's model takes, as the checkpoint says; nothing is cut to it unasked.
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
    unk_id: int | None = None
    cls_id: int | None = None
    sep_id: int | None = None
    max_length: int | None = None
    padding_side: Side = "right"
    truncation_side: Side = "right"
    token_types: bool = False
    chat_template: str | dict[str, str] | None = None
    splittable: bool = False

    @abstractmethod
    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        """Text -> ids. `add_special_tokens` adds what the tokenizer's own template adds (nothing, for most)."""

    @abstractmethod
    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """Ids -> text; bytes that are no UTF-8 become U+FFFD. `skip_special_tokens` leaves out `</s>` and the like."""

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[list[int]]:
        """Many texts -> their ids, in parallel where the tokenizer can."""
        if not add_special_tokens:
            return [ids.tolist() for ids in self.encode_arrays(texts)]
        return [self.encode(text, add_special_tokens=True) for text in texts]

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """As `encode_batch`, into unsigned arrays: what the tokenising of a corpus uses."""
        return [np.array(self.encode(text), dtype=np.uint32) for text in texts]

    def batch(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        truncation: Side | None = None,
        padding: Side | None = None,
        multiple_of: int = 1,
        add_special_tokens: bool = True,
    ) -> TokenBatch:
        """Texts, or texts and their pairs, as one rectangle (B, T) with its attention mask and token types.

        Rows longer than `max_length` are cut at the side `truncation`, the longer of a pair first; None cuts nothing.
        All are filled to the longest, rounded up to `multiple_of`, at the side `padding`, with `pad_id` (without one,
        with `eos_id` or 0: the mask says what is padding, the id does not). The sides are the tokenizer's own where
        none is named. Raises UserError where the special tokens alone do not fit, or for a pair too many or too few.
        """
        rows = self.rows(
            texts, pairs, max_length=max_length, truncation=truncation, add_special_tokens=add_special_tokens
        )
        fill = next((i for i in (self.pad_id, self.eos_id) if i is not None), 0)
        return pad(rows, fill, padding or self.padding_side, multiple_of, self.token_types)

    def rows(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        *,
        max_length: int | None = None,
        truncation: Side | None = None,
        add_special_tokens: bool = True,
    ) -> list[Row]:
        """The ids and the token types of each text or pair, cut as `batch` cuts them; raises what it raises."""
        if isinstance(texts, str) or isinstance(pairs, str):
            raise UserError("a batch is made of a list of texts, and one text was given: put it in a list")
        if pairs is not None and len(pairs) != len(texts):
            raise UserError(
                f"a batch of pairs needs a second text for each first: {len(texts)} texts, {len(pairs)} pairs"
            )
        added = self._added_tokens(pairs is not None) if add_special_tokens else 0
        if max_length is not None and max_length <= added:
            raise UserError(
                f"max_length is {max_length}, and the tokenizer {self.name} adds {added} tokens of its own: "
                f"set it to {added + 1} or more"
            )
        return self._rows(texts, pairs, max_length, truncation or self.truncation_side, add_special_tokens)

    def _added_tokens(self, pair: bool) -> int:
        """How many tokens the template adds to a text, or to a pair."""
        return 0

    def _rows(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int | None, side: Side, special: bool
    ) -> list[Row]:
        """The ids and the token types of each text or pair. Without a template a pair is one text after the other."""
        first = self.encode_batch(texts)
        second = self.encode_batch(pairs) if pairs is not None else [[] for _ in texts]
        rows: list[Row] = []
        for a, b in zip(first, second, strict=True):
            room = (len(a), len(b)) if max_length is None else longest_first(len(a), len(b), max_length)
            ids = [*cut(a, room[0], side), *cut(b, room[1], side)]
            rows.append((ids, [0] * len(ids)))
        return rows

    @property
    def named_tokens(self) -> dict[str, str]:
        """What a chat template sees of the special tokens: `bos_token`, `eos_token`, ... -> its text."""
        return {}

    @property
    def control_tokens(self) -> dict[str, int]:
        """Texts that are one token of their own, which no other text gives -> its id: `<s>`, `<|im_end|>`, ..."""
        return {}

    @property
    def finds_control_tokens(self) -> bool:
        """Whether `encode` makes its id of such a text; else it is text like any other."""
        return False

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
        if self.chat_template is not None:
            card["chat_template"] = self.chat_template
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._save_files(folder)
            # Last, since it says that the rest is there.
            (folder / SAVED_NAME).write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise UserError(f"cannot save the tokenizer in {folder}: {error.strerror or error}") from None

    def save_hf(self, directory: str | Path) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json: transformers' AutoTokenizer reads
        them and gives the same ids, and so does `load_tokenizer`.

        Raises UserError where the folder cannot be written, or where no tokenizer.json can say what the tokenizer does.
        """
        from .export import write_files

        write_files(self.exported(), Path(directory))

    def exported(self) -> Exported:
        """What `save_hf` writes. With a chat template, transformers has to find the control tokens in its text."""
        exported = self._exported()
        chat = {} if self.chat_template is None else {"chat_template": self.chat_template, "split_special": False}
        return replace(exported, manner={**exported.manner, **chat})

    def _exported(self) -> Exported:
        """The same, the chat template apart."""
        raise UserError(
            f"the tokenizer {self.name} cannot be written as a tokenizer.json: no file can say what it does"
        )

    def _card(self) -> dict[str, Any]:
        """What `tokenizer.groundup.json` says of this kind of tokenizer."""
        return {}

    def _save_files(self, folder: Path) -> None:  # noqa: B027 (most need no file)
        """Write what does not fit there."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, vocab_size={self.vocab_size})"
