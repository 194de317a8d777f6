"""Files as text: which a folder holds, their blocks and lines, their hash, and the sentences for unreadable ones."""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from ..errors import UserError

TEXT_SUFFIXES = (".txt", ".text", ".raw", ".md", ".rst", ".tex", ".py")
READ_BYTES = 4 << 20
_ABOUT = re.compile(
    r"(readme|licen[cs]e|copying|notice|changelog|contributing|citation|authors|provenance|code_of_conduct)([._-].*)?"
)
_ABOUT_TABLES = ("dataset_info.json", "dataset_infos.json")


def stdlib_files() -> list[Path]:
    """The sources of the running Python's own library, its tests left out: present on every machine."""
    root = Path(sysconfig.get_paths()["stdlib"])
    left_out = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__"}
    files: list[Path] = []
    for place, folders, names in os.walk(root):
        folders[:] = [name for name in folders if name not in left_out]
        # _sysconfigdata holds the paths of the machine Python was built on: no text
        files += [Path(place, name) for name in names if name.endswith(".py") and not name.startswith("_sysconfigdata")]
    if not files:
        raise UserError(f"this Python has no library sources at {root}: name a text file or folder as dataset.name")
    return sorted(files, key=lambda path: path.relative_to(root).as_posix())


def folder_files(folder: Path) -> list[Path]:
    """The files of text under a folder, sorted by path, hidden ones left out; tables if it holds no text of its own.

    Raises UserError where a folder cannot be read or nothing is found.
    """
    from .tables import TABLE_SUFFIXES, table_kind

    def fail(error: OSError) -> None:
        raise unreadable(Path(error.filename), error)

    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place) / name for name in files if not name.startswith(".")]
    found.sort(key=lambda path: path.relative_to(folder).as_posix())
    texts = [path for path in found if path.suffix.lower() in TEXT_SUFFIXES]
    tables = [path for path in found if table_kind(path) and path.name not in _ABOUT_TABLES]
    if tables and all(is_about(path, folder) for path in texts):
        texts = []
    kinds = sorted({table_kind(path) or "" for path in tables})
    if not texts and len(kinds) > 1:
        raise UserError(f"the folder {folder} holds tables of several kinds ({', '.join(kinds)}): name one file")
    if not texts and not tables:
        looked_for = ", ".join("*" + suffix for suffix in (*TEXT_SUFFIXES, *TABLE_SUFFIXES))
        raise UserError(f"the folder {folder} holds no text: looked for {looked_for}")
    return texts or tables


def is_about(path: Path, folder: Path) -> bool:
    """Whether a text tells of the data beside it: a readme, a licence, the script that comes with a data set."""
    return _ABOUT.fullmatch(path.stem.casefold()) is not None or path.name == f"{folder.resolve().name}.py"


def hash_files(files: list[Path], *settings: object) -> str:
    """SHA-256 over the bytes of each file in turn, and the settings."""
    total = hashlib.sha256(repr(settings).encode())
    for path in files:
        digest = hashlib.sha256()
        try:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
        except OSError as error:
            raise unreadable(path, error) from None
        total.update(digest.digest())
    return total.hexdigest()


def size_of(path: Path) -> int:
    """Bytes of a file. Raises UserError."""
    try:
        return path.stat().st_size
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> UserError:
    """The sentence for a file that the system will not give."""
    why = error.strerror or str(error)
    remedy = "; give yourself the right to read it" if isinstance(error, PermissionError) else ""
    return UserError(f"cannot read {path}: {why}{remedy}")


def read_blocks(path: Path) -> Iterator[str]:
    """A UTF-8 file as blocks of characters, a byte order mark dropped, line ends as they are."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    try:
        with path.open("rb") as file:
            while True:
                block = file.read(READ_BYTES)
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


def read_lines(path: Path) -> Iterator[str]:
    rest = ""
    for block in read_blocks(path):
        lines = (rest + block).split("\n")
        rest = lines.pop()
        for line in lines:
            yield line + "\n"
    if rest:
        yield rest
