"""Tokenizer files from the Hugging Face hub, fetched once and kept in its own cache."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..errors import UserError
from ..hub import VOCABULARIES, Names, Wanted, cached, fetch, tokenizer_files

REPOSITORIES = {
    "llama_32k": "huggyllama/llama-7b",
    "mistral_32k": "mistralai/Mistral-7B-v0.1",
    "opt_50k": "facebook/opt-1.3b",
}
"""Where the named tokenizers come from."""


def fetch_tokenizer(repository: str, asked: str | None = None, revision: str | None = None) -> Path:
    """The folder that holds a repository's tokenizer files. `asked` is the name the user gave, if another.

    What is cached is used as it is, without asking the hub. Raises UserError, one sentence that says what to do.
    """
    what = f"tokenizer {asked}" if asked else "tokenizer"
    return fetch(repository, Wanted(what, _needed, cached_first=True), revision)


def cached_tokenizer(repository: str, revision: str | None = None) -> Path | None:
    """The folder of a repository's tokenizer files where they were fetched before; the hub is not asked."""
    return cached(repository, Wanted("tokenizer", _needed), revision)


def _needed(names: Names, read: Callable[[str], Path]) -> list[str]:
    if not any(all(name in names for name in group) for group in VOCABULARIES):
        kinds = ", ".join(" + ".join(group) for group in VOCABULARIES)
        raise UserError(f"has none of {kinds}: name a repository whose tokenizer is one of these")
    return tokenizer_files(names)
