"""A labelled text, the splits of a data set, and which of its columns are the text and the label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ...errors import UserError, nearest
from ..tables import Row

LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "sentiment", "polarity", "stars", "rating", "topic")
TEXT_COLUMNS = ("text", "sentence", "review", "review_text", "content", "document", "body", "article", "comment")
TITLES = ("title", "subject", "headline")
BODIES = ("description", "content", "text", "body", "review", "article")
PAIRS = (("sentence1", "sentence2"), ("premise", "hypothesis"), ("question1", "question2"), ("text_a", "text_b"))
TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Example:
    """One text, or pair of texts, with its label as it was written, and where that was: `file:line`."""

    text: str
    label: Any
    where: str
    pair: str | None = None


@dataclass(frozen=True)
class Columns:
    """The columns to read. Several of text are joined by a space, as a title and what follows it."""

    text: tuple[str, ...]
    label: str
    pair: str | None = None
    label_name: str | None = None  # holds the label in words (`label_text` beside `label`)


@dataclass(frozen=True)
class Labelled:
    """The splits that a source has, each a list of examples, and the names of its labels where it tells them.

    `first` is the number of the first name: 1 for the csv files whose classes.txt counts from 1.
    """

    name: str
    splits: dict[str, list[Example]]
    label_names: tuple[str, ...] | None = None
    first: int = 0
    notes: tuple[str, ...] = field(default=())


def find_columns(row: dict[str, Any], source: str, named: Columns | None, dataset: Any) -> Columns:
    """The columns of the configuration's names, of the known data set, or those with usual names.

    Raises:
        UserError: a named one is not there, or nothing says which they are.
    """
    columns = list(row)
    text_column = getattr(dataset, "text_column", None)
    label_column = getattr(dataset, "label_column", None)
    pair_column = getattr(dataset, "text_pair_column", None)
    for key, column in (("text", text_column), ("label", label_column), ("text_pair", pair_column)):
        if column is not None and column not in columns:
            raise UserError(f"{source} has no column '{column}' (dataset.{key}_column).{nearest(column, columns)}")
    if named is None or any(column not in columns for column in (*named.text, named.label)):
        label = label_column or _usual(columns, LABEL_COLUMNS)
        if label is None:
            raise UserError(
                f"{source} has no column of labels ({', '.join(LABEL_COLUMNS[:4])}, ...) among {', '.join(columns)}: "
                "name it in dataset.label_column"
            )
        known = text_column and ((text_column,), pair_column)
        text, pair = known or _texts([c for c in columns if c != label], row, source, pair_column)
        named = Columns(text, label, pair)
    else:
        named = replace(named, label=label_column or named.label)
        if text_column is not None:
            named = replace(named, text=(text_column,), pair=None)
        if pair_column is not None:
            named = replace(named, pair=pair_column)
    chosen = [*named.text, named.label, *([named.pair] if named.pair else [])]
    if twice := next((column for column in chosen if chosen.count(column) > 1), None):
        raise UserError(
            f"the column '{twice}' of {source} is given two parts: text, pair and label are different columns"
        )
    words = next((f"{named.label}_{end}" for end in ("text", "name") if f"{named.label}_{end}" in columns), None)
    return replace(named, label_name=words if words not in named.text else None)


def _texts(
    columns: list[str], row: dict[str, Any], source: str, pair_column: str | None
) -> tuple[tuple[str, ...], str | None]:
    """The columns of the text, and that of a second text."""
    columns = [column for column in columns if column != pair_column]
    for first, second in PAIRS:
        if first in columns and (second in columns or pair_column):
            return (first,), pair_column or second
    title, body = _usual(columns, TITLES), _usual(columns, BODIES)
    if title and body:
        return (title, body), pair_column
    usual = _usual(columns, TEXT_COLUMNS)
    texts = [column for column in columns if isinstance(row[column], str)]
    if usual is None and len(texts) != 1:
        raise UserError(
            f"{source} has the columns {', '.join(columns)}: name the one with the text in dataset.text_column"
        )
    return (usual or texts[0],), pair_column


def _usual(columns: Iterable[str], names: tuple[str, ...]) -> str | None:
    """The first of `names` that is a column, in whatever case."""
    by_folded = {column.casefold(): column for column in reversed(list(columns))}
    return next((by_folded[name] for name in names if name in by_folded), None)


def examples_of(rows: Iterable[Row], columns: Columns, names: dict[Any, str] | None = None) -> list[Example]:
    """The examples of rows; what the labels are called in words is added to `names`.

    Raises:
        UserError: a row lacks a column, or its text is none.
    """
    examples: list[Example] = []
    for where, row in rows:
        text = " ".join(cell for cell in (_cell(row, column, where) for column in columns.text) if cell)
        pair = _cell(row, columns.pair, where) if columns.pair else None
        if not text or (columns.pair and not pair):
            column = " and ".join(f"'{name}'" for name in (columns.text if not text else (columns.pair or "",)))
            raise UserError(f"{where}: the text is empty (column {column}): delete the row")
        if columns.label not in row:
            raise UserError(f"{where}: no column '{columns.label}'.{nearest(columns.label, row)}")
        label = row[columns.label]
        word = row.get(columns.label_name) if columns.label_name else None
        if names is not None and isinstance(word, str) and names.setdefault(label, word) != word:
            raise UserError(f"{where}: the label {label!r} is called '{word}' here and '{names[label]}' before")
        examples.append(Example(text, label, where, pair))
    return examples


def _cell(row: dict[str, Any], column: str, where: str) -> str:
    """The text of a cell, without white space around it; empty for a missing one."""
    if column not in row:
        raise UserError(f"{where}: no column '{column}'.{nearest(column, row)}")
    value = row[column]
    if value is None:
        return ""
    if not isinstance(value, str):
        raise UserError(f"{where}: the column '{column}' holds {value!r}, and text is wanted")
    return value.strip()
