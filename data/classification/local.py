"""Labelled texts in local files: a table, a folder of tables named after their splits, or a folder for each class.

reviews.csv                                     one table: a part is held out
train.tsv  dev.tsv  test.tsv                    tables by split; several of one split (train-00000-of-00002) are joined
train/pos/*.txt  train/neg/*.txt  test/pos/...  a text a file, its folder the class (aclImdb), with splits or without
train.csv  test.csv  classes.txt                csv without a header: class number, title, text (AG News, Yelp, Amazon)
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import UserError, notice
from ..files import read_blocks, read_lines, unreadable
from ..tables import TABLE_SUFFIXES, Row, is_table, read_rows, table_kind
from .examples import SPLITS, TEST, TRAIN, VALIDATION, Columns, Example, Labelled, examples_of, find_columns

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
CLASSES = "classes.txt"
UNLABELLED = ("unsup", "unsupervised")
TEXTS = (".txt", ".text")


def read_local(dataset: Any, columns: Columns | None = None) -> Labelled:
    """The splits that the paths of a `dataset` section name.

    Raises:
        UserError: there is no such file, no labelled text in it, or a bad row.
    """
    given = {TRAIN: dataset.train_path, VALIDATION: dataset.eval_path, TEST: getattr(dataset, "test_path", None)}
    paths = {split: Path(path).expanduser() for split, path in given.items() if path is not None}
    name = str(dataset.train_path or dataset.name)
    if TRAIN in paths:
        for split, path in paths.items():
            if not path.exists():
                key = {TRAIN: "train_path", VALIDATION: "eval_path", TEST: "test_path"}[split]
                raise UserError(f"dataset.{key} is '{path}', and there is no such file or folder")
        parts = {split: _only(path, split) for split, path in paths.items()}
    else:
        parts = _splits_of(Path(name).expanduser()) | {split: _only(path, split) for split, path in paths.items()}
    return _read(name, parts, dataset, columns)


def holds_labels(path: Path, dataset: Any = None) -> bool:
    """Whether a path looks like labelled texts: a table with a usual column of labels, or folders of classes.

    No row but the first is read, and nothing is raised for what cannot be read.
    """
    try:
        files = _splits_of(path)[TRAIN]
        if not is_table(files[0]):
            return True
        _, row = next(_rows(files[0], dataset))
        _columns(row, files[0], None, dataset)
    except (UserError, StopIteration, KeyError, OSError):
        return False
    return True


# --- which files ---------------------------------------------------------------------------------------------------


def _only(path: Path, split: str) -> list[Path]:
    """The files of a split that has a path of its own."""
    if path.is_file():
        return [path]
    found = _splits_of(path, split)
    return found[split] if split in found else found[TRAIN]


def _splits_of(path: Path, wanted: str = TRAIN) -> dict[str, list[Path]]:
    """The files of each split under a path. Raises UserError where there is nothing to train on."""
    if not path.exists():
        raise UserError(f"{path}: there is no such file or folder")
    if path.is_file():
        if not is_table(path):
            raise UserError(
                f"{path} is no table ({', '.join(TABLE_SUFFIXES)}): a text without labels trains no classifier"
            )
        return {wanted: [path]}
    tables = _tables(path)
    splits = tables if tables else _class_folders(path)
    if not splits:
        raise UserError(
            f"{path}: no labelled texts in it: looked for tables ({', '.join(TABLE_SUFFIXES)}) and for a folder of "
            "*.txt for each class"
        )
    if wanted not in splits and TRAIN not in splits:
        there = ", ".join(str(file) for files in splits.values() for file in files[:1])
        raise UserError(f"{path} holds {there} and nothing named train: name the file in dataset.train_path")
    return splits


def _tables(folder: Path) -> dict[str, list[Path]]:
    """The tables under a folder by split, going by the file's name, else by its folder's; a single one is for training.

    A file called exactly by the split goes before others (dev.tsv before SST-2-val.parquet).
    """
    found = sorted(path for path in folder.rglob("*") if path.is_file() and is_table(path) and path.name[0] != ".")
    if len(found) == 1 and _split_of(found[0], folder) is None:
        return {TRAIN: found}
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
    if splits and (left := [path for path in found if path not in used]):
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


def _class_folders(folder: Path) -> dict[str, list[Path]]:
    """A folder for each class with a text a file, under a folder for each split or at once under `folder`."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    splits: dict[str, list[Path]] = {}
    for place in below:
        split = SPLIT_WORDS.get(place.name.casefold())
        if split is not None and (texts := _texts_by_class(place)):
            splits[split] = texts
    return splits or ({TRAIN: texts} if (texts := _texts_by_class(folder)) else {})


def _texts_by_class(folder: Path) -> list[Path]:
    files: list[Path] = []
    for place in sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != "."):
        found = sorted(path for path in place.iterdir() if path.suffix.lower() in TEXTS)
        if found and place.name.casefold() in UNLABELLED:
            notice(f"{place}: {len(found):,} texts without a label, not read")
        else:
            files += found
    return files


