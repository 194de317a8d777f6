"""Where documents come from: a text file, a folder, a table's column, a hub dataset, the standard library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from .files import TEXT_SUFFIXES, folder_files, hash_files, read_blocks, read_lines, size_of, stdlib_files

STDLIB = "stdlib"
DOCUMENTS = ("auto", "file", "blank_line", "line")

Piece = tuple[str, bool]
"""A stretch of text and whether its document ends there: no corpus is ever whole in memory."""


class Corpus:
    """A source of documents that can be read again and again, in the same order.

    `fingerprint` is a hash of the text and of how it is split; `n_bytes` is the size of the source, where it is known.
    """

    name: str
    n_bytes: int | None = None
    max_documents: int | None = None

    @cached_property
    def fingerprint(self) -> str:
        return f"{self._fingerprint()}-{self.max_documents}"

    def pieces(self) -> Iterator[Piece]:
        """The text in reading order, long documents in several pieces; no more than `max_documents`."""
        left = self.max_documents
        for text, ends in self._pieces():
            yield text, ends
            if ends and left is not None:
                left -= 1
                if left <= 0:
                    return

    def documents(self) -> Iterator[str]:
        """The documents, one string each."""
        parts: list[str] = []
        for text, ends in self.pieces():
            parts.append(text)
            if ends:
                yield "".join(parts) if len(parts) > 1 else text
                parts = []

    def _fingerprint(self) -> str:
        raise NotImplementedError

    def _pieces(self) -> Iterator[Piece]:
        raise NotImplementedError


class TextFiles(Corpus):
    """UTF-8 files, each a document, or split by line or by blank line."""

    def __init__(self, name: str, files: list[Path], documents: str = "auto") -> None:
        self.name = name
        self.files = files
        self.split = "file" if documents == "auto" else documents
        self.n_bytes = sum(size_of(path) for path in files)

    def _fingerprint(self) -> str:
        return hash_files(self.files, "text", self.split)

    def _pieces(self) -> Iterator[Piece]:
        for path in self.files:
            if self.split == "file":
                yield from _whole(path)
            else:
                yield from _split(path, self.split)


def open_corpus(
    name: str | Path,
    *,
    config: str | None = None,
    split: str | None = None,
    text_column: str | None = None,
    streaming: bool = False,
    documents: str | None = None,
    max_documents: int | None = None,
    num_proc: int | None = None,
) -> Corpus:
    """The corpus of that name: `stdlib`, the path of a file or folder, or a Hugging Face dataset.

    documents: how a text file splits: `file` (what `auto` does), `blank_line` or `line`.
    Raises UserError: no such file, folder or dataset, an unreadable one, or a setting that does not fit it.
    """
    if documents is not None and documents not in DOCUMENTS:
        raise UserError(f"dataset.documents is '{documents}'.{nearest(documents, DOCUMENTS)}")
    if max_documents is not None and max_documents < 1:
        raise UserError(f"dataset.max_documents is {max_documents}: it counts documents and starts at 1")
    path = Path(name).expanduser()
    if str(name) != STDLIB and not path.exists() and is_hub_id(str(name)):
        from .hub import HubDataset

        corpus: Corpus = HubDataset(str(name), config, split or "train", text_column, streaming, num_proc)
    else:
        _refuse(name, config=config, split=None if split == "train" else split, streaming=streaming or None)
        corpus = _local(name, path, documents or "auto", text_column)
    if documents not in (None, "auto") and not isinstance(corpus, TextFiles):
        raise UserError(f"dataset.documents splits text files, and {name} is a table: each row is a document")
    corpus.max_documents = max_documents
    return corpus


def _local(name: str | Path, path: Path, documents: str, text_column: str | None) -> Corpus:
    if str(name) == STDLIB:
        _refuse(name, text_column=text_column)
        return TextFiles(STDLIB, stdlib_files(), documents)
    if not path.exists():
        raise UserError(f"dataset.name is '{name}', and there is no such file or folder.{nearest(name, [STDLIB])}")
    from .tables import TableColumn, is_table

    files = folder_files(path) if path.is_dir() else [path]
    if is_table(files[0]):
        return TableColumn(str(name), files, text_column)
    _refuse(name, text_column=text_column)
    return TextFiles(str(name), files, documents)


def is_hub_id(name: str) -> bool:
    """`imdb` and `HuggingFaceFW/fineweb-edu` may be on the hub; a path, or a name with a file's suffix, is not."""
    from .tables import TABLE_SUFFIXES

    if Path(name).suffix.lower() in (*TEXT_SUFFIXES, *TABLE_SUFFIXES) or nearest(name, [STDLIB]).startswith(" Did"):
        return False
    return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None


def _refuse(name: str | Path, **settings: object) -> None:
    """A setting that the source cannot honour is an error, not ignored."""
    for key, value in settings.items():
        if value is not None:
            kind = "tables (jsonl, csv, parquet) and Hugging Face datasets" if key == "text_column" else "hub datasets"
            raise UserError(f"dataset.{key} is {value!r}: it is for {kind}, and {name} is local text; leave it out")


def corpus_of(run: Any) -> Corpus:
    """The corpus a run's `dataset` section names."""
    dataset = run.dataset
    keys = ("config", "split", "text_column", "streaming", "documents", "max_documents", "num_proc")
    settings = {key: getattr(dataset, key, None) for key in keys}
    return open_corpus(dataset.name, **{key: value for key, value in settings.items() if value is not None})


def _whole(path: Path) -> Iterator[Piece]:
    held: str | None = None
    for block in read_blocks(path):
        if held is not None:
            yield held, False
        held = block
    if held is not None:
        yield held, True


def _split(path: Path, how: str) -> Iterator[Piece]:
    """Lines, or paragraphs parted by blank lines; a document of white space only is none."""
    lines: list[str] = []
    for line in read_lines(path):
        if how == "line":
            if text := line.rstrip("\r\n"):
                yield text, True
        elif line.strip():
            lines.append(line)
        elif lines:
            yield "".join(lines), True
            lines = []
    if lines:
        yield "".join(lines), True
