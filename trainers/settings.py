"""What the loop is told before it starts, and what changes while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from .progress import Interval


@dataclass(frozen=True)
class Settings:
    """What the loop needs to know, after everything that depends on device, data and defaults is settled."""

    max_iters: int
    accumulation: int
    grad_clip: float
    chunk: int
    label_smoothing: float
    log_interval: int
    eval_intervals: tuple[int, ...]
    checkpoint_interval: int
    max_nonfinite_steps: int
    keep_checkpoints: int
    seed: int
    compile: bool
    task_intervals: tuple[int, ...] = ()  # of the evaluations, those that run tasks


@dataclass
class Progressed:
    """What changes as a run goes on, and is saved with each checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float | None = None
    best_step: int | None = None
    evaluated: int = -1  # the last step whose evaluation was made
    skipped_steps: int = 0
    nonfinite_in_a_row: int = 0
    interval: Interval = field(default_factory=Interval)  # since the last logged line
