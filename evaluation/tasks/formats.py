"""Rows of local files, in the publishers' own shapes or the hub's -> rows in the hub's shape.

The shape is told by the columns. A row that fits none is refused with its file and line.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

from ...data.tables import Row
from ...errors import UserError
from .task import Record


@dataclass(frozen=True)
class Shape:
    """One way in which a data set is published."""

    columns: tuple[str, ...]
    """A row that has all of these is of this shape; the first shape that fits is taken."""
    convert: Callable[[Record], Record]


class _WrongCell(Exception):
    """A cell that does not hold what its column must; the text says which."""


def to_hub(name: str, rows: Iterable[Row], task: str) -> Iterator[Row]:
    """Rows in the shape of FORMATS[name], each checked. Raises UserError with the place of a row that does not fit."""
    shapes = FORMATS[name]
    for where, row in rows:
        shape = next((shape for shape in shapes if all(column in row for column in shape.columns)), None)
        if shape is None:
            wanted = " or ".join(", ".join(shape.columns) for shape in shapes)
            raise UserError(
                f"{where} has the columns {', '.join(map(str, row)) or '(none)'}, and {task} wants {wanted}: name a "
                "file in the publisher's format or the hub's"
            )
        try:
            yield where, shape.convert(row)
        except _WrongCell as error:
            raise UserError(f"{where} is no row of {task}: {error}") from None


def _text(row: Record, *columns: str) -> Record:
    for column in columns:
        if not isinstance(row.get(column), str):
            raise _WrongCell(f"'{column}' holds {_short(row.get(column))}, and text is wanted")
    return row


def _texts(value: Any, column: str, number: int | None = None) -> list[str]:
    texts = cast("list[Any]", value)
    if not isinstance(value, list) or not all(isinstance(text, str) for text in texts):
        raise _WrongCell(f"'{column}' holds {_short(value)}, and a list of texts is wanted")
    if (number is not None and len(texts) != number) or len(texts) < 2:
        raise _WrongCell(f"'{column}' holds {len(texts)} texts, and {number or 'two or more'} are wanted")
    return texts


def _number(row: Record, column: str, choices: int) -> int:
    """A label: a number, a number as text, or a truth value."""
    value = row.get(column)
    try:
        number = int(cast(Any, value))
    except (TypeError, ValueError):
        number = -1
    if not 0 <= number < choices or isinstance(value, float):
        raise _WrongCell(f"'{column}' holds {_short(value)}, and a number from 0 to {choices - 1} is wanted")
    return number


def _short(value: object) -> str:
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# ARC, OpenBookQA, CommonsenseQA: one shape by the Allen Institute, another on the hub


def _science(stem: str, hub_row: Record) -> Record:
    """The hub's columns, `stem` the question's: choices are {"text": [...], "label": [...]}."""
    _text(hub_row, stem, "answerKey")
    choices = hub_row["choices"]
    if not isinstance(choices, dict):
        raise _WrongCell(f"'choices' holds {_short(choices)}, and texts and labels are wanted")
    found = cast("dict[str, Any]", choices)
    texts = _texts(found.get("text"), "choices.text")
    labels = _texts(found.get("label"), "choices.label", len(texts))
    if hub_row["answerKey"].lstrip() not in labels:
        raise _WrongCell(f"answerKey is {_short(hub_row['answerKey'])}, and the choices are {', '.join(labels)}")
    return hub_row


def _science_raw(stem: str, row: Record) -> Record:
    """The publisher's: question is {"stem": ..., "choices": [{"text": ..., "label": ...}, ...]}."""
    question = row["question"]
    if not isinstance(question, dict) or not isinstance(question.get("choices"), list):
        raise _WrongCell(f"'question' holds {_short(cast(object, question))}, and its stem and choices are wanted")
    inside = cast("dict[str, Any]", question)
    choices = [choice if isinstance(choice, dict) else {} for choice in inside["choices"]]
    flat = {key: value for key, value in inside.items() if key not in ("stem", "choices")}
    others = {key: value for key, value in row.items() if key != "question"}
    pairs = {"text": [choice.get("text") for choice in choices], "label": [choice.get("label") for choice in choices]}
    return _science(stem, {**others, **flat, stem: inside.get("stem"), "choices": pairs})


def _science_shapes(stem: str, *more: str) -> tuple[Shape, ...]:
    return (
        Shape((stem, "choices", "answerKey", *more), lambda row: _science(stem, _text(row, *more))),
        Shape(("question", "answerKey", *more), lambda row: _science_raw(stem, _text(row, *more))),
    )


def _five(shape: Shape) -> Shape:
    """CommonsenseQA's prompt names five choices."""

    def convert(row: Record) -> Record:
        converted = shape.convert(row)
        _texts(converted["choices"]["text"], "choices.text", 5)
        if converted["choices"]["label"] != list("ABCDE"):
            raise _WrongCell(f"the choices are labelled {', '.join(converted['choices']['label'])}, not A to E")
        return converted

    return Shape(shape.columns, convert)


# Two choices


def _piqa(row: Record) -> Record:
    return {**_text(row, "goal", "sol1", "sol2"), "label": _number(row, "label", 2)}


def _boolq(row: Record) -> Record:
    return {**_text(row, "passage", "question"), "label": _number(row, "label", 2)}


def _boolq_raw(row: Record) -> Record:
    """BoolQ as first published; SuperGLUE's passage begins with the article's title, which is kept apart here."""
    title = row.get("title")
    passage = f"{title} -- {row['passage']}" if title else row["passage"]
    return _boolq({"question": row["question"], "passage": passage, "label": row["answer"]})


