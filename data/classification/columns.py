"""Which columns of a labelled table are the text and the label."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ...errors import UserError, nearest

# A table with one of these is taken for classes. `topic` and the like stand beside the text of many a corpus: such a
# column has to be named.
LABEL_COLUMNS = ("label", "labels", "class", "category", "target", "sentiment", "polarity", "stars", "rating")
TEXT_COLUMNS = ("text", "sentence", "review", "review_text", "content", "document", "body", "article", "comment")
BODIES = ("description", "content", "text", "body", "review", "article")
# What a heading is read with. The subject of a letter belongs to its body; beside a `text` it is a name for the class.
HEADINGS = {"title": BODIES, "headline": BODIES, "subject": ("body", "message", "content")}
PAIRS = (
    ("sentence1", "sentence2"),
    ("sentence_a", "sentence_b"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("question", "sentence"),
    ("question", "passage"),
    ("query", "passage"),
    ("claim", "evidence"),
)


@dataclass(frozen=True)
class Columns:
    """The columns to read. Several of text are joined by a space, as a title and what follows it."""

    text: tuple[str, ...]
    label: str
    pair: str | None = None
    label_name: str | None = None  # holds the label in words (`label_text` beside `label`)

    def said(self, row: dict[str, Any]) -> str:
        """What is read of rows like this one, as part of a sentence."""
        read = (*self.text, self.pair, self.label, self.label_name)
        left = [f"'{column}'" for column, cell in row.items() if isinstance(cell, str) and column not in read]
        text = ("columns " if len(self.text) > 1 else "column ") + " and ".join(f"'{column}'" for column in self.text)
        pair = f", the second text '{self.pair}'" if self.pair else ""
        rest = f" (not read: {', '.join(left[:5])}{', ...' if len(left) > 5 else ''})" if left else ""
        return f"the text is the {text}{pair}, the label '{self.label}'{rest}"


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
    if pair_column is None:
        for names in PAIRS:
            first, second = (_usual(columns, (name,)) for name in names)
            if first and second:
                return (first,), second
    for heading, bodies in HEADINGS.items():
        title, body = _usual(columns, (heading,)), _usual(columns, bodies)
        if title and body:
            return (title, body), pair_column
    usual = _usual(columns, TEXT_COLUMNS)
    if usual is None and pair_column is not None:
        usual = _usual(columns, tuple(first for first, _ in PAIRS))
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
