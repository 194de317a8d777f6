"""What is looked at besides a loss: who is taken for whom, and where one held-out example's attention goes.

`baseline/` has it of the model before its first step, `test/` of the finished one.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.classification.load import ClassificationData
from ..data.rows import one_epoch, spread
from ..data.sampling import Batch
from ..evaluation.classification import Confusion
from ..evaluation.plots import plot_attention, plot_confusion
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .folder import RunFolder
from .objectives import ClassLoss
from .reading import Reading

CLASSES = "classes.json"
TOKENS = 48  # of the example whose attention is drawn


@dataclass
class Analysis:
    """The looks at one run's model. `pictures`: PNGs are drawn."""

    folder: RunFolder
    model: Model
    tokenizer: Tokenizer
    reading: Reading
    objective: ClassLoss | None
    pictures: bool

    def measured(self, step: int) -> None:
        """Held-out rows were just measured: of a classifier keep who was taken for whom."""
        place = self.folder.baseline if step == 0 else None
        if self.objective is not None and self.objective.counted is not None and self.reading.classes is not None:
            names = self.reading.classes.label_names
            confusion = Confusion(self.objective.counted.numpy())
            self.folder.write_json(self.folder.metrics / CLASSES, {"step": step, **confusion.numbers(names)})
            if place is not None:
                self.folder.write_json(place / "metrics" / CLASSES, confusion.numbers(names))
                self._draw_confusion(confusion, place / "analysis", "before training")
        if place is not None:
            self._draw_attention(place / "analysis", "before training")

    def finish(self, tested: Path, step: int, device: torch.device, *, most: int, batch_size: int) -> dict[str, Any]:
        """Look at the finished model; of a data set with a test split beside the held-out rows, measure that.

        Args:
            tested: the folder of results on held-out data.
            most: rows of the test split at most, spread evenly.

        Returns:
            Numbers of the test split: {} where there is none.
        """
        classes, objective = self.reading.classes, self.objective
        numbers: dict[str, Any] = {}
        if classes is not None and objective is not None:
            names = classes.label_names
            if classes.test:
                batches = _some(classes, batch_size, most)
                numbers = objective.evaluate((batch.to(device) for batch in batches), lambda: False) or {}
                numbers["of"] = len(classes.test)
                what = "test"
            else:
                what = "held out"
            of_this_step = bool(classes.test) or self._last_evaluated() == step
            if objective.counted is not None and of_this_step:
                confusion = Confusion(objective.counted.numpy())
                self.folder.write_json(tested / "metrics" / CLASSES, {"rows_are": what, **confusion.numbers(names)})
                self._draw_confusion(confusion, tested / "analysis", what)
        self._draw_attention(tested / "analysis", f"after step {step:,}")
        return numbers

    def _last_evaluated(self) -> int | None:
        rows = self.folder.metrics / CLASSES
        if not rows.is_file():
            return None
        return json.loads(rows.read_text(encoding="utf-8"))["step"]

    def _draw_confusion(self, confusion: Confusion, folder: Path, what: str) -> None:
        if self.pictures and self.reading.classes is not None:
            names = self.reading.classes.label_names
            plot_confusion(confusion, names, folder / "confusion_matrix.png", f"{self._title()}, {what}")

    def _draw_attention(self, folder: Path, when: str) -> None:
        if not self.pictures:
            return
        example = next(iter(self.reading.heldout()), None)
        if example is None:
            return
        ids, types = _one_row(example, next(self.model.parameters()).device)
        maps = self.model.attention_maps(ids, token_type_ids=types)  # L x (1, H, T, T)
        words = [_shown(self.tokenizer.decode([i])) for i in ids[0].tolist()]
        arrays = [np.asarray(one[0].float().cpu()) for one in maps]
        plot_attention(arrays, words, folder / "attention_maps.png", f"{self._title()}, attention {when}")

    def _title(self) -> str:
        return f"{self.folder.root.parent.name}, {self.folder.root.name}"


def _some(classes: ClassificationData, batch_size: int, most: int) -> list[Batch]:
    """Batches of the test split, or of as many of its rows, spread evenly."""
    chosen = spread(classes.test or [], most)
    return list(one_epoch(classes.evaluation(chosen, batch_size, max(len(row.ids) for row in chosen))))


def _one_row(batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The shortest row of a batch without its padding, its first tokens: ids and token types, (1, T)."""
    row, real = 0, torch.ones_like(batch.input_ids[0], dtype=torch.bool)
    if batch.attention_mask is not None:
        lengths = batch.attention_mask.sum(1)
        row = int(torch.where(lengths > 0, lengths, lengths.max() + 1).argmin())
        real = batch.attention_mask[row].bool()
    ids = batch.input_ids[row][real][None, :TOKENS].to(device)
    types = None if batch.token_type_ids is None else batch.token_type_ids[row][real][None, :TOKENS].to(device)
    return ids, types


def _shown(word: str) -> str:
    """A token as a label: what is invisible is made visible, what is long is cut."""
    return (word.replace("\n", "\\n").replace("\t", "\\t").replace("$", r"\$").strip() or "_")[:12]
