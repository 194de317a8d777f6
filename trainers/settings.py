"""What the loop is told before it starts, and what changes while it runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .progress import Interval
from .results import METRICS, better


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
    measure_gap: bool = False  # evaluations measure as many rows of training too
    patience: int | None = None  # evaluations in a row without a better held-out number after which the run ends
    metric: str = "loss"  # the held-out number by which the best checkpoint is chosen
    batches_per_epoch: int | None = None  # where the last window of an epoch is short; None: windows run on
    min_batch_size: int = 1  # rows of a micro-batch below which none is cut where memory runs out
    batch_size_auto_adjust: bool = True  # cut them at all

    @property
    def steps_per_epoch(self) -> int | None:
        """None where the data has no end."""
        return None if self.batches_per_epoch is None else -(-self.batches_per_epoch // self.accumulation)

    def batches_of(self, step: int) -> range:
        """The numbers of the micro-batches of a step, counted from 0: what an epoch has left, where it ends."""
        if self.batches_per_epoch is None or self.steps_per_epoch is None:
            return range(step * self.accumulation, (step + 1) * self.accumulation)
        epoch, within = divmod(step, self.steps_per_epoch)
        first, end = epoch * self.batches_per_epoch, (epoch + 1) * self.batches_per_epoch
        return range(first + within * self.accumulation, min(first + (within + 1) * self.accumulation, end))


@dataclass
class Progressed:
    """What changes as a run goes on, and is saved with each checkpoint."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_numbers: dict[str, float] = field(default_factory=dict)  # held-out ones of the best step that may choose it
    best_step: int | None = None
    evaluated: int = -1  # the last step whose evaluation was made
    worse: int = 0  # evaluations since the best one
    skipped_steps: int = 0
    nonfinite_in_a_row: int = 0
    micro_batch: int | None = None  # rows at a time since memory ran out
    interval: Interval = field(default_factory=Interval)  # since the last logged line

    @classmethod
    def restored(cls, state: Mapping[str, Any], metric: str) -> Progressed:
        """As a checkpoint's state.json has it, for a run whose best checkpoint is chosen by `metric` from here on."""
        self = cls(**{f.name: state[f.name] for f in fields(cls) if f.name in state})
        self.interval = Interval(**state["interval"])
        if not self.best_numbers and state.get("best_loss") is not None:  # as it once was saved
            self.best_numbers = {"loss": state["best_loss"]}
        before = state.get("config", {}).get("evaluation", {}).get("metric_for_best_model") or "loss"
        if before != metric:
            self.worse = 0
        return self

    def judge(self, result: Mapping[str, float], metric: str) -> bool:
        """Take note of the held-out numbers of this step. -> whether they are the best so far"""
        if not self._is_best(result, metric):
            self.worse += 1
            return False
        self.best_numbers = {name: result[name] for name in METRICS if name in result}
        self.best_step, self.worse = self.step, 0
        return True

    def _is_best(self, result: Mapping[str, float], metric: str) -> bool:
        """Whether they are better than those of all evaluations before; of equal ones the loss decides."""
        best = self.best_numbers
        if not math.isfinite(result["loss"]):
            return False
        if not best:
            return True
        if result[metric] == best.get(metric, result[metric]):
            metric = "loss"
        return better(metric, result[metric], best[metric])
