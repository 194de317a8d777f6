"""Where documents come from: a text file, a folder, a table's column, a hub dataset, the standard library."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from ..errors import UserError, nearest

STDLIB = "stdlib"
TEXT_SUFFIXES = (".txt", ".md", ".rst", ".py", ".text", ".raw", ".tex", ".html")
DOCUMENTS = ("auto", "file", "blank_line", "line")
READ_CHARS = 4 << 20

Piece = tuple[str, bool]
"""A stretch of text and whether its document ends there: no corpus is ever whole in memory."""


class Corpus:
    """A source of documents that can be read again and again, in the same order.

    `fingerprint` is a hash of the text and of how it is split; `n_bytes` of the source, where it is known.
    """

    name: str
    n_bytes: int | None = None

    @property
    def fingerprint(self) -> str:
        raise NotImplementedError

    def pieces(self) -> Iterator[Piece]:
        """The text in reading order, long documents in several pieces."""
        raise NotImplementedError

    def documents(self) -> Iterator[str]:
        """The documents, one string each."""
        parts: list[str] = []
        for text, ends in self.pieces():
            parts.append(text)
            if ends:
                yield "".join(parts) if len(parts) > 1 else text
                parts = []


class TextFiles(Corpus):
    """UTF-8 files, each a document, or split by line or by blank line."""

    def __init__(self, name: str, files: list[Path], documents: str = "auto") -> None:
        self.name = name
        self.files = files
        self.split = documents
        self.n_bytes = sum(_size(path) for path in files)

    @cached_property
    def fingerprint(self) -> str:
        return hash_files(self.files, "text", self.split)

    def pieces(self) -> Iterator[Piece]:
        for path in self.files:
            if self.split in ("auto", "file"):
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
) -> Corpus:
    """The corpus of that name: `stdlib`, a path of a file or folder, or a Hugging Face dataset.

    `documents` says how a text file splits: `file` (default), `blank_line` or `line`. Raises UserError.
    """
    if documents is not None and documents not in DOCUMENTS:
        raise UserError(f"dataset.documents is '{documents}'.{nearest(documents, DOCUMENTS)}")
    if str(name) == STDLIB:
        return TextFiles(STDLIB, stdlib_files())
    path = Path(name).expanduser()
    if path.is_dir():
        files = folder_files(path)
    elif path.exists():
        files = [path]
    else:
        raise UserError(f"dataset.name is '{name}', and there is no such file or folder")
    return TextFiles(str(name), files, documents or "auto")


def corpus_of(run: Any) -> Corpus:
    """The corpus a run's `dataset` section names."""
    dataset = run.dataset
    keys = ("config", "split", "text_column", "streaming", "documents", "max_documents")
    settings = {key: getattr(dataset, key, None) for key in keys}
    return open_corpus(dataset.name, **{key: value for key, value in settings.items() if value is not None})


def stdlib_files() -> list[Path]:
    """The sources of the running Python's own library, its tests left out: present on every machine."""
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    files = [
        path
        for path in root.rglob("*.py")
        # _sysconfigdata holds the paths of the machine Python was built on: no text
        if not left_out.intersection(path.relative_to(root).parts) and not path.name.startswith("_sysconfigdata")
    ]
    if not files:
        raise UserError(f"this Python has no library sources at {root}: name a text file or folder as dataset.name")
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def folder_files(folder: Path) -> list[Path]:
    """The text files under a folder, sorted; hidden ones are left out."""
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in TEXT_SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise UserError(f"the folder {folder} holds no text: looked for {', '.join('*' + s for s in TEXT_SUFFIXES)}")
    return files


def hash_files(files: list[Path], *settings: object) -> str:
    """SHA-256 over the bytes of the files, their lengths and the settings."""
    total = hashlib.sha256(repr(settings).encode())
    for path in files:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256") if hasattr(hashlib, "file_digest") else _digest(file)
        except OSError as error:
            raise unreadable(path, error) from None
        total.update(digest.digest())
    return total.hexdigest()


def _digest(file: Any) -> Any:  # Python 3.10 has no file_digest
    digest = hashlib.sha256()
    while block := file.read(1 << 20):
        digest.update(block)
    return digest


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> UserError:
    """The sentence for a file the system will not give."""
    return UserError(f"cannot read {path}: {error.strerror or error}")


def _blocks(path: Path) -> Iterator[str]:
    """A UTF-8 file as blocks of characters, a byte order mark dropped, line ends as they are."""
    import codecs

    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    try:
        with path.open("rb") as file:
            while True:
                block = file.read(READ_CHARS)
                pending = len(decoder.getstate()[0])
                try:
                    text = decoder.decode(block, final=not block)
                except UnicodeDecodeError as error:
                    at = done - pending + error.start
                    raise UserError(
                        f"{path} is not UTF-8: byte {at} (0x{error.object[error.start]:02x}) fits no character; "
                        "convert it (iconv -f LATIN1 -t UTF-8) or leave the file out"
                    ) from None
                if done == 0:
                    text = text.removeprefix("\ufeff")
                done += len(block)
                if text:
                    yield text
                if not block:
                    return
    except OSError as error:
        raise unreadable(path, error) from None


def _whole(path: Path) -> Iterator[Piece]:
    held: str | None = None
    for block in _blocks(path):
        if held is not None:
            yield held, False
        held = block
    if held is not None:
        yield held, True


def _split(path: Path, how: str) -> Iterator[Piece]:
    """Lines, or paragraphs parted by blank lines; a document of white space only is none."""
    lines: list[str] = []
    for line in _lines(path):
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


def _lines(path: Path) -> Iterator[str]:
    rest = ""
    for block in _blocks(path):
        lines = (rest + block).split("\n")
        rest = lines.pop()
        for line in lines:
            yield line + "\n"
    if rest:
        yield rest
