"""A multiple-choice question as it is scored, and how a task's questions are found and read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...errors import UserError, nearest
from .table import SUITES, TASK_NAMES, TASKS
from .task import Asked, Record, Task

SHOT_SEED = 1234
"""The seed by which lm-evaluation-harness draws few-shot examples unless told otherwise."""
DELIMITER = " "
"""Between a context and its continuation."""
AFTER_EXAMPLE = "\n\n"


@dataclass(frozen=True)
class Question:
    """One question with its choices; nothing here has been tokenised.

    A model's choice is the i for which requests[i][1] is likeliest after requests[i][0]. Few-shot examples and the
    task's description stand in the contexts already.
    """

    id: str
    """The number of the row in its split, from 0, after "group/" in a task with groups: unique in a task."""
    requests: tuple[tuple[str, str], ...]
    """(context, continuation), one a choice; the continuation begins with its delimiter. Most tasks have one context
    and several continuations, WinoGrande several contexts and one continuation, BLiMP empty contexts."""
    choices: tuple[str, ...]
    """Texts whose characters (acc_norm) or UTF-8 bytes (acc_bytes) the log-likelihoods are divided by."""
    gold: tuple[int, ...]
    """The right choices: one, several only where the metric is mc2."""
    group: str = ""
    """Subject (MMLU) or paradigm (BLiMP); "" where a task has none."""
    where: str = ""
    """file:row, for messages."""


@dataclass(frozen=True)
class TaskData:
    """A task's questions, and where they come from, for the record of results."""

    questions: list[Question]
    source: dict[str, Any]
    """Of the hub: dataset, config, split, revision (the commit); of local files: files, sha256. And n_shot, seed."""


def find_tasks(names: str | Iterable[str]) -> list[Task]:
    """The tasks of these names, each once, in order.

    Beside the names of the table: `truthful_qa` is `truthful_qa_mc1` and `truthful_qa_mc2`; `mmlu_SUBJECT` and
    `blimp_PARADIGM` are one group of a task; the names of lm-evaluation-harness (`openbookqa`) mean the task whose
    prompts are theirs. Raises UserError for an unknown name, with the nearest.
    """
    found: dict[str, Task] = {}
    for name in [names] if isinstance(names, str) else names:
        for part in SUITES.get(name, (name,)):
            task = _task(part)
            found.setdefault(task.name, task)
    return list(found.values())


def find_task(name: str) -> Task:
    """The one task of that name. Raises UserError for an unknown name, and for one that means several tasks."""
    tasks = find_tasks(name)
    if len(tasks) > 1:
        raise UserError(f"'{name}' means several tasks: name one of {', '.join(task.name for task in tasks)}")
    return tasks[0]


def _task(name: str) -> Task:
    if name in TASKS:
        return TASKS[name]
    for task in TASKS.values():
        if task.harness == name:
            return task
        if task.group is not None and name.startswith(f"{task.name}_"):
            return replace(task, name=name, only=name.removeprefix(f"{task.name}_"))
    raise UserError(f"there is no task '{name}'.{nearest(name, TASK_NAMES, limit=30)}")


def load_questions(
    task: Task,
    data: str | Path | None = None,
    num_samples: int | None = None,
    n_shot: int | None = None,
    seed: int = SHOT_SEED,
) -> list[Question]:
    """The task's questions, without the record of where they come from: see `read_task`."""
    return read_task(task, data, num_samples, n_shot, seed).questions


def read_task(
    task: Task,
    data: str | Path | None = None,
    num_samples: int | None = None,
    n_shot: int | None = None,
    seed: int = SHOT_SEED,
) -> TaskData:
    """The task's questions, from a local file, folder or zip, or (`data` None) from the hub.

    Args:
        num_samples: the first so many; of a task with groups the first of each group, then the second of each, ...
        n_shot: few-shot examples in each context; default: the task's own number.
        seed: draws the examples, as lm-evaluation-harness does with its --seed.

    Raises:
        UserError: a row in the wrong format (file and row), no such file, hub out of reach, too few examples.
    """
    from .source import read_shots, read_split

    number = task.n_shot if n_shot is None else n_shot
    if number < 0 or (num_samples is not None and num_samples < 1):
        raise UserError(f"{task.name}: {number} few-shot examples and {num_samples} questions cannot be had")
    if number and task.shots == "none":
        raise UserError(f"{task.name} takes no few-shot examples: its prompts are fixed")
    place = None if data is None else Path(data)
    asked = read_split(task, place)
    groups = _grouped(task, asked.rows)
    shots = read_shots(task, place) if number else None
    pools = groups if shots is None else _grouped(task, shots.rows)
    chosen = _first({group: len(rows) for group, rows in groups.items()}, num_samples)
    questions = [
        question
        for group, rows in groups.items()
        for question in _questions(task, group, rows[: chosen[group]], pools.get(group, []), number, seed)
    ]
    source = {**asked.source, "n_shot": number, "seed": seed}
    return TaskData(questions, source if shots is None else {**source, "shots": shots.source})


_Rows = list[tuple[str, Record]]


def _grouped(task: Task, rows: _Rows) -> dict[str, _Rows]:
    groups: dict[str, _Rows] = {}
    for where, row in rows:
        groups.setdefault(task.group(row) if task.group else "", []).append((where, row))
    if task.only:
        if task.only not in groups:
            raise UserError(f"the data of {task.name} have no '{task.only}'.{nearest(task.only, groups)}")
        return {task.only: groups[task.only]}
    return groups


def _first(sizes: dict[str, int], number: int | None) -> dict[str, int]:
    """How many of each group: the first of every group, then the second of every group, until there are `number`."""
    if number is None:
        return sizes
    turns = zip_longest(*([group] * size for group, size in sizes.items()))
    order = [group for turn in turns for group in turn if group is not None][:number]
    return {group: order.count(group) for group in sizes}


def _questions(task: Task, group: str, rows: _Rows, pool: _Rows, number: int, seed: int) -> list[Question]:
    from .shots import Shots

    if not rows:
        return []
    own = task.hub.shots is None
    named = f"the subject {group}" if group else task.name
    shots = Shots(task, [row for _, row in pool], number, seed, own, f"{named} ({task.hub.shots or task.hub.split})")
    description = task.description(group) if task.description else ""
    questions: list[Question] = []
    for index, (where, row) in enumerate(rows):
        examples = "".join(_worked(task.ask(example)) for example in shots.draw(row))
        asked = task.ask(row)
        questions.append(
            Question(
                id=f"{group}/{index}" if group else str(index),
                requests=tuple(
                    (description + examples + context, DELIMITER + continuation)
                    for context, continuation in zip(asked.contexts, asked.continuations, strict=True)
                ),
                choices=asked.choices,
                gold=asked.gold,
                group=group,
                where=where,
            )
        )
    return questions


def _worked(asked: Asked) -> str:
    """A question with its right answer."""
    gold = asked.gold[0]
    return asked.contexts[gold] + DELIMITER + asked.continuations[gold] + AFTER_EXAMPLE