# --- reading them --------------------------------------------------------------------------------------------------


def _read(name: str, parts: dict[str, list[Path]], dataset: Any, columns: Columns | None) -> Labelled:
    splits: dict[str, list[Example]] = {}
    words: dict[Any, str] = {}
    for split, files in parts.items():
        examples: list[Example] = []
        for path in files:
            examples += [_text_file(path)] if not is_table(path) else _table(path, dataset, columns, words)
        if not examples:
            raise UserError(f"{files[0]}: there are no rows in it")
        splits[split] = examples
    names, first = _class_names(parts, splits)
    if names is None and words:
        names, first, splits = _in_words(words, splits)
    return Labelled(name, splits, names, first)


def _table(path: Path, dataset: Any, columns: Columns | None, words: dict[Any, str]) -> list[Example]:
    rows = _rows(path, dataset)
    first = next(rows, None)
    if first is None:
        return []
    found = _columns(first[1], path, columns, dataset)

    def all_rows() -> Iterator[Row]:
        yield first
        yield from rows

    return examples_of(all_rows(), found, words)


def _columns(row: dict[str, Any], path: Path, columns: Columns | None, dataset: Any) -> Columns:
    """Those of a table's first row; where it has no header its columns are numbered."""
    return _numbered(row, path, dataset) if "1" in row else find_columns(row, str(path), columns, dataset)


def _rows(path: Path, dataset: Any) -> Iterator[Row]:
    """The rows of a table. GLUE's tsv files have quotes in the text and none around it."""
    kind = table_kind(path)
    header = _first_line(path) if kind in ("csv", "tsv") else []
    names = [getattr(dataset, key, None) for key in ("text_column", "label_column", "text_pair_column")]
    headless = any(_is_whole(cell) for cell in header) or any(name and name.isdigit() for name in names)
    columns = [str(number + 1) for number in range(len(header))] if headless else None
    return read_rows(path, columns, quoted=kind != "tsv")


def _first_line(path: Path) -> list[str]:
    if path.suffix.lower() == ".gz":
        return list(next(read_rows(path, quoted=table_kind(path) != "tsv"), ("", {}))[1])
    text = next(read_blocks(path), "")
    is_tsv = table_kind(path) == "tsv"
    quoting = csv.QUOTE_NONE if is_tsv else csv.QUOTE_MINIMAL
    csv.field_size_limit(1 << 30)
    return next(csv.reader(io.StringIO(text, newline=""), delimiter="\t" if is_tsv else ",", quoting=quoting), [])


def _is_whole(cell: str) -> bool:
    return re.fullmatch(r"\s*[+-]?\d+\s*", cell) is not None


def _numbered(row: dict[str, Any], path: Path, dataset: Any) -> Columns:
    """The columns of a file without a header: the one whole number is the label, the others are the text."""
    label, text = getattr(dataset, "label_column", None), getattr(dataset, "text_column", None)
    pair = getattr(dataset, "text_pair_column", None)
    whole = [column for column, cell in row.items() if _is_whole(cell)]
    if label is None and len(whole) != 1:
        raise UserError(
            f"{path} has no header, and {len(whole)} of its {len(row)} columns hold whole numbers: give the number of "
            "the column with the label in dataset.label_column"
        )
    label = label or whole[0]
    for name in (label, text, pair):
        if name is not None and name not in row:
            raise UserError(f"{path} has no header, so its columns are called 1 to {len(row)}, and none is '{name}'")
    rest = tuple(column for column in row if column not in (label, pair))
    return Columns((text,) if text else rest, label, pair)


def _text_file(path: Path) -> Example:
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: byte {error.start} fits no character; convert it") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not text:
        raise UserError(f"{path}: the text is empty: delete the file")
    return Example(text, path.parent.name, str(path))


def _class_names(parts: dict[str, list[Path]], splits: dict[str, list[Example]]) -> tuple[tuple[str, ...] | None, int]:
    """The names of classes.txt beside the training file, and the number of the first: labels there count from 1."""
    path = parts[TRAIN][0].parent / CLASSES
    if not is_table(parts[TRAIN][0]) or not path.is_file():
        return None, 0
    names = tuple(line.strip() for line in read_lines(path) if line.strip())
    from_zero = any(str(example.label).strip() == "0" for examples in splits.values() for example in examples)
    return names, 0 if from_zero else 1


def _in_words(
    words: dict[Any, str], splits: dict[str, list[Example]]
) -> tuple[tuple[str, ...] | None, int, dict[str, list[Example]]]:
    """The names that a column of labels in words gives, where the numbers count up without a gap."""
    numbers = {int(label): word for label, word in words.items() if _is_whole(str(label))}
    first = min(numbers, default=0)
    if len(numbers) != len(words) or set(numbers) != set(range(first, first + len(numbers))):
        return None, 0, splits
    return tuple(numbers[i] for i in sorted(numbers)), first, splits
