"""Labels as they are written into classes 0 .. n-1 with names, and everything that can be wrong with them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ...errors import UserError, nearest, notice
from .examples import SPLITS, TRAIN, Example, Labelled

Label = int | str
_MANY = 20  # classes that are believed however few the rows


def number_labels(source: Labelled) -> tuple[dict[str, list[int]], tuple[str, ...]]:
    """The class of each example, by split, and the names of the classes.

    Whole numbers are ordered as numbers, words by the alphabet. A source that tells the names counts from its first.

    Raises:
        UserError: a label that is none, one out of range, a split with a label that training never sees, one class
            only, or so many that they are no classes. It names file and row.
    """
    train = source.splits[TRAIN]
    as_number = all(_number(example.label) is not None for example in train[:1])
    read = {
        split: [read_label(example.label, example.where, as_number) for example in source.splits[split]]
        for split in SPLITS
        if split in source.splits
    }
    names = source.label_names
    if names is not None:
        classes = {split: _by_name(source, source.splits[split], labels) for split, labels in read.items()}
    else:
        found = set(read[TRAIN]) | {read_label(label, source.name, as_number) for label in source.counts or ()}
        values = sorted(found, key=lambda value: (str(type(value)), value))
        n_rows = len(train) if source.counts is None else sum(source.counts.values())
        _check_count(values, n_rows, train[0].where, source.name)
        number = {value: i for i, value in enumerate(values)}
        for split, labels in read.items():
            for example, label in zip(source.splits[split], labels, strict=True):
                if label not in number:
                    raise UserError(
                        f"{example.where}: the label {label!r} of the {split} rows is none that the training rows have."
                        f"{nearest(label, values)}"
                    )
        classes = {split: [number[label] for label in labels] for split, labels in read.items()}
        names = tuple(map(str, values))
    present = {split: set(found) for split, found in classes.items()}
    if len(names) < 2 or len(present[TRAIN]) < 2:
        only = names[min(present[TRAIN])]
        raise UserError(
            f"all {len(train):,} training rows of {source.name} have one class, '{only}': nothing can be told apart"
        )
    for split, found in present.items():
        if absent := sorted(set(range(len(names))) - found):
            listed = ", ".join(f"'{names[i]}'" for i in absent[:5])
            notice(f"{source.name}: no {split} row has the class {listed}")
    if names[0].startswith("-") and is_negative(names[0]):
        notice(
            f"{source.name}: the labels {', '.join(names)} are taken for {len(names)} classes: if {names[0]} says that "
            "a row has none, delete its rows"
        )
    return classes, names


def read_label(label: Any, where: str, as_number: bool) -> Label:
    """The label as a number where those of the data set are, else as a word. Raises UserError for one that is none."""
    number = _number(label)
    if number is None and not isinstance(label, str):
        raise UserError(f"{where}: the label is {label!r}, and a whole number or a word is wanted")
    if as_number and number is None:
        raise UserError(f"{where}: the label is {label!r}, and those before are whole numbers")
    if number is not None and not number.is_integer():
        raise UserError(
            f"{where}: the label is {label!r}, a number between classes: scores cannot be learned as classes, "
            "give each row a whole number or a word (dataset.label_column)"
        )
    if as_number and number is not None:
        return int(number)
    return str(label).strip()


def is_negative(label: Any) -> bool:
    """Whether a label is, or spells, a number below 0: a class where `are_signed`, else the word for none."""
    number = _number(label)
    return number is not None and number < 0


def are_signed(labels: Iterable[Any]) -> bool:
    """Whether negative numbers among the labels of training are classes: all lie evenly around 0, as -1, 0, 1 do."""
    found = {_number(label) for label in labels}
    numbers = {number for number in found if number is not None}
    return numbers == found and min(numbers, default=0) < 0 and numbers == {-number for number in numbers}


def _number(label: Any) -> float | None:
    """The number that a label is or spells; None for a word."""
    if isinstance(label, int | float):
        return float(label)
    if not isinstance(label, str):
        return None
    try:
        number = float(label)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _by_name(source: Labelled, examples: list[Example], labels: Sequence[Label]) -> list[int]:
    """The classes where the source tells the names: by number, or by name."""
    names = list(source.label_names or ())
    known = {name: i for i, name in enumerate(names)}
    classes: list[int] = []
    for example, label in zip(examples, labels, strict=True):
        if isinstance(label, str):
            if label not in known:
                raise UserError(f"{example.where}: the label '{label}' is not known.{nearest(label, names)}")
            classes.append(known[label])
            continue
        if not source.first <= label < source.first + len(names):
            last = source.first + len(names) - 1
            raise UserError(
                f"{example.where}: the label {label} is out of range: the {len(names)} classes of {source.name} are "
                f"{source.first} ({names[0]}) to {last} ({names[-1]})"
            )
        classes.append(label - source.first)
    return classes


def _check_count(values: list[Label], n_rows: int, where: str, source: str) -> None:
    """A column in which nearly every row has a value of its own holds no classes."""
    if len(values) > _MANY and len(values) > n_rows // 2:
        raise UserError(
            f"{where}: the labels of {source} have {len(values):,} values in {n_rows:,} rows, so they are no classes: "
            "name the column of the label in dataset.label_column, or trainer.loss_fn to train on the text"
        )
