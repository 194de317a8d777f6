"""A domain's own questions: a file of prompts with choices, or with the answers that are wanted.

    {"prompt": "2 + 2 =", "choices": ["3", "4"], "answer": 1, "tag": "sums"}
    {"prompt": "The capital of France is", "answer": ["Paris"], "match": "contains", "tag": "geography"}

A choice is scored by log-likelihood, an answer is written by the model and matched. See docs/evaluation.md.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..data.tables import is_table, read_rows
from ..errors import UserError, nearest
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .engine import loglikelihoods, scored_by
from .requests import encode_requests, template_of
from .writing import check_writes, write

if TYPE_CHECKING:
    from .registry import EvalContext, Numbers

VERSION = 1
KEYS = ("prompt", "choices", "answer", "match", "tag", "id", "max_tokens", "stop")
MATCHES = ("exact", "contains", "regex")
TOKENS, STOP = 64, ("\n",)


@dataclass(frozen=True)
class Row:
    """One question. With choices, `gold` is the number of the right one; else `answers` are wanted."""

    where: str
    id: str
    prompt: str
    choices: tuple[str, ...] = ()
    gold: int = -1
    answers: tuple[str, ...] = ()
    match: str = "exact"
    tag: str = ""
    max_tokens: int = TOKENS
    stop: tuple[str, ...] = STOP


def load_domain(data: str | Path, num_samples: int | None = None) -> list[Row]:
    """The questions of a jsonl (json, csv) file.

    Raises:
        UserError: there is no such file, or a row (file and line are named) cannot be understood.
    """
    path = Path(data).expanduser()
    if not path.is_file() or not is_table(path):
        raise UserError(f"domain-specific-eval: {path} is no file of rows: give a .jsonl with prompts and answers")
    rows: list[Row] = []
    for where, row in read_rows(path):
        rows.append(_row(row, where, str(len(rows))))
        if len(rows) == num_samples:
            break
    if not rows:
        raise UserError(f"domain-specific-eval: {path} is empty")
    return rows


def _row(row: dict[str, Any], where: str, number: str) -> Row:
    for name in row:
        if name not in KEYS:
            raise UserError(f"{where}: unknown key '{name}'.{nearest(name, KEYS)}")
    prompt = _word(row, "prompt", where)
    tag = _word(row, "tag", where) if row.get("tag") is not None else ""
    own_id = str(row.get("id", number))
    if "answer" not in row:
        raise UserError(f"{where}: a row needs an 'answer': the right choice, or what the model should write")
    if row.get("choices") is not None:
        for name in ("match", "max_tokens", "stop"):
            if row.get(name) is not None:
                raise UserError(f"{where}: '{name}' is for answers that the model writes, and this row has choices")
        choices = _words(row["choices"], "choices", where)
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise UserError(f"{where}: 'choices' needs two texts or more, no two of them equal")
        return Row(where, own_id, prompt, choices, _gold(row["answer"], choices, where), tag=tag)
    answers = _words(row["answer"], "answer", where)
    match = row.get("match") or "exact"
    if match not in MATCHES:
        raise UserError(f"{where}: 'match' is {match!r}.{nearest(match, MATCHES)}")
    if match == "regex":
        for pattern in answers:
            _compiled(pattern, where)
    tokens = row.get("max_tokens") or TOKENS
    if not isinstance(tokens, int) or tokens < 1:
        raise UserError(f"{where}: 'max_tokens' is {tokens!r}, and a whole number above 0 is wanted")
    stop = STOP if row.get("stop") is None else _words(row["stop"], "stop", where, none=True)
    return Row(where, own_id, prompt, answers=answers, match=match, tag=tag, max_tokens=tokens, stop=stop)


def _word(row: dict[str, Any], name: str, where: str) -> str:
    if not isinstance(row.get(name), str) or not row[name]:
        raise UserError(f"{where}: '{name}' is {row.get(name)!r}, and text is wanted")
    return row[name]


def _words(value: Any, name: str, where: str, none: bool = False) -> tuple[str, ...]:
    words: list[Any] = [value] if isinstance(value, str) else cast("list[Any]", value)
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words) or not (words or none):
        raise UserError(f"{where}: '{name}' is {value!r}, and a text or a list of texts is wanted")
    return tuple(words)


def _gold(answer: Any, choices: tuple[str, ...], where: str) -> int:
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    raise UserError(
        f"{where}: 'answer' is {answer!r}, and one of the {len(choices)} choices is wanted: its text, or its number "
        "from 0"
    )


def _compiled(pattern: str, where: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise UserError(f"{where}: {pattern!r} is no regular expression: {error}") from None


def normalised(text: str) -> str:
    """A text without what does not matter to an answer: case, white space, and punctuation at its ends."""
    text = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return text.strip(" .,;:!?\"'`*()[]")


def matches(written: str, answers: Sequence[str], match: str) -> bool:
    """Whether a text is one of the answers (exact), has one in it (contains), or fits one (regex, anywhere in it).

    `exact` and `contains` compare normalised texts, `regex` the text as it was written.
    """
    if match == "regex":
        return any(re.search(pattern, written) for pattern in answers)
    text = normalised(written)
    wanted = [normalised(answer) or answer for answer in answers]
    return text in wanted if match == "exact" else any(answer in text for answer in wanted)


def domain_eval(
    model: Model,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    *,
    batch_size: int = 8,
    progress: bool = True,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Ask a model a domain's questions.

    Returns:
        score (the share of all questions that is right, with score_stderr), acc and acc_norm of those with choices,
        exact_match, contains and regex of the others, n, `groups` (the same by tag); and a line a question.

    Raises:
        UserError: the model cannot do what a row asks of it, or a continuation does not fit the model.
    """
    choosing = [i for i, row in enumerate(rows) if row.choices]
    writing = [i for i, row in enumerate(rows) if not row.choices]
    if writing:
        check_writes(model)
    lines: list[dict[str, Any]] = [{} for _ in rows]
    title = "domain-specific-eval"
    requests = [(rows[i].prompt, _delimited(rows[i].prompt, choice)) for i in choosing for choice in rows[i].choices]
    where = [rows[i].where for i in choosing for _ in rows[i].choices]
    found = (
        loglikelihoods(model, tokenizer, requests, progress=progress, title=title, where=where, stop=stop)
        if requests
        else []
    )
    at = 0
    for i in choosing:
        row, n = rows[i], len(rows[i].choices)
        sums = [score.sum for score in found[at : at + n]]
        per_character = [s / len(choice) for s, choice in zip(sums, row.choices, strict=True)]
        at += n
        taken, taken_norm = (max(range(n), key=values.__getitem__) for values in (sums, per_character))
        right = {"acc": float(taken == row.gold), "acc_norm": float(taken_norm == row.gold)}
        lines[i] = {"choices": list(row.choices), "scores": sums, "taken": taken, "gold": row.gold, **right}
        lines[i]["score"] = right["acc"]
    for kind in dict.fromkeys((rows[i].max_tokens, rows[i].stop) for i in writing):
        these = [i for i in writing if (rows[i].max_tokens, rows[i].stop) == kind]
        texts = write(
            model,
            tokenizer,
            [rows[i].prompt for i in these],
            max_new_tokens=kind[0],
            stop=kind[1],
            batch_size=batch_size,
            title=title if progress else None,
        )
        for i, text in zip(these, texts, strict=True):
            right = float(matches(text.text, rows[i].answers, rows[i].match))
            name = "exact_match" if rows[i].match == "exact" else rows[i].match
            lines[i] = {"written": text.text, "answers": list(rows[i].answers), name: right, "score": right}
    for row, line in zip(rows, lines, strict=True):
        line |= {"id": row.id, "prompt": row.prompt, "tag": row.tag}
    numbers: dict[str, Any] = _means(lines)
    tags = sorted({row.tag for row in rows if row.tag})
    if tags:
        numbers["groups"] = {tag: _means([line for line in lines if line["tag"] == tag], errors=False) for tag in tags}
    return numbers, lines


