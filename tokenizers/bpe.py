"""Byte-level BPE trained here (Sennrich et al., arXiv 1508.07909; on bytes as GPT-2 does) with `tokenizers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError
from .base import Tokenizer
from .engine import GPT2, GPT2_DIGITS, Engine
from .export import Exported, write_files

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

END_OF_TEXT = "<|endoftext|>"
MASK = "[MASK]"
ALPHABET = 256

# What typographers write and ASCII has its own sign for; NFKD knows the rest (ligatures, widths, ellipsis).
TYPOGRAPHY = {
    "[\u2018\u2019\u201a\u2032]": "'",
    "[\u201c\u201d\u201e\u2033\u00ab\u00bb]": '"',
    "[\u2010-\u2015\u2212]": "-",
}


class BPETokenizer(Tokenizer):
    """A BPE trained on one corpus; text that looks like `<|endoftext|>` is encoded as text.

    With `simplify` the text is made ASCII first (accents dropped, typographic signs replaced, the rest
    removed), so decode(encode(x)) == x holds for ASCII only; without, for every text.
    """

    kind = "bpe"
    name = "bpe"
    splittable = True

    def __init__(self, inner: HFTokenizer) -> None:
        inner.encode_special_tokens = True  # a document cannot end itself by spelling <|endoftext|>
        self._inner = inner
        self._normalizer = inner.normalizer
        self._engine = Engine(inner, normalized=True)
        self.vocab_size = inner.get_vocab_size()
        self.eos_id = inner.token_to_id(END_OF_TEXT)
        self.bos_id = self.eos_id
        mask = inner.token_to_id(MASK)
        self.mask_id = inner.token_to_id("_") if mask is None else mask

    def normalize(self, text: str) -> str:
        return text if self._normalizer is None or text.isascii() else self._normalizer.normalize_str(text)

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return self._engine.encode_arrays([self.normalize(text)])[0].tolist()

    def encode_arrays(self, texts: Sequence[str]) -> list[Any]:
        return self._engine.encode_arrays([self.normalize(text) for text in texts])

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        return self._inner.decode(list(ids), skip_special_tokens=skip_special_tokens)

    @property
    def named_tokens(self) -> dict[str, str]:
        return {f"{key}_token": text for key, text in self._special.items()}

    @property
    def control_tokens(self) -> dict[str, int]:
        return {token.content: i for i, token in self._inner.get_added_tokens_decoder().items()}

    def description(self) -> dict[str, Any]:
        return {"tokenizer": self._inner.to_str()}

    def _save_files(self, folder: Path) -> None:
        write_files(self.exported(), folder)

    def _exported(self) -> Exported:
        return Exported(self._inner, self._special, {"split_special": True})

    @property
    def _special(self) -> dict[str, str]:
        mask = {} if self._inner.token_to_id(MASK) is None else {"mask": MASK}
        return {"bos": END_OF_TEXT, "eos": END_OF_TEXT, **mask}


def train_bpe(
    documents: Iterable[str],
    vocab_size: int,
    *,
    simplify: bool = True,
    min_frequency: int = 1,
    at_most: bool = False,
    has_mask: bool = False,
    corpus: str = "corpus",
) -> BPETokenizer:
    """A BPE of exactly `vocab_size` entries: 256 bytes, the merges, `<|endoftext|>` and, with `has_mask`, `[MASK]`.

    `min_frequency` 1 reaches the largest vocabulary a corpus can give; a higher one gives the same merges
    and stops earlier. Raises UserError when the corpus has too few pairs, but takes fewer with `at_most`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    if vocab_size <= ALPHABET:
        raise UserError(
            f"model.vocab_size is {vocab_size}, and a byte-level BPE needs at least {ALPHABET + 1}: "
            f"{ALPHABET} bytes and {END_OF_TEXT}"
        )
    if min_frequency < 1:
        raise UserError(f"model.tokenizer_min_frequency is {min_frequency}: it counts pairs and starts at 1")
    inner = Tokenizer(models.BPE())
    if simplify:
        replace = [normalizers.Replace(Regex(signs), sign) for signs, sign in TYPOGRAPHY.items()]
        foreign = normalizers.Replace(Regex(r"[^\x00-\x7F]+"), "")
        inner.normalizer = normalizers.Sequence([*replace, normalizers.NFKD(), foreign])
    pattern = GPT2_DIGITS if simplify else GPT2
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, MASK] if has_mask else [END_OF_TEXT]
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special),
        min_frequency=min_frequency,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(documents, trainer)
    entries = inner.get_vocab_size() + len(special)
    if entries < vocab_size and not at_most:
        remedy = "name a larger model.tokenizer_dataset_name"
        if min_frequency > 1:
            remedy = "lower model.tokenizer_min_frequency or " + remedy
        raise UserError(
            f"a BPE trained on {corpus} has only {entries} entries at a minimum pair frequency of {min_frequency}, and "
            f"model.vocab_size asks for {vocab_size}: set it to {entries} or less, or {remedy}"
        )
    inner.add_special_tokens(special)
    return BPETokenizer(inner)
