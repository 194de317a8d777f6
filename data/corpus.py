"""Where documents come from: a text file, a folder, a table's column, a hub dataset, the standard library."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest
from .files import TEXT_SUFFIXES, folder_files, hash_files, read_blocks, read_lines, size_of, stdlib_files

STDLIB = "stdlib"
DOCUMENTS = ("auto", "file", "blank_line", "line", "article", "joined")

Piece = tuple[str, bool]
"""A stretch of text and whether its document ends there: no corpus is ever whole in memory."""


class Corpus:
    """A source of documents that can be read again and again, in the same order.

    `fingerprint` is a hash of the text and of how it is split; `n_bytes` is the size of the source, where it is known.
    `splits` are the files of each split, where a folder has several.
    """

    name: str
    n_bytes: int | None = None
    max_documents: int | None = None
    splits: dict[str, list[Path]] = {}
    held: Corpus | None = None

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

    def apart(self) -> Corpus | None:
        """What the source keeps to evaluate on: a folder's files by their names, a hub data set's validation split."""
        held = self._held()
        if held is not None:
            held.max_documents = self.max_documents
        return held

    def _held(self) -> Corpus | None:
        return self.held

    def _fingerprint(self) -> str:
        raise NotImplementedError

    def _pieces(self) -> Iterator[Piece]:
        raise NotImplementedError


class TextFiles(Corpus):
    """UTF-8 files, each a document, or split by line, by blank line or where an article of WikiText begins."""

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
    key: str = "name",
    whole: bool = True,
) -> Corpus:
    """The corpus of that name: `stdlib`, the path of a file or folder, a short name, or a Hugging Face dataset.

    documents: how a text file splits: `file` (what `auto` does), `blank_line`, `line` or WikiText's `article`; of a
        table each row is one (`auto`), or a line of text that is `joined`, or of an `article`.
    key: the setting that names it, for a message; any but `name` names a path.
    whole: of a folder with files for each split, all of them; else those to train on, for `eval_path` those kept apart.
    Raises UserError: no such file, folder or dataset, an unreadable one, or a setting that does not fit it.
    """
    if documents is not None and documents not in DOCUMENTS:
        raise UserError(f"dataset.documents is '{documents}'.{nearest(documents, DOCUMENTS)}")
    if max_documents is not None and max_documents < 1:
        raise UserError(f"dataset.max_documents is {max_documents}: it counts documents and starts at 1")
    path = Path(name).expanduser()
    if key == "name" and str(name) != STDLIB and not path.exists() and is_hub_id(str(name)):
        from .hub import HubDataset, full_name

        hub, config = full_name(str(name), config)
        corpus: Corpus = HubDataset(
            hub, config, split or "train", text_column, streaming, num_proc, documents or "auto"
        )
    else:
        _refuse(name, config=config, split=None if split == "train" else split, streaming=streaming or None)
        corpus = _local(name, path, documents or "auto", text_column, key, whole)
    if documents in ("file", "blank_line", "line") and not isinstance(corpus, TextFiles):
        raise UserError(
            f"dataset.documents '{documents}' splits text files, and {name} is a table: each row is a document, or a "
            "line of text that is `joined` or of an `article`"
        )
    if documents == "joined" and isinstance(corpus, TextFiles):
        raise UserError(f"dataset.documents 'joined' is for rows of tables, and {name} is text: a `file` is whole")
    corpus.max_documents = max_documents
    return corpus


def _local(name: str | Path, path: Path, documents: str, text_column: str | None, key: str, whole: bool) -> Corpus:
    if key == "name" and str(name) == STDLIB:
        _refuse(name, text_column=text_column)
        return TextFiles(STDLIB, stdlib_files(), documents)
    if not path.exists():
        meant = misspelt(str(name)) if key == "name" else None
        raise UserError(f"dataset.{key} is '{name}', and {meant or f'there is no such file or folder{beside(path)}'}")
    files = folder_files(path) if path.is_dir() else [path]
    if whole or path.is_file():
        return _of_files(name, files, documents, text_column)
    from .splits import TRAIN, files_by_split, kept_apart

    splits = files_by_split(path, files)
    apart = kept_apart(splits)
    if key == "eval_path":
        return _of_files(name, apart or splits[TRAIN], documents, text_column)
    corpus = _of_files(name, splits[TRAIN], documents, text_column)
    corpus.splits, corpus.held = splits, _of_files(name, apart, documents, text_column) if apart else None
    return corpus


def _of_files(name: str | Path, files: list[Path], documents: str, text_column: str | None) -> Corpus:
    from .tables import TableColumn, is_table

    if is_table(files[0]):
        return TableColumn(str(name), files, text_column, documents)
    _refuse(name, text_column=text_column)
    return TextFiles(str(name), files, documents)


def is_hub_id(name: str) -> bool:
    """`imdb` and `HuggingFaceFW/fineweb-edu` may be on the hub; a path, a file's name or a misspelt one is not."""
    if _is_file_name(name) or misspelt(name):
        return False
    return re.fullmatch(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", name) is not None


def misspelt(name: str) -> str | None:
    """Why a word without an owner is no dataset: the end of a sentence, with what was meant. None where it may be one.

    What the hub has without an owner it has with one too: whoever means a name close to ours can write that.
    """
    from .classification.docstrings import NAME as DOCSTRINGS
    from .classification.hub import KNOWN, known
    from .hub import KNOWN_TEXTS, fold, known_text

    if "/" in name or name in (STDLIB, DOCSTRINGS) or known(name) or known_text(name) or _is_file_name(name):
        return None
    if Path(name).suffix:
        return f"no file here is called so (a dataset of the hub goes by OWNER/{name}){beside(Path(name))}"
    by_folded = {fold(word): word for word in (STDLIB, DOCSTRINGS, *KNOWN_TEXTS, *KNOWN)}
    close = difflib.get_close_matches(fold(name), by_folded, n=1, cutoff=0.7)
    if not close:
        return None
    return (
        f"no file here is called so, nor a known dataset (another one of the hub goes by OWNER/{name}). "
        f"Did you mean '{by_folded[close[0]]}'?"
    )


def beside(path: Path) -> str:
    """The file or folder that was probably meant, as the end of a sentence."""
    try:
        near = nearest(path.name, [other.name for other in path.parent.iterdir()])
    except OSError:
        return ""
    return f".{near}" if near.startswith(" Did") else ""


def _is_file_name(name: str) -> bool:
    """Whether its suffix is one that text or tables have."""
    from .tables import TABLE_SUFFIXES

    return Path(name).suffix.lower() in (*TEXT_SUFFIXES, *TABLE_SUFFIXES)


def _refuse(name: str | Path, **settings: object) -> None:
    """A setting that the source cannot honour is an error, not ignored."""
    for key, value in settings.items():
        if value is not None:
            kind = "tables (jsonl, csv, parquet) and Hugging Face datasets" if key == "text_column" else "hub datasets"
            raise UserError(f"dataset.{key} is {value!r}: it is for {kind}, and {name} is local text; leave it out")


def corpus_of(run: Any) -> Corpus:
    """The corpus a run's `dataset` section names to train on."""
    dataset = run.dataset
    keys = ("config", "split", "text_column", "streaming", "documents", "max_documents", "num_proc")
    key = "train_path" if getattr(dataset, "train_path", None) else "name"
    return open_corpus(getattr(dataset, key), **_given(dataset, *keys), key=key, whole=False)


def heldout_of(run: Any, corpus: Corpus) -> Corpus | None:
    """What is evaluated on: what the section names, else what its `corpus` keeps apart, else None, a share of it."""
    dataset = run.dataset
    if getattr(dataset, "eval_path", None):
        keys = ("text_column", "documents", "max_documents")
        return open_corpus(dataset.eval_path, **_given(dataset, *keys), key="eval_path", whole=False)
    return None if getattr(dataset, "val_fraction", None) == 0 else corpus.apart()


def _given(dataset: Any, *keys: str) -> dict[str, Any]:
    settings = {key: getattr(dataset, key, None) for key in keys}
    return {key: value for key, value in settings.items() if value is not None}


def _whole(path: Path) -> Iterator[Piece]:
    held: str | None = None
    for block in read_blocks(path):
        if held is not None:
            yield held, False
        held = block
    if held is not None:
        yield held, True


def _split(path: Path, how: str) -> Iterator[Piece]:
    """Lines, articles, or paragraphs parted by blank lines; a document of white space only is none."""
    if how == "article":
        from .articles import articles

        yield from ((text, True) for text in articles(read_lines(path)))
        return
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
