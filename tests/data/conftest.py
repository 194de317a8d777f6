"""Corpora that tests make up, and where tiktoken's files lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from groundup.data.corpus import Corpus, Piece


class Made(Corpus):
    """Documents from a list."""

    def __init__(self, documents: list[str], name: str = "made") -> None:
        self.name = name
        self.texts = documents
        self.n_bytes = sum(len(text.encode()) for text in documents)

    def _fingerprint(self) -> str:
        return repr(self.texts)

    def _pieces(self) -> Iterator[Piece]:
        return ((text, True) for text in self.texts)


@pytest.fixture
def made() -> Callable[..., Corpus]:
    """A corpus of the documents given."""
    return Made


@pytest.fixture
def tiktoken_cache(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """tiktoken finds its files there."""
    folder = shared / "tokenizers/tiktoken-cache"
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(folder))
    return folder
