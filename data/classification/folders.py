"""Which files of a folder are which split: tables named after their splits, or a folder of texts for each class."""

from __future__ import annotations

import re
from pathlib import Path

from ...errors import UserError, notice
from ..splits import SPLIT_WORDS
from ..tables import TABLE_SUFFIXES, is_table, table_kind
from .examples import SPLITS, TEST, TRAIN, VALIDATION

UNLABELLED = ("unsup", "unsupervised")
TEXTS = (".txt", ".text")
WHOLE = "all"
"""What files are called that no name puts into a split."""
KEYS = {TRAIN: "train_path", VALIDATION: "eval_path", TEST: "test_path"}


def files_of(path: Path, split: str) -> list[Path]:
    """The files of one split under a path that is given for it.

    Raises:
        UserError: the path holds other splits and not this one, or nothing.
    """
    found = find_splits(path)
    if split in found or WHOLE in found:
        return found[split if split in found else WHOLE]
    raise UserError(f"{path} holds {_listed(found)} and nothing named {split}: name the file in dataset.{KEYS[split]}")


def find_splits(path: Path, say: bool = True) -> dict[str, list[Path]]:
    """The files of each split under a path; where nothing says a split, all of them are WHOLE.

    With `say` a note tells of files that are left out. Raises UserError where there is no labelled text.
    """
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if path.is_file():
        if not is_table(path):
            raise UserError(
                f"{path} is no table ({', '.join(TABLE_SUFFIXES)}): a text without labels trains no classifier"
            )
        return {WHOLE: [path]}
    splits = _tables(path, say) or _class_folders(path, say)
    if not splits:
        raise UserError(
            f"{path}: no labelled texts in it: looked for tables ({', '.join(TABLE_SUFFIXES)}) and for a folder of "
            "*.txt for each class"
        )
    return splits


def to_train_on(path: Path, say: bool = True) -> dict[str, list[Path]]:
    """The same, what no name puts into a split being for training. Raises UserError where nothing is."""
    splits = find_splits(path, say)
    if WHOLE in splits:
        return {TRAIN: splits[WHOLE]}
    if TRAIN not in splits:
        raise UserError(f"{path} holds {_listed(splits)} and nothing named train: name the file in dataset.train_path")
    return splits


def _listed(splits: dict[str, list[Path]]) -> str:
    return ", ".join(str(file) for files in splits.values() for file in files[:1])


def _tables(folder: Path, say: bool) -> dict[str, list[Path]]:
    """The tables under a folder by split, going by the file's name, else by its folder's.

    A file called exactly by the split goes before others (dev.tsv before SST-2-val.parquet).
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file() and is_table(path) and path.name[0] != ".")
    if len(found) == 1 and _split_of(found[0], folder) is None:
        return {WHOLE: found}
    splits: dict[str, list[Path]] = {}
    for split in SPLITS:
        files = [path for path in found if _split_of(path, folder) == split]
        exact = [path for path in files if _stem(path) in SPLIT_WORDS]
        kinds = {table_kind(path) for path in exact or files}
        if len(kinds) > 1 or len(exact) > 1:
            listed = ", ".join(str(path) for path in (exact or files)[:3])
            raise UserError(
                f"{folder} has several files for the {split} split ({listed}): name one with dataset.train_path "
                "and dataset.eval_path"
            )
        if exact or files:
            splits[split] = exact or files
    used = {path for files in splits.values() for path in files}
    if say and splits and (left := [path for path in found if path not in used]):
        notice(f"{folder}: not read, since other files are the splits: {', '.join(path.name for path in left[:5])}")
    if not splits and found:
        listed = ", ".join(path.name for path in found[:3])
        raise UserError(f"{folder} holds several tables, none named train ({listed}): name one in dataset.train_path")
    return splits


def _stem(path: Path) -> str:
    return path.name.casefold().split(".")[0]


def _split_of(path: Path, root: Path) -> str | None:
    """The split that a file's name says, else the nearest folder's below `root`."""
    for part in (_stem(path), *(folder.casefold() for folder in reversed(path.relative_to(root).parts[:-1]))):
        words = re.split(r"[^a-z]+", part)
        if split := next((SPLIT_WORDS[word] for word in words if word in SPLIT_WORDS), None):
            return split
    return None


def _class_folders(folder: Path, say: bool) -> dict[str, list[Path]]:
    """A folder for each class with a text a file, under a folder for each split or at once under `folder`."""
    splits: dict[str, list[Path]] = {}
    for place in _folders(folder):
        split = SPLIT_WORDS.get(place.name.casefold())
        if split is not None and (texts := _texts_by_class(place, say)):
            splits[split] = texts
    if splits:
        return splits
    texts = _texts_by_class(folder, say)
    if of_split := next((path.parent for path in texts if path.parent.name.casefold() in SPLIT_WORDS), None):
        raise UserError(
            f"{of_split} is called as a split is, and its texts lie in no folder of a class: give each class a folder "
            "below it, or call it otherwise"
        )
    return {WHOLE: texts} if texts else {}


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")


def _texts_by_class(folder: Path, say: bool) -> list[Path]:
    files: list[Path] = []
    for place in _folders(folder):
        found = sorted(path for path in place.iterdir() if path.suffix.lower() in TEXTS)
        if not found or place.name.casefold() not in UNLABELLED:
            files += found
        elif say:
            notice(f"{place}: {len(found):,} texts without a label, not read")
    return files
