"""How well a classifier does: accuracy, macro F1, each class's precision, recall and F1, who is taken for whom."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..data.sampling import IGNORE, Batch
from ..errors import UserError
from ..models.dropout import without_dropout
from ..models.model import Model
from ..trainers.precision import Precision


@dataclass(frozen=True)
class Confusion:
    """counts (K, K): of the true class in the row, how many were taken for that of the column. All else follows."""

    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, n_classes: int) -> Confusion:
        """Nothing counted yet. Raises UserError for fewer than one class."""
        if n_classes < 1:
            raise UserError(f"{n_classes} classes: a classifier tells at least one")
        return cls(np.zeros((n_classes, n_classes), np.int64))

    def add(self, gold: Sequence[int] | NDArray[Any], predicted: Sequence[int] | NDArray[Any]) -> None:
        """Count a batch of classes (B,) and of predictions (B,). Raises UserError for a class outside 0 .. K - 1."""
        K = len(self.counts)
        true, taken = np.asarray(gold, np.int64), np.asarray(predicted, np.int64)
        if true.shape != taken.shape or true.ndim != 1:
            raise UserError(f"{true.shape} classes and {taken.shape} predictions: one of each is wanted for every row")
        for name, classes in (("class", true), ("prediction", taken)):
            wrong = classes[(classes < 0) | (classes >= K)]
            if len(wrong):
                raise UserError(f"the {name} {wrong[0]}: there are {K} classes, from 0 to {K - 1}")
        self.counts[:] += np.bincount(true * K + taken, minlength=K * K).reshape(K, K)

    @property
    def n(self) -> int:
        """Rows counted."""
        return int(self.counts.sum())

    @property
    def accuracy(self) -> float:
        """The share that is right; 0 of nothing."""
        return float(np.trace(self.counts)) / max(1, self.n)

    @property
    def precision(self) -> NDArray[np.float64]:
        """(K,): of those taken for the class, the share that is; 0 where none was."""
        return self._share(self.counts.sum(0))

    @property
    def recall(self) -> NDArray[np.float64]:
        """(K,): of those of the class, the share that was found; 0 where there are none."""
        return self._share(self.counts.sum(1))

    @property
    def f1(self) -> NDArray[np.float64]:
        """(K,): the harmonic mean of precision and recall, 2 right / (true + taken)."""
        return self._share((self.counts.sum(0) + self.counts.sum(1)) / 2)

    @property
    def macro_f1(self) -> float:
        """The mean F1 of the classes that occur, true or taken (scikit-learn's `macro`); 0 of nothing."""
        occurs = (self.counts.sum(0) + self.counts.sum(1)) > 0
        return float(self.f1[occurs].mean()) if occurs.any() else 0.0

    def _share(self, of: NDArray[Any]) -> NDArray[np.float64]:
        right = np.diag(self.counts).astype(np.float64)
        return np.divide(right, of, out=np.zeros_like(right), where=of > 0)

    def numbers(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """accuracy, its standard error, macro_f1, rows, `classes` (by name: precision, recall, f1, rows), `confusion`.

        All of it goes into JSON. Raises UserError for a wrong number of names.
        """
        names = names or [str(i) for i in range(len(self.counts))]
        if len(names) != len(self.counts):
            raise UserError(f"{len(names)} names for {len(self.counts)} classes")
        columns = zip(names, self.precision, self.recall, self.f1, self.counts.sum(1), strict=True)
        classes = {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "rows": int(n)}
            for name, p, r, f, n in columns
        }
        spread = self.accuracy * (1 - self.accuracy) / max(1, self.n - 1)
        return {
            "accuracy": self.accuracy,
            "accuracy_stderr": spread**0.5,
            "macro_f1": self.macro_f1,
            "rows": self.n,
            "classes": classes,
            "confusion": self.counts.tolist(),
        }


@torch.no_grad()
def classify(
    model: Model,
    batches: Iterable[Batch],
    precision: Precision,
    *,
    stop: Callable[[], bool] = lambda: False,
    total: int | None = None,
    title: str | None = None,
    each: Callable[[Tensor], object] = lambda logits: None,
) -> tuple[dict[str, float], Confusion] | None:
    """Evaluate a classifier without touching weights, gradients or random states.

    Args:
        batches: on the model's device, with labels (B,) from 0; rows of class -100 count nowhere.
        stop: asked between batches; True abandons the evaluation.
        each: told the logits (B, K) of each batch.
        total, title: number of batches and name for a progress bar; without a title there is none.

    Returns:
        loss (nats a row), accuracy, macro_f1, rows, seconds, and all that was counted; None if it was abandoned.

    Raises:
        UserError: the model has no classification head.
    """
    if model.task != "classification":
        raise UserError(f"classification needs a model with a classifier, and this one's head is for '{model.task}'")
    started, nats, counted = time.perf_counter(), 0.0, None
    with without_dropout(model):
        for batch in tqdm(batches, title, total, disable=title is None, unit="batch"):
            if stop():
                return None
            with precision.autocast():
                logits = model(**batch.inputs)  # (B, K)
            each(logits)
            counted = Confusion.empty(logits.shape[-1]) if counted is None else counted
            nats += F.cross_entropy(logits.float(), batch.labels, ignore_index=IGNORE, reduction="sum").item()
            real = batch.labels != IGNORE  # (B,)
            counted.add(batch.labels[real].cpu().numpy(), logits.argmax(-1)[real].cpu().numpy())
    if counted is None:
        raise UserError("there are no rows to classify")
    numbers = {"loss": nats / max(1, counted.n), "accuracy": counted.accuracy, "macro_f1": counted.macro_f1}
    return numbers | {"rows": counted.n, "seconds": round(time.perf_counter() - started, 3)}, counted
