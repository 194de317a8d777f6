"""What a step minimises and an evaluation reports: tokens to predict, or a class for each row.

The loss is always the sum over the targets of a window divided by their number, however the window is cut into
micro-batches; the Trainer counts, an objective adds up and goes backward.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.sampling import Batch
from ..evaluation.classification import Confusion
from ..models.heads import ClassificationHead, before_cap
from ..models.kernels import uses_kernels
from ..models.model import Model
from .heldout import heldout_loss
from .losses import IGNORE, loss_backward
from .precision import Precision

HiddenStates = Callable[..., Tensor]  # a model's hidden_states, perhaps compiled


class Objective(Protocol):
    """What the Trainer asks of a task."""

    def begin(self, window: Sequence[Batch]) -> None:
        """Told the micro-batches of a step before their backward passes, for counts beyond that of its targets."""
        ...

    def targets(self, batch: Batch) -> int:
        """How many terms the loss of a batch has."""
        ...

    def backward(self, batch: Batch, hidden_states: HiddenStates, scale: float) -> Tensor:
        """Back-propagate scale x the summed loss of a batch. -> the sum itself, a scalar in fp32"""
        ...

    def evaluate(self, batches: Iterable[Batch], stop: Callable[[], bool]) -> dict[str, float] | None:
        """Numbers on held-out batches, `loss` among them; None where `stop` abandoned it."""
        ...

    def describe(self, result: dict[str, float]) -> str:
        """The numbers of an evaluation as the end of a sentence."""
        ...


@dataclass
class TokenLoss:
    """The next token, or the masked ones: cross-entropy a chunk of tokens at a time, see losses.py."""

    model: Model
    precision: Precision
    chunk: int
    smoothing: float = 0.0
    bytes_per_token: float | None = None

    def begin(self, window: Sequence[Batch]) -> None:
        pass

    def targets(self, batch: Batch) -> int:
        return int((batch.labels != IGNORE).sum())

    def backward(self, batch: Batch, hidden_states: HiddenStates, scale: float) -> Tensor:
        head, softcap = before_cap(self.model.head)

        def logits(states: Tensor) -> Tensor:
            with self.precision.autocast():
                return head(states)  # (n, C) -> (n, V)

        with self.precision.autocast():
            hidden = hidden_states(**batch.inputs)  # (B, T, C)
        return loss_backward(
            hidden,
            batch.labels,
            logits,
            chunk=self.chunk,
            scale=scale,
            smoothing=self.smoothing,
            softcap=softcap,
            fused=uses_kernels(self.model),
        )

    def evaluate(self, batches: Iterable[Batch], stop: Callable[[], bool]) -> dict[str, float] | None:
        return heldout_loss(
            self.model, batches, self.precision, chunk=self.chunk, bytes_per_token=self.bytes_per_token, stop=stop
        )

    def describe(self, result: dict[str, float]) -> str:
        bits = f", {result['bits_per_byte']:.3f} bits a byte" if "bits_per_byte" in result else ""
        return f"held-out loss {result['loss']:.4f}, perplexity {result['perplexity']:,.2f}{bits}"


@dataclass
class ClassLoss:
    """A class for each row: cross-entropy over the classes, statistics in fp32. Rows of class -100 count nowhere.

    Where classes weigh, a row's loss is multiplied by the weight of its class, smoothed part and all, and the mean is
    still over the rows. torch's own weights do neither: they pull every smoothed row towards the rare classes, and are
    divided by what the rows of a batch weigh, so that in small ones a rare class counts for less than its weight.
    Evaluations know no weights.
    """

    model: Model
    precision: Precision
    smoothing: float = 0.0
    class_weights: Tensor | None = None  # (n,) of the rows of each class in the loss that is minimised
    counted: Tensor | None = None  # (n, n) of the last evaluation: rows of a true class taken for another

    def begin(self, window: Sequence[Batch]) -> None:
        pass

    def targets(self, batch: Batch) -> int:
        return int((batch.labels != IGNORE).sum())

    def backward(self, batch: Batch, hidden_states: HiddenStates, scale: float) -> Tensor:
        logits = self.logits(batch, hidden_states)  # (B, n)
        losses = F.cross_entropy(
            logits.float(), batch.labels, ignore_index=IGNORE, reduction="none", label_smoothing=self.smoothing
        )  # (B,)
        if self.class_weights is not None:
            losses = losses * self.class_weights[batch.labels.clamp(min=0)]
        loss = losses.sum()
        (loss * scale).backward()
        return loss.detach()

    def logits(self, batch: Batch, hidden_states: HiddenStates) -> Tensor:
        """-> (B, n). The mask tells the head where a row ends, and attention only what it has to hide.

        Without padding, and in a decoder padded on the right, that is nothing.
        """
        head, mask, inputs = cast(ClassificationHead, self.model.head), batch.attention_mask, batch.inputs
        at = head.place(batch.input_ids, mask)  # (B,)
        if mask is not None and bool((mask[:, 0] if self.model.config.causal else mask).all()):
            del inputs["attention_mask"]
        with self.precision.autocast():
            return head(hidden_states(**inputs, at=at))

    @torch.no_grad()
    def evaluate(self, batches: Iterable[Batch], stop: Callable[[], bool]) -> dict[str, float] | None:
        """loss, accuracy, macro_f1, rows, seconds; nothing but counts is kept of a batch."""
        model, started = self.model, time.perf_counter()
        was_training, n = model.training, cast(ClassificationHead, model.head).out.out_features
        counts = torch.zeros(n, n, dtype=torch.int64)  # (true, predicted)
        total = 0.0
        model.eval()
        try:
            for batch in batches:
                if stop():
                    return None
                logits, real = self.logits(batch, model.hidden_states).float(), batch.labels != IGNORE  # (B, n), (B,)
                total += F.cross_entropy(logits, batch.labels, ignore_index=IGNORE, reduction="sum").item()
                pairs = (batch.labels * n + logits.argmax(-1))[real].cpu()
                counts += torch.bincount(pairs, minlength=n * n).view(n, n)
        finally:
            model.train(was_training)
        self.counted, rows = counts, int(counts.sum())
        numbers = {"loss": total / max(1, rows), **scores(counts)}
        return numbers | {"rows": rows, "seconds": round(time.perf_counter() - started, 3)}

    def describe(self, result: dict[str, float]) -> str:
        accuracy, f1 = result["accuracy"], result["macro_f1"]
        return f"held-out loss {result['loss']:.4f}, accuracy {accuracy:.4f}, macro F1 {f1:.4f}"


def scores(counts: Tensor | Sequence[Sequence[int]]) -> dict[str, float]:
    """Accuracy and macro F1 of a confusion matrix (n, n), true classes down, predicted across.

    F1 is 2 TP / (2 TP + FP + FN), and 0 where a class is never predicted; its mean is over the classes that occur, as a
    label or as a prediction (scikit-learn's f1_score with average="macro").
    """
    confusion = Confusion(np.asarray(counts, dtype=np.int64))
    return {"accuracy": confusion.accuracy, "macro_f1": confusion.macro_f1}
