"""A multiple-choice question as it is scored, and how a task's questions are found and read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .task import Task

SHOT_SEED = 1234
"""The seed by which lm-evaluation-harness draws few-shot examples unless told otherwise."""


@dataclass(frozen=True)
class Question:
    """One question with its choices; nothing here has been tokenised.

    A model's choice is the i for which requests[i][1] is likeliest after requests[i][0]. Few-shot examples and the
    task's description stand in the contexts already.
    """

    id: str
    """The publisher's id, or the number of the row in its file, from 0."""
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


def find_tasks(names: str | Iterable[str]) -> list[Task]:
    """The tasks of these names, each once; `truthful_qa` is two: `truthful_qa_mc1` and `truthful_qa_mc2`.

    Raises UserError for an unknown name, with the nearest.
    """
    raise NotImplementedError


def find_task(name: str) -> Task:
    """The one task of that name. Raises UserError for an unknown name, and for one that means several tasks."""
    raise NotImplementedError


def load_questions(
    task: Task,
    data: str | Path | None = None,
    num_samples: int | None = None,
    n_shot: int | None = None,
    seed: int = SHOT_SEED,
) -> list[Question]:
    """The task's questions, from a local file or directory, or from the hub.

    `num_samples` takes the first so many (of a task with groups: in turn from each group), `seed` draws the few-shot
    examples. Raises UserError: wrong format (file and row), no such file, hub out of reach, too few examples.
    """
    raise NotImplementedError
