"""Labelled texts in local files: a table, a folder of tables named after their splits, or a folder for each class.

reviews.csv                                     one table: a part is held out
train.tsv  dev.tsv  test.tsv                    tables by split; several of one split (train-00000-of-00002) are joined
train/pos/*.txt  train/neg/*.txt  test/pos/...  a text a file, its folder the class (aclImdb), with splits or without
train.csv  test.csv  classes.txt                csv without a header: class number, title, text (AG News, Yelp, Amazon)
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...errors import UserError, notice
from ..files import read_lines, unreadable
from ..tables import Row, is_table, read_rows
from .bad_rows import BadRows
from .columns import Columns, find_columns
from .examples import SPLITS, TRAIN, Example, Labelled, examples_of
from .folders import KEYS, WHOLE, files_of, find_splits, to_train_on
from .headers import is_whole, numbered_columns, semicolon_columns
from .labels import are_signed, is_negative

CLASSES = "classes.txt"


def read_local(dataset: Any) -> Labelled:
    """The splits that the paths of a `dataset` section name; bad rows as dataset.on_bad_row says.

    Raises:
        UserError: there is no such file, no labelled text in it, one file is two splits, or a bad row.
    """
    given = {split: getattr(dataset, key, None) for split, key in KEYS.items()}
    paths = {split: Path(path).expanduser() for split, path in given.items() if path is not None}
    name = str(dataset.train_path or dataset.name)
    for split, path in paths.items():
        if not path.exists():
            raise UserError(f"dataset.{KEYS[split]} is '{path}', and there is no such file or folder")
    parts = {split: files_of(path, split) for split, path in paths.items()}
    if TRAIN not in parts:
        taken = {path.resolve() for files in parts.values() for path in files}
        for split, files in to_train_on(Path(name).expanduser()).items():
            if split not in parts and (split == TRAIN or taken.isdisjoint(path.resolve() for path in files)):
                parts[split] = files
    parts = {split: parts[split] for split in SPLITS if split in parts}
    _check_apart(parts)
    return _read(name, parts, dataset, BadRows.of(dataset))


def read_to_measure(path: Path, dataset: Any, bad: BadRows, signed: bool) -> Labelled:
    """What a file or folder holds for a classifier to be measured on: whatever splits there are, or all as `train`.

    `signed` is whether classes of it are called by negative numbers. Raises UserError as read_local does.
    """
    parts = find_splits(path)
    if WHOLE in parts:
        parts = {TRAIN: parts[WHOLE]}
    return _read(str(path), parts, dataset, bad, signed)


def holds_labels(path: Path, dataset: Any = None) -> bool:
    """Whether a path looks like labelled texts: a table with a usual column of labels, or folders of several classes.

    No row but the first is read, and nothing is said or raised of what cannot be read.
    """
    try:
        files = to_train_on(path, say=False)[TRAIN]
        if not is_table(files[0]):
            return len({file.parent.name for file in files}) > 1
        if names := semicolon_columns(files[0]):
            find_columns(dict.fromkeys(names, ""), "", None, dataset)
            return True
        numbers = numbered_columns(files[0], dataset)
        _, row = next(read_rows(files[0], numbers))
        _columns(row, files[0], numbers is not None, dataset)
    except (UserError, StopIteration, OSError):
        return False
    return True


def _check_apart(parts: dict[str, list[Path]]) -> None:
    """Raises UserError where the rows of one split would be those of another."""
    splits: dict[Path, str] = {}
    for split, files in parts.items():
        for path in files:
            other = splits.setdefault(path.resolve(), split)
            if other != split:
                raise UserError(
                    f"{path} would be the {other} rows and the {split} rows: name another file in "
                    f"dataset.{KEYS[split]}, or leave it out"
                )


# --- reading them --------------------------------------------------------------------------------------------------


def _read(name: str, parts: dict[str, list[Path]], dataset: Any, bad: BadRows, signed: bool | None = None) -> Labelled:
    """The examples of each split. `signed` is whether negative numbers are classes; None: the labels tell."""
    splits: dict[str, list[Example]] = {}
    words: dict[Any, str] = {}
    reads: str | None = None
    for split, files in parts.items():
        examples: list[Example] = []
        n_before = bad.rows
        for path in files:
            if is_table(path):
                more, said = _table(path, dataset, words, bad)
                reads = reads or said
            else:
                more = _text_file(path, bad)
            examples += more
        if bad.rows == n_before:
            raise UserError(f"{files[0]}: there are no rows in it")
        splits[split] = examples
    names, first = _class_names(parts, splits)
    # Names that count up from 0 or 1 leave none for a negative number.
    if signed is None:
        signed = names is None and are_signed(example.label for example in splits[TRAIN])
    splits = {split: _with_a_class(examples, signed, bad) for split, examples in splits.items()}
    bad.settle(name)
    for split, examples in list(splits.items()):
        if not examples and split == TRAIN:
            raise UserError(f"{name}: no row can be used; the first: {bad.first}")
        if not examples:
            notice(f"no {split} row of {name} can be used: the split is left out")
            del splits[split]
    if names is None and words:
        names, first = _in_words({label: word for label, word in words.items() if signed or not is_negative(label)})
    if reads is None:
        classes = sorted({str(example.label) for examples in splits.values() for example in examples})
        reads = f"each folder is a class ({', '.join(classes[:6])}{', ...' if len(classes) > 6 else ''})"
    return Labelled(name, splits, names, first, reads)


def _with_a_class(examples: list[Example], signed: bool, bad: BadRows) -> list[Example]:
    """Those whose label is a class; in GLUE's tests -1 says that there is none."""
    if signed:
        return examples
    kept: list[Example] = []
    for example in examples:
        if not is_negative(example.label):
            kept.append(example)
        else:
            bad.add(
                f"{example.where}: the label {example.label!r} says that the row has none (a class that is called so "
                "needs another name)"
            )
    return kept


