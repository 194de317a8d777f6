"""Accuracy on multiple-choice questions: the likeliest choice is the model's answer.

The metrics and their standard errors are lm-evaluation-harness's, so that numbers agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import UserError
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .engine import loglikelihoods, scored_by
from .registry import EvalContext, Numbers
from .requests import encode_requests, template_of
from .scores import LogLikelihood
from .tasks.question import SHOT_SEED, Question, TaskData, read_task
from .tasks.task import Task


@dataclass(frozen=True)
class TaskResult:
    """What a task gave. `numbers` and `errors` have the task's metrics; with several groups also METRIC_macro.

    acc          the share of questions whose likeliest choice is right
    acc_norm     the same, log-likelihoods divided by the choice's characters
    acc_bytes    the same, by its UTF-8 bytes
    mc2          the mean share of probability on the right choices, of that on all
    NAME_macro   the mean over groups of each group's mean: the harness's number for BLiMP. NAME itself, over all
                 questions, is its number for MMLU.
    """

    numbers: dict[str, float]
    errors: dict[str, float | None]
    """Standard errors: sample standard deviation / sqrt(n); of grouped questions the pooled one. None: one question."""
    n: int
    scored: str
    """log-likelihood, or an encoder's pseudo-log-likelihood"""
    groups: dict[str, dict[str, float]] = field(default_factory=dict)
    """Numbers and n of each subject or paradigm."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """One a question: id, group, gold, log-likelihood of each choice, and what each metric gave it."""


def multiple_choice(
    model: Model, tokenizer: Tokenizer, task: Task, questions: Sequence[Question], **settings: Any
) -> TaskResult:
    """Score questions; `settings` are those of `loglikelihoods`.

    Raises UserError where there is no question, and what loglikelihoods raises.
    """
    if not questions:
        raise UserError(f"{task.name}: there is no question to ask")
    scored = scored_by(model)
    requests = [request for question in questions for request in question.requests]
    where = [question.where for question in questions for _ in question.requests]
    found = iter(loglikelihoods(model, tokenizer, requests, where=where, title=task.name, **settings))
    rows = [_row(task, question, [next(found) for _ in question.requests]) for question in questions]
    groups = {name: [row for row in rows if row["group"] == name] for name in dict.fromkeys(r["group"] for r in rows)}
    numbers: dict[str, float] = {}
    errors: dict[str, float | None] = {}
    for metric in task.metrics:
        values = {name: [row[metric] for row in members] for name, members in groups.items()}
        numbers[metric] = _mean([row[metric] for row in rows])
        errors[metric] = pooled_error(list(values.values()))
        if len(groups) > 1:
            numbers[f"{metric}_macro"] = _mean([_mean(members) for members in values.values()])
            errors[f"{metric}_macro"] = macro_error(list(values.values()))
    each = {
        name: {metric: _mean([row[metric] for row in members]) for metric in task.metrics} | {"n": len(members)}
        for name, members in groups.items()
    }
    return TaskResult(numbers, errors, len(rows), scored, each if len(groups) > 1 else {}, rows)


def measure_choices(model: Model, tokenizer: Tokenizer, context: EvalContext) -> Numbers:
    """The kind of task that `tasks/` declares; see registry.py."""
    from .tasks import find_task

    task = find_task(context.task)
    scored_by(model)  # before anything is fetched
    data = _read(task, context)
    result = multiple_choice(
        model,
        tokenizer,
        task,
        data.questions,
        batch_tokens=context.batch_tokens,
        batch_size=context.batch_size,
        add_bos=context.add_bos,
        progress=context.progress,
        scores=context.scores,
        stop=context.stop,
    )
    for question, row in zip(data.questions, result.rows, strict=True):
        if context.sample is not None:
            said = [{"context": context_, "continuation": text} for context_, text in question.requests]
            context.sample(row | {"where": question.where, "requests": said})
    errors = {f"{name}_stderr": error for name, error in result.errors.items()}
    bos = bool(template_of(tokenizer, model, context.add_bos).before) if model.config.causal else None
    return {
        **{key: value for name, number in result.numbers.items() for key, value in _pair(name, number, errors)},
        "n": result.n,
        "scored": result.scored,
        **({} if bos is None else {"bos": bos}),
        "version": task.version,
        "source": data.source,
        **({"groups": result.groups} if result.groups else {}),
    }


def check_choices(model: Model, tokenizer: Tokenizer, context: EvalContext) -> None:
    """Read the questions and make ids of them. Raises UserError for what could not be scored."""
    from .tasks import find_task

    scored_by(model)
    questions = _read(find_task(context.task), context).questions
    requests = [request for question in questions for request in question.requests]
    where = [question.where for question in questions for _ in question.requests]
    template = template_of(tokenizer, model, context.add_bos)
    encode_requests(requests, tokenizer, template, model.config.max_seq_len, where)


def _read(task: Task, context: EvalContext) -> TaskData:
    seed = SHOT_SEED if context.seed is None else context.seed
    return context.once(lambda: read_task(task, context.data, context.limit, context.n_shot, seed))


def _pair(name: str, number: float, errors: dict[str, float | None]) -> list[tuple[str, float | None]]:
    return [(name, number), (f"{name}_stderr", errors[f"{name}_stderr"])]


def _row(task: Task, question: Question, found: list[LogLikelihood]) -> dict[str, Any]:
    sums = np.array([score.sum for score in found])
    lengths = {
        "acc": np.ones(len(sums)),
        "acc_norm": np.array([float(len(choice)) for choice in question.choices]),
        "acc_bytes": np.array([float(len(choice.encode())) for choice in question.choices]),
    }
    row: dict[str, Any] = {"id": question.id, "group": question.group, "gold": list(question.gold)}
    row |= {"log_likelihoods": sums.tolist(), "tokens": [score.n_tokens for score in found]}
    row["greedy"] = [score.is_greedy for score in found]
    for metric in task.metrics:
        if metric == "mc2":
            share = np.exp(sums - sums.max())
            row[metric] = float(share[list(question.gold)].sum() / share.sum())
        else:
            row[metric] = float(int(np.argmax(sums / lengths[metric])) in question.gold)
    return row


# --- means and their standard errors -----------------------------------------------------------------------------


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _error(values: Sequence[float]) -> float:
    """Sample standard deviation / sqrt(n)."""
    mean = _mean(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def pooled_error(groups: Sequence[Sequence[float]]) -> float | None:
    """Of the mean over all values: variances within groups, pooled. One group: its own. None where one has one value.

    Source: lm-evaluation-harness, api/metrics.py, pooled_sample_stderr.
    """
    if min(map(len, groups)) < 2:
        return None if sum(map(len, groups)) < 2 else _error([value for group in groups for value in group])
    n = sum(map(len, groups))
    spread = sum((len(group) - 1) * _error(group) ** 2 * len(group) for group in groups)
    return math.sqrt(spread / (n - len(groups)) / n)


def macro_error(groups: Sequence[Sequence[float]]) -> float | None:
    """Of the mean over groups of their means: sqrt(sum of squared errors) / number of groups."""
    if min(map(len, groups)) < 2:
        return None
    return math.sqrt(sum(_error(group) ** 2 for group in groups)) / len(groups)
