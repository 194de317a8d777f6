"""From a name, a file or a folder to a tokenizer; and from a run's `model` section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, nearest
from .base import SAVED_NAME, Tokenizer
from .byte import ByteTokenizer

if TYPE_CHECKING:
    from ..data.corpus import Corpus

TIKTOKEN_NAMES = ("gpt2", "r50k_base", "p50k_base", "cl100k_base", "o200k_base")
HUB_NAMES = ("llama_32k", "mistral_32k", "opt_50k")
TRAINED = ("bpe", "char")
NAMES = ("byte", "char", "bpe", *TIKTOKEN_NAMES, *HUB_NAMES)


def canonical_name(name: str) -> str:
    """`GPT-2` -> `gpt2`: case and dashes do not count; a name nobody knows is returned as it is."""
    plain = name.casefold().replace("-", "_")
    plain = {"gpt_2": "gpt2", "bytes": "byte", "character": "char"}.get(plain, plain)
    return plain if plain in NAMES else name


def load_tokenizer(source: str | Path) -> Tokenizer:
    """A tokenizer by name (`gpt2`, `byte`, `llama_32k`, ...), a tokenizer.json, or a folder.

    Raises UserError for an unknown name, a missing or unreadable file, and where the network is needed and missing.
    """
    name = canonical_name(str(source))
    if name == "byte":
        return ByteTokenizer()
    if name in TIKTOKEN_NAMES:
        from .tiktoken_ import load_tiktoken

        return load_tiktoken(name)
    path = Path(source)
    if path.is_dir():
        for folder in (path, path / "tokenizer"):
            if (folder / SAVED_NAME).is_file():
                return _load_saved(folder)
    if name in TRAINED:
        raise UserError(f"the tokenizer {name} is built from a corpus: name the folder it was saved in, or build it")
    raise UserError(f"no tokenizer is called '{source}' and no file or folder either.{nearest(source, NAMES)}")


def _load_saved(folder: Path) -> Tokenizer:
    card: dict[str, Any] = json.loads((folder / SAVED_NAME).read_text(encoding="utf-8"))
    tokenizer = _from_card(folder, card)
    if tokenizer.fingerprint != card["fingerprint"]:
        raise UserError(f"the tokenizer in {folder} is not the one that was saved there: its fingerprint differs")
    return tokenizer


def _from_card(folder: Path, card: dict[str, Any]) -> Tokenizer:
    kind = card["kind"]
    if kind == "byte":
        return ByteTokenizer()
    if kind == "char":
        from .char import CharTokenizer

        return CharTokenizer(card["characters"])
    if kind == "tiktoken":
        from .tiktoken_ import TiktokenTokenizer

        return TiktokenTokenizer.from_saved(folder, card)
    if kind == "bpe":
        from tokenizers import Tokenizer as HFTokenizer

        from .bpe import BPETokenizer

        return BPETokenizer(HFTokenizer.from_file(str(folder / "tokenizer.json")))
    raise UserError(f"{folder / SAVED_NAME} says kind '{kind}'.{nearest(kind, ('byte', 'char', 'tiktoken', 'bpe'))}")


def build_tokenizer(run: Any, corpus: Corpus | None = None, cache_dir: str | Path | None = None) -> Tokenizer:
    """The tokenizer a run's `model` section asks for; `bpe` and `char` are built on `corpus` and cached.

    Without `corpus` they are built on model.tokenizer_dataset_name, else on the run's own dataset.
    """
    from ..data.cache import cache_folder
    from ..data.corpus import corpus_of, open_corpus

    model = run.model
    path = getattr(model, "tokenizer_path", None)
    name = canonical_name(str(path or model.tokenizer_type))
    if name not in TRAINED:
        tokenizer = load_tokenizer(name)
    else:
        if corpus is None:
            named = getattr(model, "tokenizer_dataset_name", None)
            corpus = open_corpus(named) if named else corpus_of(run)
        if name == "char":
            from .char import build_char_tokenizer

            tokenizer = build_char_tokenizer(corpus.documents())
        else:
            if model.vocab_size is None:
                raise UserError("model.vocab_size is needed to train a bpe tokenizer: 50257 is GPT-2's")
            tokenizer = cached_bpe(
                corpus,
                model.vocab_size,
                simplify=model.tokenizer_simplify,
                min_frequency=getattr(model, "tokenizer_min_frequency", None) or 1,
                cache_dir=cache_dir or cache_folder(run),
            )
    check_vocabulary(tokenizer, model.vocab_size)
    return tokenizer


def check_vocabulary(tokenizer: Tokenizer, vocab_size: int | None) -> None:
    """Raises UserError when `vocab_size` (the model's rows) does not hold every id; None and larger are fine."""
    if vocab_size is not None and vocab_size < tokenizer.vocab_size:
        raise UserError(
            f"model.vocab_size is {vocab_size}, and the tokenizer {tokenizer.name} has ids up to "
            f"{tokenizer.vocab_size - 1}: set it to {tokenizer.vocab_size} or more, or leave it out"
        )


def cached_bpe(
    corpus: Corpus, vocab_size: int, *, simplify: bool = True, min_frequency: int = 1, cache_dir: str | Path
) -> Tokenizer:
    """`train_bpe` on the corpus, kept under `cache_dir` by a hash of its text and the settings."""
    from ..data.cache import publish_folder, short_hash
    from .bpe import train_bpe

    key = short_hash("bpe-1", corpus.fingerprint, vocab_size, simplify, min_frequency)
    folder = Path(cache_dir) / "tokenizers" / f"bpe-{vocab_size}-{key}"
    if (folder / SAVED_NAME).is_file():
        try:
            return _load_saved(folder)
        except Exception:
            pass  # damaged: trained again below, and replaced
    tokenizer = train_bpe(
        corpus.documents(), vocab_size, simplify=simplify, min_frequency=min_frequency, corpus=corpus.name
    )
    publish_folder(folder, tokenizer.save)
    return tokenizer
