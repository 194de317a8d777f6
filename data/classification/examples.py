"""A labelled text, and the splits of a data set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import UserError
from ..tables import Row
from .bad_rows import BadRows
from .columns import Columns

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One text, or pair of texts, with its label as it was written, and where that was: `file:line`."""

    text: str
    label: Any
    where: str
    pair: str | None = None


@dataclass(frozen=True)
class Labelled:
    """The splits that a source has, each a list of examples, and the names of its labels where it tells them.

    `first` is the number of the first name: 1 for the csv files whose classes.txt counts from 1. `reads` says what was
    taken for text and label, where that was found out. `counts` has the rows of each label in the whole training split,
    where only some of its rows were read.
    """

    name: str
    splits: dict[str, list[Example]]
    label_names: tuple[str, ...] | None = None
    first: int = 0
    reads: str | None = None
    counts: Mapping[Any, int] | None = None


def examples_of(
    rows: Iterable[Row], columns: Columns, bad: BadRows, names: dict[Any, str] | None = None
) -> list[Example]:
    """The examples of rows, bad ones left out and counted; what labels are called in words is added to `names`.

    A bad row lacks a column, its text, which may be empty, or its label. Raises UserError where one label is called by
    two words.
    """
    words = {} if names is None else names
    examples: list[Example] = []
    for where, row in rows:
        bad.rows += 1
        try:
            example = _example(where, row, columns)
        except UserError as error:
            bad.add(str(error))
            continue
        word = row.get(columns.label_name) if columns.label_name else None
        label = example.label
        # A list of labels, which cannot be one, is refused with the others.
        is_one = isinstance(label, int | float | str)
        if is_one and isinstance(word, str) and words.setdefault(label, word) != word:
            raise UserError(f"{where}: the label {label!r} is called '{word}' here and '{words[label]}' before")
        examples.append(example)
    return examples


def is_missing(label: Any) -> bool:
    """Whether a cell holds no label."""
    if isinstance(label, str):
        return not label.strip()
    return label is None or (isinstance(label, float) and math.isnan(label))


def _example(where: str, row: dict[str, Any], columns: Columns) -> Example:
    text = " ".join(cell for cell in (_cell(row, column, where) for column in columns.text) if cell)
    pair = _cell(row, columns.pair, where) if columns.pair else None
    if not text or (columns.pair and not pair):
        column = " and ".join(f"'{name}'" for name in (columns.text if not text else (columns.pair or "",)))
        raise UserError(f"{where}: the text is empty (column {column})")
    if columns.label not in row:
        raise UserError(f"{where}: no column '{columns.label}'")
    if is_missing(row[columns.label]):
        raise UserError(f"{where}: the label is missing")
    return Example(text, row[columns.label], where, pair)


def _cell(row: dict[str, Any], column: str, where: str) -> str:
    """The text of a cell, without white space around it; empty for a missing one."""
    if column not in row:
        raise UserError(f"{where}: no column '{column}'")
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: the column '{column}' holds {value!r}, and text is wanted")
    return value.strip()
