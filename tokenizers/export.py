"""Tokenizers as tokenizer.json, which transformers' AutoTokenizer reads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, notice
from .engine import QWEN, byte_alphabet, byte_level_pattern

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HFTokenizer

# The class of transformers that takes tokenizer.json as it stands; those of the families make themselves anew from its
# vocabulary and drop what they do not know of.
AS_IT_STANDS = "PreTrainedTokenizerFast"


@dataclass(frozen=True)
class Exported:
    """`special` as in HuggingFaceTokenizer, `manner` the fields of its Manner."""

    inner: HFTokenizer
    special: Mapping[str, str] = field(default_factory=dict)
    manner: Mapping[str, Any] = field(default_factory=dict)


def write_files(exported: Exported, folder: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json, special_tokens_map.json. Raises UserError where they cannot be."""
    manner = exported.manner
    special = {f"{key}_token": text for key, text in exported.special.items()}
    types = ["token_type_ids"] if manner.get("token_types") else []
    config: dict[str, Any] = {
        "tokenizer_class": AS_IT_STANDS,
        **special,
        "clean_up_tokenization_spaces": manner.get("clean_up", False),
        "split_special_tokens": manner.get("split_special", False),
        "padding_side": manner.get("padding_side", "right"),
        "truncation_side": manner.get("truncation_side", "right"),
        "model_input_names": ["input_ids", *types, "attention_mask"],
    }
    flags = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    config["added_tokens_decoder"] = {
        str(i): {flag: getattr(token, flag) for flag in flags}
        for i, token in sorted(exported.inner.get_added_tokens_decoder().items())
    }
    if manner.get("max_length") is not None:
        config["model_max_length"] = manner["max_length"]
    if manner.get("chat_template") is not None:
        template = manner["chat_template"]
        named = isinstance(template, Mapping)
        config["chat_template"] = [{"name": n, "template": t} for n, t in template.items()] if named else template
    _note_what_is_made_anew(exported.inner, folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tokenizer.json").write_text(exported.inner.to_str(pretty=True), encoding="utf-8")
        for name, content in (("special_tokens_map.json", special), ("tokenizer_config.json", config)):
            text = json.dumps(content, indent=1, ensure_ascii=False)
            (folder / name).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot save the tokenizer in {folder}: {error.strerror or error}") from None


def _note_what_is_made_anew(inner: HFTokenizer, folder: Path) -> None:
    """transformers 5 makes Qwen2's own tokenizer for a model of that type, whatever the folder's tokenizer is."""
    path = folder / "config.json"
    words = json.loads(inner.to_str())["pre_tokenizer"]
    if path.is_file() and '"qwen2"' in path.read_text(encoding="utf-8") and byte_level_pattern(words) != QWEN:
        notice(
            "transformers 5 splits text into Qwen's words for a model of type qwen2, and this tokenizer has others: "
            f"load it there with {AS_IT_STANDS}.from_pretrained, since AutoTokenizer gives other ids"
        )


def of_ranks(
    ranks: Mapping[bytes, int], pattern: str | None, special: Mapping[str, int], ends_text: str | None
) -> Exported:
    """A byte-level BPE that gives the ids of tiktoken with these ranks, in the words of `pattern` (None: no words).

    tiktoken joins the adjacent pair whose bytes are the token of lowest rank. A merge for each token, of the two parts
    that tiktoken has before it has that token, in the order of ranks, does the same (engine.py says why); a token that
    is never reached by joining stands in the vocabulary alone, and is found where it is a whole word, as by tiktoken.
    """
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    alphabet = byte_alphabet()
    text = {token: "".join(alphabet[byte] for byte in token) for token in ranks}
    ordered = sorted(ranks, key=ranks.__getitem__)
    halves = ((token, _halves(token, ranks)) for token in ordered if len(token) > 1)
    merges = [(text[pair[0]], text[pair[1]]) for _, pair in halves if pair is not None]
    vocab = {text[token]: rank for token, rank in ranks.items()} | dict(special)
    inner = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    words = [] if pattern is None else [pre_tokenizers.Split(Regex(pattern), behavior="isolated")]
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [*words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    inner.decoder = decoders.ByteLevel()
    for token in sorted(special, key=special.__getitem__):
        inner.add_special_tokens([AddedToken(token, special=True, normalized=False)])
    named = {} if ends_text is None else {"bos": ends_text, "eos": ends_text}
    return Exported(inner, named, {"split_special": True})


def of_characters(characters: Sequence[str]) -> Exported:
    """One id a character; transformers drops, where we refuse, a character that is none of them."""
    from tokenizers import Tokenizer, decoders, models

    inner = Tokenizer(models.BPE(vocab={character: i for i, character in enumerate(characters)}, merges=[]))
    inner.decoder = decoders.Fuse()
    return Exported(inner)


def _halves(token: bytes, ranks: Mapping[bytes, int]) -> tuple[bytes, bytes] | None:
    """The last two parts that tiktoken has before it has the whole token; None where it never has."""
    parts = [bytes([byte]) for byte in token]
    while len(parts) > 2:
        joined = [ranks.get(a + b) for a, b in pairwise(parts)]
        best = min((rank for rank in joined if rank is not None), default=None)
        if best is None:
            return None
        at = joined.index(best)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts[0], parts[1]
