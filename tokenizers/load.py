"""From a name, a file or a folder to a tokenizer; and from a run's `model` section."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, nearest, notice
from .base import SAVED_NAME, Tokenizer
from .byte import ByteTokenizer

if TYPE_CHECKING:
    from ..data.corpus import Corpus

TIKTOKEN_NAMES = ("gpt2", "r50k_base", "p50k_base", "cl100k_base", "o200k_base")
HUB_NAMES = ("llama_32k", "mistral_32k", "opt_50k")
TRAINED = ("bpe", "char")
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
NAMES = ("byte", "char", "bpe", *TIKTOKEN_NAMES, *HUB_NAMES)


def canonical_name(name: str) -> str:
    """`GPT-2` -> `gpt2`: case and dashes do not count; a name nobody knows is returned as it is."""
    plain = name.casefold().replace("-", "_")
    plain = {"gpt_2": "gpt2", "bytes": "byte", "character": "char"}.get(plain, plain)
    return plain if plain in NAMES else name


def load_tokenizer(source: str | Path, revision: str | None = None) -> Tokenizer:
    """A tokenizer by name (`gpt2`, `byte`, `llama_32k`, ...), of a tokenizer.json, a checkpoint's folder, a run, or a
    repository on the Hugging Face hub (there at the branch, tag or commit `revision`).

    Raises UserError for an unknown name, a missing or unreadable file, and where the network is needed and missing.
    """
    name = canonical_name(str(source))
    if name == "byte":
        return ByteTokenizer()
    if name in TIKTOKEN_NAMES:
        from .tiktoken_ import load_tiktoken

        return load_tiktoken(name)
    if name in HUB_NAMES:
        from .hub import REPOSITORIES, fetch_tokenizer

        return _from_files(fetch_tokenizer(REPOSITORIES[name], name, revision), name)
    path = Path(source).expanduser()
    if path.is_dir():
        for folder in (path, path / "tokenizer"):
            if (folder / SAVED_NAME).is_file():
                return _load_saved(folder)
    if path.exists():
        return _from_files(path)
    if name in TRAINED:
        raise UserError(f"the tokenizer {name} is built from a corpus: name the folder it was saved in, or build it")
    if HUB_ID.fullmatch(str(source)):
        from .hub import fetch_tokenizer

        return _from_files(fetch_tokenizer(str(source), revision=revision), str(source))
    raise UserError(f"no tokenizer is called '{source}', and no file or folder either.{nearest(source, NAMES)}")


def _from_files(path: Path, name: str | None = None) -> Tokenizer:
    from .checkpoint import load_files

    tokenizer = load_files(path)
    tokenizer.name = name or tokenizer.name
    return tokenizer


def _load_saved(folder: Path) -> Tokenizer:
    try:
        card: dict[str, Any] = json.loads((folder / SAVED_NAME).read_text(encoding="utf-8"))
        tokenizer = _from_card(folder, card)
        tokenizer.chat_template = card.get("chat_template", tokenizer.chat_template)
        same = tokenizer.fingerprint == card["fingerprint"]
    except UserError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as there are libraries that read it
        raise UserError(f"the tokenizer saved in {folder} cannot be read ({error}): save it again") from None
    if not same:
        raise UserError(f"the tokenizer in {folder} is not the one that was saved there: its files were changed")
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
    if kind not in ("bpe", "huggingface"):
        raise UserError(f"{folder / SAVED_NAME} says kind '{kind}', which this version does not know")
    from tokenizers import Tokenizer as HFTokenizer

    inner = HFTokenizer.from_file(str(folder / "tokenizer.json"))
    if kind == "bpe":
        from .bpe import BPETokenizer

        return BPETokenizer(inner)
    from .huggingface import HuggingFaceTokenizer, Manner

    return HuggingFaceTokenizer(inner, card["special"], card["name"], Manner(**card.get("manner", {})))


def build_tokenizer(run: Any, corpus: Corpus | None = None, cache_dir: str | Path | None = None) -> Tokenizer:
    """The tokenizer a run's `model` section asks for; `bpe` and `char` are built on `corpus` and cached.

    Without `corpus` they are built on model.tokenizer_dataset_name, else on the run's own dataset.
    """
    from ..data.cache import cache_folder
    from ..data.corpus import corpus_of, open_corpus

    model = run.model
    name = canonical_name(model.tokenizer_type)
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
    corpus: Corpus,
    vocab_size: int,
    *,
    simplify: bool = True,
    min_frequency: int = 1,
    at_most: bool = False,
    has_mask: bool = False,
    cache_dir: str | Path,
) -> Tokenizer:
    """`train_bpe` on the corpus, kept under `cache_dir` by a hash of its text and the settings."""
    from ..data.cache import publish_folder, short_hash
    from .bpe import train_bpe

    more = [at_most, has_mask] if at_most or has_mask else []
    key = short_hash("bpe-1", corpus.fingerprint, vocab_size, simplify, min_frequency, *more)
    folder = Path(cache_dir) / "tokenizers" / f"bpe-{vocab_size}-{key}"
    if (folder / SAVED_NAME).is_file():
        try:
            return _load_saved(folder)
        except Exception:
            pass  # damaged: trained again below, and replaced
    size = f"at most {vocab_size:,}" if at_most else f"{vocab_size:,}"
    notice(f"training a BPE of {size} entries on {corpus.name}; it is kept in {folder}")
    tokenizer = train_bpe(
        corpus.documents(),
        vocab_size,
        simplify=simplify,
        min_frequency=min_frequency,
        at_most=at_most,
        has_mask=has_mask,
        corpus=corpus.name,
    )
    publish_folder(folder, tokenizer.save)
    return tokenizer
