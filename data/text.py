"""A run's text: corpus, tokenizer, token file, train and validation streams."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, notice
from ..tokenizers.base import Tokenizer
from .cache import cache_folder
from .corpus import Corpus, corpus_of, heldout_of
from .splits import say_splits
from .stream import TokenStream, split_documents
from .tokenised import TokenFile, tokenise

VAL_FRACTION = 0.05


@dataclass(frozen=True)
class TextData:
    """The two sides of a corpus. `val` is None when nothing is held out."""

    tokens: TokenFile
    train: TokenStream
    val: TokenStream | None


def load_text_data(
    run: Any, tokenizer: Tokenizer, cache_dir: str | Path | None = None, progress: bool = True
) -> TextData:
    """The text a run's `dataset` section names, tokenised and split. Raises UserError for every kind of bad input."""
    dataset, corpus = run.dataset, corpus_of(run)
    heldout = heldout_of(run, corpus)
    fraction = getattr(dataset, "val_fraction", None)
    is_named = bool(getattr(dataset, "eval_path", None))
    say_splits(corpus.name, corpus.splits, evaluated=heldout is not None and not is_named)
    data = load_text(
        corpus,
        tokenizer,
        val_fraction=VAL_FRACTION if fraction is None else fraction,
        heldout=heldout,
        cache_dir=cache_dir or cache_folder(run),
        framed=is_framed(run),
        progress=progress,
    )
    if heldout is not None and not (is_named or corpus.splits):
        notice(f"held out: the validation split of {corpus.name}")
    _say_short(data.tokens, corpus, getattr(dataset, "stride", None))
    return data


def look_at(run: Any) -> None:
    """Is the text there, to train on and to evaluate on? A data set of the hub is not asked for. Raises UserError."""
    corpus = corpus_of(run)
    if getattr(run.dataset, "eval_path", None) or corpus.splits:
        heldout_of(run, corpus)


def _say_short(tokens: TokenFile, corpus: Corpus, stride: int | None) -> None:
    """The note where rows overlap and most documents are too short for it: attention ends with a document."""
    median = int(np.median(np.diff(tokens.starts)))
    if stride is not None and median < stride:
        notice(
            f"dataset.stride is {stride:,}, and half the documents of {corpus.name} have {median:,} tokens or less: a "
            "token sees nothing before its own document, so for most the overlapping rows bring no context; where rows "
            "are lines of one text, dataset.documents `joined` or `article` makes longer documents of them"
        )


def is_framed(run: Any) -> bool:
    """Whether documents begin and end by the tokenizer's template: as a run's checkpoint saw them."""
    model = getattr(run, "model", None)
    return bool(getattr(model, "base_model", None)) and getattr(model, "core_model_type", None) != "hf_core"


def load_text(
    corpus: Corpus,
    tokenizer: Tokenizer,
    *,
    val_fraction: float = VAL_FRACTION,
    heldout: Corpus | None = None,
    cache_dir: str | Path | None = None,
    framed: bool = False,
    progress: bool = True,
) -> TextData:
    """Tokenise a corpus and split it: by document, or a single document by position (its last part is validation).

    With `heldout` all of the corpus is to train on, and that is validation. `framed` documents begin and end by the
    tokenizer's own template, as a checkpoint expects.
    """
    if not 0.0 <= val_fraction < 1.0:
        raise UserError(f"dataset.val_fraction is {val_fraction}: it is a share, from 0 to below 1")
    make = partial(
        tokenise, tokenizer=tokenizer, cache_dir=cache_dir or cache_folder(), framed=framed, progress=progress
    )
    if heldout is not None:
        tokens, val = make(corpus), make(heldout)
        return TextData(tokens, TokenStream(tokens), TokenStream(val, name="held-out text"))
    length = single_document_length(corpus)
    cut_at = None if length is None or val_fraction == 0 else int(length * (1 - val_fraction))
    tokens = make(corpus, cut_at=cut_at)
    if val_fraction == 0:
        return TextData(tokens, TokenStream(tokens), None)
    if tokens.n_documents < 2:
        raise UserError(f"the corpus {corpus.name} is too short to hold out text: set dataset.val_fraction to 0")
    if cut_at is not None:
        train, val = np.array([0]), np.array([1])
        return TextData(tokens, TokenStream(tokens, train), TokenStream(tokens, val, "held-out text"))
    return TextData(tokens, *split_documents(tokens, val_fraction))


def single_document_length(corpus: Corpus) -> int | None:
    """Characters of the only document, or None where there are more (found at the second) or none."""
    characters, documents = 0, 0
    for text, ends in corpus.pieces():
        if documents:
            return None
        characters += len(text)
        documents += ends
    return characters if documents else None