def _table(path: Path, dataset: Any, words: dict[Any, str], bad: BadRows) -> tuple[list[Example], str | None]:
    """The examples of a table, and what was read as what."""
    numbers = numbered_columns(path, dataset)
    rows = read_rows(path, numbers)
    first = next(rows, None)
    if first is None:
        return [], None
    found = _columns(first[1], path, numbers is not None, dataset)

    def all_rows() -> Iterator[Row]:
        yield first
        yield from rows

    return examples_of(all_rows(), found, bad, words), found.said(first[1])


def _columns(row: dict[str, Any], path: Path, headless: bool, dataset: Any) -> Columns:
    """Those of a table's first row; where it has no header its columns are numbered."""
    return _numbered(row, path, dataset) if headless else find_columns(row, str(path), None, dataset)


def _numbered(row: dict[str, Any], path: Path, dataset: Any) -> Columns:
    """The columns of a file without a header: the one whole number is the label, the others are the text."""
    label, text = getattr(dataset, "label_column", None), getattr(dataset, "text_column", None)
    pair = getattr(dataset, "text_pair_column", None)
    whole = [column for column, cell in row.items() if is_whole(cell)]
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


def _text_file(path: Path, bad: BadRows) -> list[Example]:
    bad.rows += 1
    try:
        text = path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8: byte {error.start} fits no character; convert it") from None
    except OSError as error:
        raise unreadable(path, error) from None
    if not text:
        bad.add(f"{path}: the text is empty")
    return [Example(text, path.parent.name, str(path))] if text else []


def _class_names(parts: dict[str, list[Path]], splits: dict[str, list[Example]]) -> tuple[tuple[str, ...] | None, int]:
    """The names of classes.txt beside the training file, and the number of the first: labels there count from 1."""
    (beside, *_) = parts.get(TRAIN) or next(iter(parts.values()))
    path = beside.parent / CLASSES
    if not is_table(beside) or not path.is_file():
        return None, 0
    names = tuple(line.strip() for line in read_lines(path) if line.strip())
    from_zero = any(str(example.label).strip() == "0" for examples in splits.values() for example in examples)
    return names, 0 if from_zero else 1


def _in_words(words: dict[Any, str]) -> tuple[tuple[str, ...] | None, int]:
    """The names that a column of labels in words gives, where the numbers count up without a gap."""
    numbers = {int(label): word for label, word in words.items() if is_whole(label)}
    first = min(numbers, default=0)
    if len(numbers) != len(words) or set(numbers) != set(range(first, first + len(numbers))):
        return None, 0
    return tuple(numbers[i] for i in sorted(numbers)), first
