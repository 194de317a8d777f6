"""What a multiple-choice task declares: where its rows come from, what is asked of each, how it is scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Record = dict[str, Any]
"""A row in the shape that the dataset has on the hub; rows of local files are brought into it (formats.py)."""


@dataclass(frozen=True)
class Hub:
    """A dataset on the Hugging Face hub, and which part of it."""

    dataset: str
    split: str
    config: str | None = None
    """None: the dataset has no configurations; "*": all of them, one after the other (BLiMP has one a paradigm)."""
    shots: str | None = None
    """The split that few-shot examples are drawn from; None: the evaluated one, never the question asked."""
    revision: str = "main"
    """A branch, tag or commit; the commit it stands for is recorded with what was loaded."""


@dataclass(frozen=True)
class Asked:
    """What a task makes of one row, before few-shot examples and the delimiter are added."""

    contexts: tuple[str, ...]
    continuations: tuple[str, ...]
    gold: tuple[int, ...]
    choices: tuple[str, ...]
    """Texts by whose length log-likelihoods are normalised."""


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
    shots: Literal["random", "first", "none"] = "random"
    """How few-shot examples are chosen; "none": the task takes none."""
    n_shot: int = 0
    """Few-shot examples unless the caller says otherwise."""
    group: Callable[[Record], str] | None = None
    """Subject or paradigm of a row; few-shot examples come from the same group."""
    description: Callable[[str], str] | None = None
    """Text before the first example, by group."""
    only: str = ""
    """The one group that is asked; "": all."""
    harness: str = ""
    """The task of lm-evaluation-harness whose prompts these are, string for string; "": it has none."""
    version: int = 1
    """Raised when a prompt changes, so that numbers of different prompts are not compared."""
