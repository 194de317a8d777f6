"""Encoding with a `tokenizers` tokenizer as fast as the text allows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer


class Engine:
    """Ids of normalised text, without special tokens."""

    def __init__(self, inner: HFTokenizer) -> None:
        self._inner = inner

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Texts -> one uint32 array of ids each."""
        found = self._inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in found]
