"""Files of rows as they are published, where they are no plain tables: CSV without header, labels apart, XML, ..."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from ...data.files import unreadable
from ...data.tables import Row, read_rows, table_kind
from ...errors import UserError
from .task import Record


def is_readable(file: Path, kind: str) -> bool:
    """Whether the file's name is one that rows of this format come in."""
    if kind == "truthful_qa" and file.suffix.lower() == ".csv":
        return False  # TruthfulQA.csv holds the questions for generation
    return table_kind(file) is not None or (kind, file.suffix.lower()) in (("race", ".txt"), ("copa", ".xml"))


def read_file(file: Path, kind: str) -> Iterator[Row]:
    """The rows of a file of the format `kind` (a key of FORMATS), still in the publisher's shape.

    Raises UserError with the place of what cannot be read.
    """
    if kind == "race" and file.name.endswith(".txt"):
        return _one_object(file)
    if kind == "copa" and file.name.endswith(".xml"):
        return _copa_xml(file)
    if table_kind(file) is None:
        raise UserError(f"{file} has none of the names that tables have: .jsonl, .json, .csv, .tsv, .parquet")
    if kind == "mmlu" and file.name.endswith(".csv"):
        return _mmlu_csv(file)
    rows = read_rows(file)
    if kind == "piqa":
        return _piqa_labels(file, rows)
    if kind == "race":
        return by_article(rows)
    if kind == "blimp":  # a paradigm's name is its file's where the rows do not say it
        return ((where, {"UID": file.name.partition(".")[0], **row}) for where, row in rows)
    return rows


def _one_object(file: Path) -> Iterator[Row]:
    """RACE: an article and its questions are one JSON object a file."""
    try:
        row = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(file, error) from None
    except ValueError as error:
        raise UserError(f"{file} is no JSON object ({error})") from None
    if not isinstance(row, dict):
        raise UserError(f"{file} holds a {type(row).__name__}, and an article with its questions is wanted")
    yield str(file), cast(Record, row)


def by_article(rows: Iterable[Row]) -> Iterator[Row]:
    """RACE in one row a question, as one of its forms on the hub is: the questions of an article follow each other."""
    held: Record | None = None
    place = ""
    for where, row in rows:
        if "example_id" not in row or "question" not in row:
            yield where, row
            continue
        if held is not None and held["id"] != row["example_id"]:
            yield place, held
            held = None
        if held is None:
            held, place = {"id": row["example_id"], "article": row.get("article"), "problems": []}, where
        held["problems"].append({key: row.get(key) for key in ("question", "answer", "options")})
    if held is not None:
        yield place, held


def _mmlu_csv(file: Path) -> Iterator[Row]:
    """MMLU as first published: a file a subject, no header; question, four choices, the answer's letter."""
    subject = re.sub(r"_(test|dev|val|train)$", "", file.name.partition(".")[0])
    with file.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.reader(lines)
        try:
            for cells in reader:
                where = f"{file}:{reader.line_num}"
                if len(cells) != 6:
                    raise UserError(
                        f"{where} has {len(cells)} cells, and MMLU's files have 6 and no header: question, four choices"
                        ", the answer's letter"
                    )
                answer = "ABCD".find(cells[5]) if len(cells[5]) == 1 else -1
                if answer < 0:
                    raise UserError(f"{where} has the answer {cells[5]!r}, and a letter from A to D is wanted")
                yield where, {"question": cells[0], "subject": subject, "choices": cells[1:5], "answer": answer}
        except (csv.Error, UnicodeDecodeError) as error:
            raise UserError(f"{file}:{reader.line_num} is no CSV in UTF-8 ({error})") from None


def _piqa_labels(file: Path, rows: Iterable[Row]) -> Iterator[Row]:
    """PIQA keeps its labels in a file of their own, a line a row."""
    labels: list[str] | None = None
    beside = file.parent / f"{file.name.partition('.')[0]}-labels.lst"
    number = 0
    for where, row in rows:
        if "label" in row or "goal" not in row:
            yield where, row
            continue
        if labels is None:
            if not beside.exists():
                raise UserError(f"{where} has no label: PIQA's labels are wanted in {beside}")
            labels = beside.read_text().split()
        if number >= len(labels):
            raise UserError(f"{beside} holds {len(labels)} labels, and {where} has none")
        yield where, {**row, "label": labels[number]}
        number += 1
    if labels is not None and number != len(labels):
        raise UserError(f"{beside} holds {len(labels)} labels, and {file} {number} rows")


def _copa_xml(file: Path) -> Iterator[Row]:
    """COPA as first published."""
    from xml.etree import ElementTree

    try:
        items = ElementTree.fromstring(file.read_bytes()).iter("item")
    except ElementTree.ParseError as error:
        raise UserError(f"{file} is no XML ({error})") from None
    for item in items:
        cells = {name: (item.findtext(tag) or "").strip() for name, tag in _COPA_TAGS.items()}
        label = {"1": 0, "2": 1}.get(item.get("most-plausible-alternative", ""))
        yield f"{file}, item {item.get('id')}", {**cells, "question": item.get("asks-for"), "label": label}


_COPA_TAGS = {"premise": "p", "choice1": "a1", "choice2": "a2"}
