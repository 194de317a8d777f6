"""The training loop, to be read from top to bottom.

One step: a window of micro-batches, each forward and backward; clip; one AdamW update at the schedule's rate. The
loss is the sum over all targets of the window divided by their number, so the gradient does not depend on how the
window is cut into micro-batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ..data.rows import Batches
from ..data.sampling import Batch
from ..errors import UserError, notice
from ..evaluation.numbers import flat, in_words
from ..models.dropout import Dropout
from ..models.memory import keep_freed
from ..models.model import Model
from ..models.saved import load_weights, read_state
from .checkpoint import load_optimizer, random_states, restore_random_states, save_checkpoint
from .folder import RunFolder
from .gap import first_rows, gap_of
from .gradients import norms_by_layer
from .interrupt import Interrupt
from .lookup import LookupGradient
from .measuring import Measuring
from .metrics import Trackers
from .objectives import Objective, TokenLoss
from .optimizers import set_learning_rate
from .out_of_memory import advice, attempt, cut, smaller
from .phases import HeadFirst
from .precision import Precision
from .progress import Interval, Progress
from .resources import Usage, size_of
from .results import METRICS
from .schedules import DropoutSchedule, LearningRate
from .settings import Progressed, Settings

T = TypeVar("T")


@dataclass
class Trainer:
    """Everything one run is made of. `fit` runs it to its last step or to an interrupt."""

    model: Model
    optimizer: torch.optim.Optimizer
    precision: Precision
    train: Batches
    heldout: Callable[[], Iterator[Batch]]
    learning_rate: LearningRate
    dropout: DropoutSchedule | None
    settings: Settings
    folder: RunFolder
    trackers: Trackers
    bytes_per_token: float | None
    objective: Objective | None = None  # None: tokens, see objectives.py
    head_first: HeadFirst | None = None
    mask: Callable[..., Batch] | None = None  # mask(batch, seed=, index=): a batch whose targets are masked tokens
    sample: Callable[[], str | None] = lambda: None
    tasks: Callable[[Callable[[], bool]], dict[str, Any] | None] | None = None  # numbers by task; None if stopped
    describe: dict[str, Any] = field(default_factory=dict)  # configuration and versions, for state.json
    also_save: Callable[[Path], None] = lambda folder: None  # writes more files into a checkpoint's folder
    measured: Callable[[int], None] = lambda step: None  # called with the step after each evaluation of held-out data
    progressed: Progressed = field(default_factory=Progressed)

    def __post_init__(self) -> None:
        self._lookup = LookupGradient(self.model, compiled=self.settings.compile)
        s = self.settings
        self._objective: Objective = self.objective or TokenLoss(
            self.model, self.precision, s.chunk, s.label_smoothing, self.bytes_per_token
        )
        self.measuring = Measuring(self.model, self._objective, self.mask)
        self._by_layer: dict[str, float] = {}  # gradient norms of the step that is logged next
        self._usage = Usage(next(self.model.parameters()).device)
        if next(self.model.parameters()).device.type == "cpu":
            keep_freed()

    def fit(self) -> Interrupt:
        """Train until `max_iters` updates are made or a signal arrives; either way end with a checkpoint.

        Raises:
            UserError: too many losses in a row were not finite, or a checkpoint could not be written.
        """
        bar = Progress(self.progressed.step, self.settings.max_iters)
        try:
            with Interrupt() as interrupt:
                self._loop(bar, interrupt)
        finally:
            bar.close()
        return interrupt

    def _loop(self, bar: Progress, interrupt: Interrupt) -> None:
        s, p = self.settings, self.progressed
        hidden_states = torch.compile(self.model.hidden_states) if s.compile else self.model.hidden_states
        self.model.train()
        saved_at = p.step or -1
        if s.eval_intervals and p.evaluated < p.step and (p.step == 0 or self._due(s.eval_intervals)):
            is_best = self._evaluate(bar, interrupt)  # before any training; or the one during which the run was stopped
            if p.step and p.evaluated == p.step:
                self.save(is_best=is_best)

        while p.step < s.max_iters and not interrupt and not self.gave_up:
            started = time.perf_counter()
            lr = self.learning_rate.at(p.step)
            set_learning_rate(self.optimizer, lr)
            if self.dropout is not None:
                self._set_dropout(self.dropout.at(p.step))
            if self.head_first is not None:
                self.head_first.set(p.step)

            window = self._window(p.step)
            loss, norm = self._update(window, hidden_states)

            p.step += 1
            tokens, seconds = sum(batch.input_ids.numel() for batch in window), time.perf_counter() - started
            p.tokens, p.seconds = p.tokens + tokens, p.seconds + seconds
            p.interval.add(loss, tokens, seconds, sum(len(batch.input_ids) for batch in window))
            self._count_nonfinite(loss, norm, window)
            bar.update(p.step, loss, p.interval.tokens_per_second)

            if self._due((s.log_interval,)):
                self._log(bar, lr, norm)
                p.interval = Interval()
            is_best = False
            if s.eval_intervals and self._due(s.eval_intervals):
                is_best = self._evaluate(bar, interrupt)
            if is_best or self._due((s.checkpoint_interval,)):
                self.save(is_best=is_best)
                saved_at = p.step
        if saved_at != p.step:
            self.save(is_best=False)
        if self.gave_up:
            bar.say(
                f"step {p.step:,}: the held-out {METRICS[self.settings.metric]} has not improved for {p.worse} "
                "evaluations: the run ends here"
            )

    @property
    def gave_up(self) -> bool:
        """Whether the held-out loss, or metric, has not improved for as many evaluations as there is patience for."""
        return self.settings.patience is not None and self.progressed.worse >= self.settings.patience

    # --- one step ------------------------------------------------------------------------------------------------

    def _window(self, step: int) -> list[Batch]:
        """The micro-batches of a step: a function of the step's number alone."""
        indices, device = self.settings.batches_of(step), next(self.model.parameters()).device
        batches = [self.train.batch(index) for index in indices]
        if self.mask is not None:
            seed, length = self.settings.seed, self.settings.batches_per_epoch
            places = [divmod(i, length) if length else (0, i) for i in indices]  # epoch, number within it
            pairs = zip(places, batches, strict=True)
            batches = [self.mask(batch, seed=seed, index=i, epoch=epoch) for (epoch, i), batch in pairs]
        return [batch.to(device) for batch in batches]

    def _update(self, window: list[Batch], hidden_states: Callable[..., Tensor]) -> tuple[float, float]:
        """Forward and backward over the window, clip, update. -> mean loss a target, gradient norm."""
        s, scaler = self.settings, self.precision.scaler
        self._objective.begin(window)
        targets = sum(map(self._objective.targets, window))
        scale = self.precision.loss_scale / max(1, targets)

        total = self._accumulate(window, hidden_states, scale)
        scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        if (rows := self._lookup.rows()) is not None:
            gradients = [rows, *(g for g in gradients if not self._lookup.is_kept(g))]
        norm = torch.nn.utils.get_total_norm(gradients)
        loss, norm = (total / max(1, targets)).item(), norm.item()
        if not math.isfinite(loss) or not math.isfinite(norm):
            scaler.update()  # in fp16: a smaller loss scale next time
            return loss, norm
        if (self.progressed.step + 1) % s.log_interval == 0 or self.progressed.step + 1 == s.max_iters:
            self._by_layer = norms_by_layer(self.model, rows)
        if s.grad_clip and norm > s.grad_clip:
            torch._foreach_mul_(gradients, s.grad_clip / (norm + 1e-6))  # pyright: ignore[reportPrivateImportUsage]
            if rows is not None:
                self._lookup.put(rows)
        scaler.step(self.optimizer)
        scaler.update()
        return loss, norm

    def _accumulate(self, window: list[Batch], hidden_states: Callable[..., Tensor], scale: float) -> Tensor:
        """Gradients of a window, whose targets are summed -> that sum. Where memory runs out, in smaller pieces."""
        p = self.progressed
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            self._lookup.clear(window)
            total = torch.zeros((), device=window[0].labels.device)
            for batch in cut(window, p.micro_batch):
                part, said = attempt(lambda batch=batch: self._objective.backward(batch, hidden_states, scale))
                if part is None:
                    self._cut_smaller(batch, said or "")
                    break  # no gradient tells what of it the failed pass has added: all are made again
                total += part
            else:
                return total

    def _cut_smaller(self, batch: Batch, said: str) -> None:
        """After a micro-batch that did not fit: halve those that follow, or end the run."""
        p, s = self.progressed, self.settings
        rows, tokens = batch.input_ids.shape
        less = smaller(rows, s.min_batch_size) if s.batch_size_auto_adjust else None
        if less is not None:
            p.micro_batch = less
            notice(
                f"memory ran out at step {p.step + 1:,} with {rows} rows of {tokens:,} tokens at a time: from here on "
                f"it is {less} at a time; a step has the same rows, targets and gradient as before"
            )
            return
        first = "lower trainer.min_batch_size" if s.batch_size_auto_adjust else "lower trainer.batch_size"
        what = f"memory ran out at step {p.step + 1:,} with {rows} row{'s' * (rows > 1)} of {tokens:,} tokens ({said})"
        checkpointing = self.model.gradient_checkpointing
        told = advice(self.precision.device_type, what, first if rows > 1 else None, checkpointing=checkpointing)
        raise UserError(f"{told}{self._saved()}")

    def _set_dropout(self, rate: float) -> None:
        self.model.set_dropout(**{m.field: rate for m in self.model.modules() if isinstance(m, Dropout)})

    def _count_nonfinite(self, loss: float, norm: float, window: list[Batch]) -> None:
        """A step whose loss or gradient was not finite changed no weight; too many in a row end the run."""
        p, limit = self.progressed, self.settings.max_nonfinite_steps
        if math.isfinite(loss) and math.isfinite(norm):
            p.nonfinite_in_a_row = 0
            return
        p.skipped_steps += 1
        if math.isfinite(loss) and self.precision.loss_scale > 1:
            return  # fp16: the loss scaler has yet to find its range
        p.nonfinite_in_a_row += 1
        if p.nonfinite_in_a_row < limit:
            return
        batch = self.folder.save_batch(p.step, window)
        p.nonfinite_in_a_row = 0  # a resumed run gets its full number of tries
        checkpoint = self.save(is_best=False)
        first, last = self.settings.batches_of(p.step - limit)[0], self.settings.batches_of(p.step - 1)[-1]
        raise UserError(
            f"the loss or its gradient was not finite for {limit} steps in a row, the last at step {p.step} "
            f"(data: {self.train.position(first)} to {self.train.position(last)}); "
            f"its batch is in {batch}, the weights from before in {checkpoint}. Lower trainer.optimizer.lr or "
            "trainer.optimizer.grad_clip, lengthen trainer.warmup_iters, or set trainer.mixed_precision to bf16 or no; "
            "then go on with --resume"
        )

    # --- between steps -------------------------------------------------------------------------------------------

    def _due(self, intervals: tuple[int, ...]) -> bool:
        step = self.progressed.step
        return step == self.settings.max_iters or any(step % interval == 0 for interval in intervals)

    def _log(self, bar: Progress, lr: float, norm: float) -> None:
        p, interval = self.progressed, self.progressed.interval
        rate = interval.tokens_per_second
        row = {"step": p.step, "loss": interval.loss, "lr": lr, "grad_norm": norm, "tokens_per_second": round(rate, 1)}
        row |= {"tokens": p.tokens, "seconds": round(p.seconds, 2), "skipped_steps": p.skipped_steps}
        if self.dropout is not None:
            row["dropout"] = self.dropout.at(p.step - 1)
        if p.micro_batch is not None:
            row["micro_batch"] = p.micro_batch
        if self.precision.scaler.is_enabled():
            row["loss_scale"] = self.precision.loss_scale
        row |= {"samples_per_second": round(interval.samples_per_second, 2), **self._usage.read()}
        self.folder.train_metrics.write(row)
        if self._by_layer:
            self.folder.gradients.write({"step": p.step, **self._by_layer})
            self._by_layer = {}
        self.trackers.write("train", row)
        left = (self.settings.max_iters - p.step) * interval.seconds / max(1, interval.steps)
        bar.log(p.step, interval.loss, lr, rate, left)

    def _heldout(self, interrupt: Interrupt) -> dict[str, float] | None:
        """Numbers on held-out rows, and where the gap is wanted, on as many of training; None if a signal arrived."""
        result = self._numbers(self.heldout, interrupt)
        if result is None:
            return None
        self.measured(self.progressed.step)
        if not self.settings.measure_gap:
            return result
        count = sum(len(batch.input_ids) for batch in self.heldout())
        training = self._numbers(lambda: first_rows(self.train, count), interrupt)
        return None if training is None else result | gap_of(result, training)

    def _numbers(self, source: Callable[[], Iterator[Batch]], interrupt: Interrupt) -> dict[str, float] | None:
        """Of the same rows, where memory runs out in smaller batches."""
        try:
            return self.measuring.numbers(source, lambda: bool(interrupt), self.progressed.micro_batch)
        except UserError as error:
            raise UserError(f"{error}{self._saved()}") from None

    def _saved(self) -> str:
        """The end of a sentence on a run that cannot go on: where its weights are, once it has trained."""
        return f". The weights are in {self.save(is_best=False)}" if self.progressed.step else ""

    def _evaluate(self, bar: Progress, interrupt: Interrupt) -> bool:
        """Held-out loss and a sample. -> whether it is the best so far, which the untrained model never is."""
        p = self.progressed
        result = self._heldout(interrupt)
        tasks = self._tasks(interrupt)
        if result is None or tasks is None:
            return False
        p.evaluated = p.step
        row = {"step": p.step, **result}
        self.folder.eval_metrics.write(row)
        self.trackers.write("heldout", row)
        bar.say(f"step {p.step:,}: {self._objective.describe(result)}")
        self._write_tasks(bar, tasks)
        if p.step == 0:
            self.folder.write_json(self.folder.baseline / "metrics" / "heldout.json", result)
            return False
        with self.precision.autocast():
            sample = self._spared(self.sample, "a sample was written")
        if sample:
            self.folder.samples.write({"step": p.step, "text": sample})
            bar.say(f"--- sample at step {p.step:,} ---\n{sample}\n---")
        return p.judge(result, self.settings.metric)

    def _tasks(self, interrupt: Interrupt) -> dict[str, Any] | None:
        """Numbers by task; {} where none are due, None if a signal arrived."""
        if self.tasks is None or not self._due(self.settings.task_intervals):
            return {}
        tasks, stop = self.tasks, lambda: bool(interrupt)
        found = self._spared(lambda: tasks(stop), "tasks were measured")
        return {} if found is None and not interrupt else found

    def _spared(self, work: Callable[[], T], what: str) -> T | None:
        """What `work` gives; None, and a note, where memory runs out: the run can do without."""
        result, said = attempt(work)
        if said is not None:
            notice(f"memory ran out while {what} at step {self.progressed.step:,} ({said}): it is left out this time")
        return result

    def _write_tasks(self, bar: Progress, tasks: dict[str, Any]) -> None:
        if not tasks:
            return
        row = {"step": self.progressed.step, **flat(tasks)}
        self.folder.task_metrics.write(row)
        self.trackers.write("tasks", row)
        bar.say(f"step {self.progressed.step:,}: {in_words(tasks)}")
        if self.progressed.step == 0:
            self.folder.write_json(self.folder.baseline / "metrics" / "tasks.json", tasks)
        self.folder.write_json(self.folder.metrics / "tasks.json", {"step": self.progressed.step, "tasks": tasks})

    def save(self, *, is_best: bool) -> Path:
        """Write a checkpoint of this moment."""
        state = {
            **asdict(self.progressed),
            "data": {"batch": self.settings.batches_of(self.progressed.step)[0]},
            "random": random_states(),
            "scaler": self.precision.scaler.state_dict(),
            **self.describe,
        }
        started = time.perf_counter()
        folder = save_checkpoint(
            self.folder.weights,
            self.model,
            self.optimizer,
            state,
            is_best=is_best,
            keep=self.settings.keep_checkpoints,
            also=self.also_save,
        )
        seconds = round(time.perf_counter() - started, 4)
        self.folder.saved.write({"step": self.progressed.step, "seconds": seconds, "bytes": size_of(folder)})
        return folder

    def restore(self, checkpoint: Path) -> None:
        """Continue from a checkpoint as if the run had never stopped."""
        state = read_state(checkpoint)
        load_weights(checkpoint, self.model, trained_only="base" in state)
        load_optimizer(checkpoint, self.optimizer)
        self.precision.scaler.load_state_dict(state["scaler"])
        self.progressed = Progressed.restored(state, self.settings.metric)
        restore_random_states(state["random"])