def _delimited(prompt: str, choice: str) -> str:
    return choice if prompt[-1].isspace() or choice[0].isspace() else " " + choice


def _means(lines: Sequence[dict[str, Any]], errors: bool = True) -> dict[str, Any]:
    numbers: dict[str, Any] = {}
    for name in ("score", "acc", "acc_norm", "exact_match", "contains", "regex"):
        values = [line[name] for line in lines if name in line]
        if not values:
            continue
        mean = sum(values) / len(values)
        numbers[name] = mean
        if errors and len(values) > 1:
            numbers[f"{name}_stderr"] = math.sqrt(mean * (1 - mean) / (len(values) - 1))
    return numbers | {"n": len(lines)}


def measure_domain(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """The task `domain-specific-eval`."""
    rows = _read(context)
    numbers, lines = domain_eval(
        model,
        tokenizer,
        rows,
        batch_size=context.batch_size or 8,
        progress=context.progress,
        stop=context.stop,
    )
    if context.sample is not None:
        for line in lines:
            context.sample(line)
    return {"version": VERSION, **numbers}


def check_domain(model: Model, tokenizer: Tokenizer, context: EvalContext) -> None:
    """Read the questions. Raises UserError for what could not be asked of the model."""
    rows = _read(context)
    if any(not row.choices for row in rows):
        check_writes(model)
    choosing = [row for row in rows if row.choices]
    if choosing:
        scored_by(model)
        requests = [(row.prompt, _delimited(row.prompt, choice)) for row in choosing for choice in row.choices]
        where = [row.where for row in choosing for _ in row.choices]
        encode_requests(requests, tokenizer, template_of(tokenizer, model), model.config.max_seq_len, where)


def _read(context: EvalContext) -> list[Row]:
    if context.data is None:
        raise UserError(
            "domain-specific-eval asks your own questions: name their file with --data FILE.jsonl (while training: "
            "evaluation.benchmark_data)"
        )
    data = context.data
    return context.once(lambda: load_domain(data, context.limit))
