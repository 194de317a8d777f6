"""What changes with the step: the learning rate and the dropout. Pure functions of the step, so resuming is free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up from 0 to `peak` in `warmup` steps, then a decay to `floor` that ends at step `decay_steps`.

    The first step already has a rate above zero, (step + 1) / warmup of the peak. Past `decay_steps` it is `floor`.
    """

    peak: float
    floor: float
    warmup: int
    decay_steps: int
    shape: Literal["cosine", "linear", "constant_with_warmup", "constant"] = "cosine"

    def at(self, step: int) -> float:
        """The rate of the update that step number `step`, counted from 0, makes."""
        if self.shape == "constant":
            return self.peak
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.shape == "constant_with_warmup":
            return self.peak
        if step >= self.decay_steps:
            return self.floor
        done = (step - self.warmup) / max(1, self.decay_steps - self.warmup)  # 0..1
        left = 0.5 * (1 + math.cos(math.pi * done)) if self.shape == "cosine" else 1 - done
        return self.floor + (self.peak - self.floor) * left


@dataclass(frozen=True)
class DropoutSchedule:
    """The dropout probability by step; while it runs, every dropout of the model has this probability.

    constant: `start`. linear: from `start` at `start_iter` to `end` at `end_iter`, held outside. triangle: from
    `start` up or down to `end` and back, `cycles` times between the two iterations.
    """

    name: Literal["constant", "linear", "triangle"]
    start: float
    end: float
    start_iter: int
    end_iter: int
    cycles: int = 1

    def at(self, step: int) -> float:
        """The probability at `step`, counted from 0."""
        if self.name == "constant":
            return self.start
        done = (step - self.start_iter) / max(1, self.end_iter - self.start_iter)
        done = min(1.0, max(0.0, done))
        if self.name == "triangle":
            phase = (done * self.cycles) % 1.0
            done = 1 - abs(2 * phase - 1)
        return self.start + (self.end - self.start) * done
