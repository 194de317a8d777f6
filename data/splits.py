"""Which files of a folder are for training, and which are kept apart, by their names and those of their folders.

wiki.train.raw  wiki.valid.raw  wiki.test.raw      train-00000-of-00002.parquet  ...      train/*.txt  dev/*.txt
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import notice
from .files import is_about
from .tables import is_table

TRAIN, VALIDATION, TEST, OTHER = "train", "validation", "test", "other"
SPLIT_WORDS = {
    "train": TRAIN,
    "training": TRAIN,
    "dev": VALIDATION,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "eval": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_TEXTS = (".txt", ".text", ".raw")  # source code and manuals have files called test.py and dev.md
_NAME = re.compile(rf"(.*[._-])?({'|'.join(SPLIT_WORDS)})([._-]\d+([._-]of[._-]\d+)?)?(\.[a-z]+)+")


def files_by_split(folder: Path, files: list[Path]) -> dict[str, list[Path]]:
    """The files of each split, where there are some to train on and others; else all of them are for training.

    Those of no split are `other`, if they are fewer.
    """
    by_split: dict[str, list[Path]] = {}
    for path in files:
        by_split.setdefault(split_of(path, folder) or OTHER, []).append(path)
    other = by_split.get(OTHER, [])
    strangers = sum(not is_about(path, folder) for path in other)
    if TRAIN not in by_split or len(by_split) - bool(other) == 1 or strangers >= len(files) - len(other):
        return {TRAIN: files}
    return by_split


def kept_apart(by_split: dict[str, list[Path]]) -> list[Path]:
    """The files to evaluate on: those of the validation split, else those of the test split."""
    return by_split.get(VALIDATION) or by_split.get(TEST) or []


def say_splits(name: str, by_split: dict[str, list[Path]], *, evaluated: bool = True) -> None:
    """The note on what each file of a folder of several splits is for."""
    if len(by_split) < 2:
        return
    held = kept_apart(by_split) if evaluated else []
    rest = [path for files in by_split.values() if files not in (by_split[TRAIN], held) for path in files]
    parts = {"trained on": by_split[TRAIN], "held out": held, "not read": rest}
    said = "; ".join(f"{what}: {_listed(files)}" for what, files in parts.items() if files)
    notice(f"{name} is a folder of splits: {said}")


def _listed(files: list[Path]) -> str:
    more = f", ... ({len(files)} files)" if len(files) > 3 else ""
    return ", ".join(path.name for path in files[:3]) + more


def split_of(path: Path, root: Path) -> str | None:
    """The split at the end of a file's name (`data_train-00001.csv`), else the nearest folder's below `root`."""
    if path.suffix.lower() not in _TEXTS and not is_table(path):
        return None
    if found := _NAME.fullmatch(path.name.casefold()):
        return SPLIT_WORDS[found[2]]
    folders = reversed(path.relative_to(root).parts[:-1])
    return next((SPLIT_WORDS[name.casefold()] for name in folders if name.casefold() in SPLIT_WORDS), None)
