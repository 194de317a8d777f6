"""Which worked examples stand before a question: drawn as lm-evaluation-harness draws them, so that prompts agree."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ...errors import UserError
from .task import Record, Task


class Shots:
    """Draws examples for the questions of one group, one question after the other.

    Args:
        pool: the rows to draw from.
        own: whether the pool is the evaluated split itself, so that a question's own row is to be avoided.
        seed: of the draws; the k-th question's examples depend on it and on k.

    Raises UserError where the pool is too small.
    """

    def __init__(self, task: Task, pool: Sequence[Record], number: int, seed: int, own: bool, where: str) -> None:
        self.pool = pool
        self.number = number
        self.first = task.shots == "first"
        # Where a task has no test split, the harness draws one more than it needs, in case the question is among them.
        self.spare = 1 if own or task.hub.split != "test" else 0
        self.random = random.Random(seed)
        if number and number + (0 if self.first else self.spare) > len(pool):
            raise UserError(
                f"{number} few-shot examples are wanted, and {where} has {len(pool)} rows to draw them from"
            )

    def draw(self, question: Record) -> list[Record]:
        """The examples for the next question."""
        if not self.number:
            return []
        if self.first:
            return list(self.pool[: self.number])
        picks = [self.pool[i] for i in self.random.sample(range(len(self.pool)), self.number + self.spare)]
        if not self.spare:
            return picks
        others = [row for row in picks if row != question][: self.number]
        if len(others) < self.number:  # the same row stands in the pool several times
            others = self.random.sample([row for row in self.pool if row != question], self.number)
        return others
