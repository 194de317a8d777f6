"""Bytes of UTF-8 as ids: 256 of them and `<|endoftext|>`. Knows every text, needs nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .base import Tokenizer
from .export import Exported, of_ranks

END_OF_TEXT = 256
END_TEXT = "<|endoftext|>"


class ByteTokenizer(Tokenizer):
    """id = the byte; 256 is `<|endoftext|>`."""

    kind = "byte"
    name = "byte"
    vocab_size = 257
    eos_id = END_OF_TEXT
    bos_id = END_OF_TEXT
    mask_id = ord("_")
    splittable = True

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(_utf8(text))

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        return [np.frombuffer(_utf8(text), dtype=np.uint8) for text in texts]

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return bytes(i for i in ids if i < 256).decode("utf-8", errors="replace")

    @property
    def named_tokens(self) -> dict[str, str]:
        return {"bos_token": END_TEXT, "eos_token": END_TEXT}

    @property
    def control_tokens(self) -> dict[str, int]:
        return {END_TEXT: END_OF_TEXT}

    def description(self) -> dict[str, Any]:
        return {"end_of_text": END_OF_TEXT}

    def _exported(self) -> Exported:
        return of_ranks({bytes([byte]): byte for byte in range(256)}, None, {END_TEXT: END_OF_TEXT}, END_TEXT)


def _utf8(text: str) -> bytes:
    # A lone surrogate is no character: U+FFFD, as the other tokenizers make of it.
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode("utf-8")