def _copa(row: Record) -> Record:
    _text(row, "premise", "choice1", "choice2", "question")
    if row["question"] not in ("cause", "effect"):
        raise _WrongCell(f"'question' holds {_short(row['question'])}, and cause or effect is wanted")
    if not row["choice1"] or not row["choice2"]:
        raise _WrongCell("a choice is empty")
    return {**row, "label": _number(row, "label", 2)}


def _winogrande(row: Record) -> Record:
    _text(row, "sentence", "option1", "option2")
    if "_" not in row["sentence"]:
        raise _WrongCell("its sentence has no gap (_)")
    if str(row["answer"]) not in ("1", "2"):
        raise _WrongCell(f"'answer' holds {_short(row['answer'])}, and 1 or 2 is wanted (test files have no answers)")
    return {**row, "answer": str(row["answer"])}


def _blimp(row: Record) -> Record:
    return _text({"UID": "", **row}, "sentence_good", "sentence_bad", "UID")


# Longer ones


def _hellaswag(row: Record) -> Record:
    _text(row, "activity_label", "ctx", "ctx_a", "ctx_b")
    return {**row, "endings": _texts(row["endings"], "endings"), "label": _number(row, "label", len(row["endings"]))}


def _hellaswag_joined(row: Record) -> Record:
    """Where the context comes whole, its last part cannot be told from the rest and gets no capital letter."""
    return _hellaswag({**row, "ctx_a": row["ctx"], "ctx_b": ""})


def _mmlu(row: Record) -> Record:
    _text(row, "question", "subject")
    return {**row, "choices": _texts(row["choices"], "choices", 4), "answer": _number(row, "answer", 4)}


def _race(row: Record) -> Record:
    """One article with all its questions: {question, answer, options} each."""
    _text(row, "article")
    problems = cast("list[Any]", row["problems"])
    if not isinstance(row["problems"], list) or not all(isinstance(problem, dict) for problem in problems):
        raise _WrongCell("'problems' holds no list of questions")
    if not problems:
        raise _WrongCell("'problems' holds no question")
    for problem in problems:
        _text(problem, "question", "answer")
        options = _texts(problem.get("options"), "options", 4)
        if problem["answer"] not in "ABCD"[: len(options)] or not problem["answer"]:
            raise _WrongCell(f"'answer' holds {_short(problem['answer'])}, and a letter from A to D is wanted")
    return row


def _race_hub(row: Record) -> Record:
    """`problems` is a list, on the hub as text in Python's notation."""
    problems = row["problems"]
    if isinstance(problems, str):
        try:
            problems = ast.literal_eval(problems)
        except (ValueError, SyntaxError):
            problems = None
    return _race({**row, "problems": problems})


def _race_raw(row: Record) -> Record:
    """The publisher's .txt files: three lists of the same length."""
    lists = [cast("list[Any]", row[column]) for column in ("questions", "answers", "options")]
    if not all(isinstance(column, list) for column in lists) or len({len(column) for column in lists}) != 1:
        raise _WrongCell("'questions', 'answers' and 'options' are not lists of the same length")
    problems = [
        {"question": question, "answer": answer, "options": options}
        for question, answer, options in zip(*lists, strict=True)
    ]
    return _race({**row, "problems": problems})


def _truthful(row: Record) -> Record:
    _text(row, "question")
    converted = dict(row)
    for column in ("mc1_targets", "mc2_targets"):
        targets = row[column]
        if not isinstance(targets, dict):
            raise _WrongCell(f"'{column}' holds {_short(targets)}, and choices with 0 or 1 are wanted")
        pairs = cast("dict[str, Any]", targets)
        if set(pairs) != {"choices", "labels"}:  # the publisher's: {choice: 0 or 1}
            pairs = {"choices": list(pairs), "labels": list(pairs.values())}
        choices = _texts(pairs["choices"], column)
        labels = cast("list[Any]", pairs["labels"])
        if len(labels) != len(choices) or any(label not in (0, 1) for label in labels) or 1 not in labels:
            raise _WrongCell(f"'{column}' does not mark its choices with 0 and 1")
        if column == "mc1_targets" and labels.count(1) != 1:
            raise _WrongCell(f"'mc1_targets' marks {labels.count(1)} choices as true, and one is wanted")
        converted[column] = {"choices": choices, "labels": labels}
    return converted


FORMATS: dict[str, tuple[Shape, ...]] = {
    "arc": _science_shapes("question"),
    "openbook_qa": _science_shapes("question_stem"),
    "openbook_qa_with_fact": _science_shapes("question_stem", "fact1"),
    "commonsense_qa": tuple(_five(shape) for shape in _science_shapes("question")),
    "piqa": (Shape(("goal", "sol1", "sol2", "label"), _piqa),),
    "boolq": (
        Shape(("passage", "question", "label"), _boolq),
        Shape(("passage", "question", "answer"), _boolq_raw),
    ),
    "copa": (Shape(("premise", "choice1", "choice2", "question", "label"), _copa),),
    "winogrande": (Shape(("sentence", "option1", "option2", "answer"), _winogrande),),
    "blimp": (Shape(("sentence_good", "sentence_bad"), _blimp),),
    "hellaswag": (
        Shape(("activity_label", "ctx_a", "ctx_b", "ctx", "endings", "label"), _hellaswag),
        Shape(("activity_label", "ctx", "endings", "label"), _hellaswag_joined),
    ),
    "mmlu": (Shape(("question", "subject", "choices", "answer"), _mmlu),),
    "race": (
        Shape(("article", "problems"), _race_hub),
        Shape(("article", "questions", "options", "answers"), _race_raw),
    ),
    "truthful_qa": (Shape(("question", "mc1_targets", "mc2_targets"), _truthful),),
}
