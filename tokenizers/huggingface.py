"""A tokenizer of the `tokenizers` library with the manner that a checkpoint's settings give it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .base import Tokenizer
from .batch import Row, Side
from .engine import Engine
from .export import Exported, write_files

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as HFTokenizer

# What is put right after " .": the spaces that word-pieces are joined with (transformers, clean_up_tokenization).
_CLEAN_UP = ((" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"))
_CLEAN_UP += ((" 's", "'s"), (" 've", "'ve"), (" 're", "'re"))


@dataclass(frozen=True)
class Manner:
    """How a tokenizer is used, beyond which ids it gives. `split_special`: special tokens in the text are text."""

    max_length: int | None = None
    padding_side: Side = "right"
    truncation_side: Side = "right"
    token_types: bool = False
    clean_up: bool = False
    split_special: bool = False
    chat_template: str | dict[str, str] | None = None


class HuggingFaceTokenizer(Tokenizer):
    """A tokenizer of the `tokenizers` library; its ids are those that transformers gives with the same files.

    As there, the text of a special token is that token. `special` maps bos, eos, unk, sep, pad, cls, mask to texts.
    """

    kind = "huggingface"

    def __init__(self, inner: HFTokenizer, special: dict[str, str], name: str, manner: Manner | None = None) -> None:
        # Files often carry the length one fine-tuning job cut and padded its texts to.
        inner.no_truncation()
        inner.no_padding()
        self._manner = manner = manner or Manner()
        inner.encode_special_tokens = manner.split_special
        self._inner = inner
        self._special = special
        self._engine = Engine(inner)
        self._cutting = threading.Lock()
        self.name = name
        self.vocab_size = 1 + max(inner.get_vocab().values())
        self.splittable = self._engine.splittable
        ids = {key: inner.token_to_id(token) for key, token in special.items()}
        self.cls_id, self.sep_id = ids.get("cls"), ids.get("sep")
        self.bos_id, self.eos_id = ids.get("bos", self.cls_id), ids.get("eos", self.sep_id)
        self.pad_id, self.unk_id = ids.get("pad"), ids.get("unk")
        self.mask_id = ids["mask"] if "mask" in ids else inner.token_to_id("_")
        self.max_length, self.token_types = manner.max_length, manner.token_types
        self.padding_side, self.truncation_side = manner.padding_side, manner.truncation_side
        self.chat_template = manner.chat_template
        self._clean_up = manner.clean_up and type(inner.model).__name__ != "BPE"  # in a BPE the spaces are the text's

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self._inner.encode(_valid(text), add_special_tokens=add_special_tokens).ids

    def encode_batch(self, texts: Sequence[str], add_special_tokens: bool = False) -> list[list[int]]:
        if not add_special_tokens:
            return super().encode_batch(texts)
        found = self._inner.encode_batch_fast([_valid(text) for text in texts], add_special_tokens=True)
        return [encoding.ids for encoding in found]

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        return self._engine.encode_arrays([_valid(text) for text in texts])

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        text = self._inner.decode(list(ids), skip_special_tokens=skip_special_tokens)
        if self._clean_up:
            for untidy, tidy in _CLEAN_UP:
                text = text.replace(untidy, tidy)
        return text

    def _added_tokens(self, pair: bool) -> int:
        return self._inner.num_special_tokens_to_add(pair)

    def _rows(
        self, texts: Sequence[str], pairs: Sequence[str] | None, max_length: int | None, side: Side, special: bool
    ) -> list[Row]:
        first = [_valid(text) for text in texts]
        rows: Any = first if pairs is None else list(zip(first, (_valid(text) for text in pairs), strict=True))
        with self._cutting:  # the length is a state of the whole tokenizer
            if max_length is not None:
                self._inner.enable_truncation(max_length, strategy="longest_first", direction=side)
            try:
                found: list[Encoding] = self._inner.encode_batch_fast(rows, add_special_tokens=special)
            finally:
                self._inner.no_truncation()
        return [(encoding.ids, encoding.type_ids) for encoding in found]

    @property
    def named_tokens(self) -> dict[str, str]:
        return {f"{key}_token": text for key, text in self._special.items()}

    @property
    def control_tokens(self) -> dict[str, int]:
        added = self._inner.get_added_tokens_decoder()  # in some files runs of spaces are among them
        return {token.content: i for i, token in added.items() if token.content.strip()}

    @property
    def finds_control_tokens(self) -> bool:
        return not self._manner.split_special

    def description(self) -> dict[str, Any]:
        split = {"split_special": True} if self._manner.split_special else {}
        return {"tokenizer": self._inner.to_str(), "special": self._special, **split}

    def _card(self) -> dict[str, Any]:
        return {"special": self._special, "manner": asdict(self._manner)}

    def _save_files(self, folder: Path) -> None:
        write_files(self.exported(), folder)

    def _exported(self) -> Exported:
        return Exported(self._inner, self._special, asdict(self._manner))


def _valid(text: str) -> str:
    """The text with lone surrogates made U+FFFD, which UTF-8 can hold."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
