"""What a multiple-choice task declares: where its rows come from, what is asked of each, how it is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Record = dict[str, Any]
"""A row in the shape that the dataset has on the hub; rows of local files are brought into it (formats.py)."""


@dataclass(frozen=True)
class Hub:
    """A dataset on the Hugging Face hub; its revision is a branch or commit, recorded with the results."""

    dataset: str
    config: str | None
    split: str
    shots_split: str | None = None
    """Where few-shot examples are drawn; None: from the evaluated split itself, never the question asked."""
    revision: str = "main"


@dataclass(frozen=True)
class Asked:
    """What a task makes of one row, before few-shot examples and the delimiter are added."""

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: tuple[int, ...]
    choices: tuple[str, ...]
    """Texts by whose length log-likelihoods are normalised."""


def ask(context: str, choices: list[str], gold: int | tuple[int, ...]) -> Asked:
    """One context with several continuations: all tasks but WinoGrande's kind."""
    answers = (gold,) if isinstance(gold, int) else gold
    return Asked((context,) * len(choices), tuple(choices), answers, tuple(choices))


@dataclass(frozen=True)
class Task:
    """A declaration; `table.py` holds all of them."""

    name: str
    hub: Hub
    format: str
    """A key of `formats.FORMATS`: the shapes in which local files may come."""
    ask: Callable[[Record], Asked]
    metrics: tuple[str, ...] = ("acc",)
    """Of "acc", "acc_norm" (characters), "acc_bytes", "mc2" (probability mass on the right choices)."""
    version: int = 1
    """Raised when a prompt changes, so that numbers of different prompts are not compared."""
    n_shot: int = 0
    """Few-shot examples unless the caller says otherwise."""
    shots: Literal["random", "first"] = "random"
    group: Callable[[Record], str] = lambda record: ""
    """Subject or paradigm of a row; few-shot examples come from the same group."""
    description: Callable[[str], str] = lambda group: ""
    """Text before the first example, by group."""
    harness: str = ""
    """The task's name in lm-evaluation-harness, whose prompts these are; "" where it has none."""
