"""A `tokenizers` tokenizer, encoding large amounts of text by tiktoken where that gives the same ids.

Both merge, again and again, the adjacent pair of lowest rank, leftmost first. `tokenizers` looks a pair up in its list
of merges, tiktoken asks whether the joined bytes are a token. They agree on every word when

1. each merge makes a token no other merge makes, so that merges can be numbered as ranks, and
2. every token's own bytes, encoded alone by the merges, give that token.

Suppose they first part where tiktoken joins x and y to a token t and (x, y) is no merge. Nothing has crossed the ends
of xy so far, so within it both did what they do on the bytes of t alone: there, too, the merges arrive at x, y, and by
2. they go on to t, by a merge of x and y. So (x, y) is one. Both conditions are checked before the twin is used.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tiktoken import Encoding
    from tokenizers import Tokenizer as HFTokenizer

# Building the twin costs as much as encoding this much text.
WORTHWHILE_CHARS = 1 << 20

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""GPT-2's words: merges never cross their borders."""
GPT2_DIGITS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The same with every digit on its own."""
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
GPT4 = _HEAD + r"\p{N}{1,3}" + _TAIL
QWEN = _HEAD + r"\p{N}" + _TAIL
_START, _UPPER, _LOWER = r"[^\r\n\p{L}\p{N}]?", r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_END = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
GPT4O = f"{_START}{_UPPER}*{_LOWER}+{_END}{_START}{_UPPER}+{_LOWER}*{_END}" + (
    r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""o200k's words, in which a capital after a small letter begins anew."""
KNOWN_PATTERNS = (GPT2, GPT2_DIGITS, GPT4, QWEN)
"""Patterns whose words begin where cut_points.py cuts: GPT-2, ours, GPT-4 and Llama 3, Qwen."""


class Engine:
    """Ids of text without special tokens added.

    Added tokens (`</s>`, `<mask>`) are found in the text unless `inner.encode_special_tokens` is set.
    `normalized` promises texts that are normalised already.
    """

    def __init__(self, inner: HFTokenizer, normalized: bool = False) -> None:
        self._inner = inner
        self._normalized = normalized
        self._json: dict[str, Any] = json.loads(inner.to_str())
        self._seen = 0
        added = self._json["added_tokens"]
        self._added = [t["content"] for t in added if not (t["special"] and inner.encode_special_tokens)]

    def encode_arrays(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        """Texts -> one uint32 array of ids each."""
        self._seen += sum(map(len, texts))
        if self._seen < WORTHWHILE_CHARS or self._twin is None:
            return self._encode_slow(texts)
        from .tiktoken_ import encode_parallel

        encoding, id_of_rank = self._twin
        plain = [not any(token in text for token in self._added) for text in texts]
        normalizer = None if self._normalized else self._inner.normalizer
        fast = [
            text if normalizer is None or text.isascii() else normalizer.normalize_str(text)
            for text, is_plain in zip(texts, plain, strict=True)
            if is_plain
        ]
        quick = iter(encode_parallel(encoding, fast))
        slow = iter(self._encode_slow([text for text, is_plain in zip(texts, plain, strict=True) if not is_plain]))
        return [id_of_rank[next(quick)] if is_plain else next(slow) for is_plain in plain]

    def _encode_slow(self, texts: Sequence[str]) -> list[NDArray[Any]]:
        if not texts:
            return []
        found = self._inner.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in found]

    @cached_property
    def pattern(self) -> str | None:
        """The words of a byte-level tokenizer, if it is one of the known patterns."""
        return byte_level_pattern(self._json["pre_tokenizer"])

    @cached_property
    def splittable(self) -> bool:
        """Whether text cut at `cut_points.CUT` gives the ids of the whole."""
        words = (self._json["pre_tokenizer"] or {}).get("type")
        if self.pattern is None and words not in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit"):
            return False
        normalizer = (self._json["normalizer"] or {"type": "NFC"})["type"]
        if normalizer not in ("NFC", "NFD", "NFKC", "NFKD", "BertNormalizer", "Lowercase"):
            return False
        # A cut falls between a letter and a space or line end: not within an added token, nor between one and the
        # space that it takes along.
        return not any(
            t["single_word"]
            or any(c.isspace() for c in t["content"].strip(" "))
            or (t["rstrip"] and t["content"][-1:].isalpha())
            for t in self._json["added_tokens"]
        )

    @cached_property
    def _twin(self) -> tuple[Encoding, NDArray[np.uint32]] | None:
        """tiktoken's encoding with the same merges, and the id of each of its ranks; None where they may differ."""
        model, normalizer = self._json["model"], self._json["normalizer"]
        plain_model = model["type"] == "BPE" and not any(
            model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback")
        )
        # NFC leaves ASCII as it is, so ASCII need not pass through it.
        normal = self._normalized or normalizer is None or normalizer["type"] == "NFC"
        if not plain_model or not normal or self.pattern is None:
            return None
        byte_of = {char: byte for byte, char in enumerate(byte_alphabet())}
        vocab: dict[str, int] = model["vocab"]
        if not all(char in vocab for char in byte_of):
            return None
        pairs = [pair.split(" ") if isinstance(pair, str) else pair for pair in model["merges"]]
        tokens = [*byte_of, *("".join(pair) for pair in pairs)]
        if len(set(tokens)) != len(tokens) or not all(token in vocab for token in tokens):
            return None
        if model.get("ignore_merges") and len(vocab) > len(tokens) + len(self._json["added_tokens"]):
            return None  # entries that no merge makes are words all the same
        if not self._reproduces(tokens):
            return None
        from tiktoken import Encoding

        ranks = {bytes(byte_of[char] for char in token): rank for rank, token in enumerate(tokens)}
        encoding = Encoding("twin", pat_str=self.pattern, mergeable_ranks=ranks, special_tokens={})
        return encoding, np.array([vocab[token] for token in tokens], dtype=np.uint32)

    def _reproduces(self, tokens: list[str]) -> bool:
        """Condition 2: the merges alone make each token out of its bytes."""
        from tokenizers import Tokenizer

        bare = {**self._json, "normalizer": None, "pre_tokenizer": None, "post_processor": None, "added_tokens": []}
        bare |= {"padding": None, "truncation": None}
        bare["model"] = {**self._json["model"], "ignore_merges": False}
        found = Tokenizer.from_str(json.dumps(bare)).encode_batch_fast(tokens, add_special_tokens=False)
        vocab = self._json["model"]["vocab"]
        return all(encoding.ids == [vocab[token]] for token, encoding in zip(tokens, found, strict=True))


def byte_alphabet() -> list[str]:
    """GPT-2's printable stand-in for each of the 256 bytes (openai/gpt-2, encoder.py, bytes_to_unicode)."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = (b for b in range(256) if b not in printable)
    stand_in = {b: chr(b) for b in printable} | {b: chr(256 + n) for n, b in enumerate(others)}
    return [stand_in[b] for b in range(256)]


def byte_level_pattern(pre_tokenizer: dict[str, Any] | None) -> str | None:
    """The pattern of a byte-level pre-tokenizer without prefix space, if it is a known one."""
    match pre_tokenizer:
        case {"type": "ByteLevel", "add_prefix_space": False, **rest} if rest.get("use_regex", True):
            return GPT2
        case {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
            ],
        } if pattern in KNOWN_PATTERNS:
            return pattern
    return None
