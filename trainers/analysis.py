"""What is looked at besides a loss: who is taken for whom, and where one held-out example's attention goes.

`baseline/` has it of the model before its first step, `test/` of the finished one: the best checkpoint, else the last.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.rows import OneEpoch, spread
from ..data.sampling import Batch
from ..evaluation.classification import Confusion
from ..evaluation.plots import picture, plot_attention, plot_confusion
from ..models.model import Model
from ..tokenizers.base import Tokenizer
from .folder import RunFolder
from .measuring import Measuring
from .objectives import ClassLoss
from .reading import Reading

Numbers = dict[str, dict[str, Any]]

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
    _heldout: tuple[int, Confusion] | None = field(default=None, init=False)  # of the last look, and its step

    def measured(self, step: int) -> None:
        """Held-out rows were just measured: of a classifier keep who was taken for whom."""
        if self.objective is not None and self.objective.counted is not None:
            self._heldout = step, Confusion(self.objective.counted.numpy())
            self._keep(self._heldout[1], self.folder.metrics / CLASSES, step, "held out")
            if step == 0:
                place = self.folder.baseline
                self._keep(self._heldout[1], place / "metrics" / CLASSES, step, "held out")
                self._draw_confusion(self._heldout[1], place / "analysis", "before training")
        if step == 0:
            self._draw_attention(self.folder.baseline / "analysis", "before training")

    def finish(self, step: int, measuring: Measuring, *, most: int | None, batch_size: int) -> Numbers:
        """Look at the finished model, whose weights are those of `step`.

        Of a data set with a test split beside the held-out rows that is measured; else the held-out rows are once more,
        where the last look at them was at other weights.

        Args:
            most: rows of the test split at most, spread evenly; None: all.

        Returns:
            The numbers of what was measured, by `test` and `heldout`.
        """
        classes, numbers = self.reading.classes, Numbers()
        if classes is not None and self.objective is not None:
            what, confusion = "held out", self._heldout[1] if self._heldout and self._heldout[0] == step else None
            if classes.test:
                what, chosen = "test", spread(classes.test, most or len(classes.test))
                batches = classes.evaluation(chosen, batch_size, max(len(row.ids) for row in chosen))
                found = measuring.numbers(OneEpoch(batches)) or {}
                numbers["test"] = {**found, "of": len(classes.test), "step": step}
            elif confusion is None and classes.heldout:
                numbers["heldout"] = measuring.numbers(self.reading.heldout) or {}
            if numbers and self.objective.counted is not None:
                confusion = Confusion(self.objective.counted.numpy())
            if confusion is not None:
                self._keep(confusion, self.folder.test / "metrics" / CLASSES, step, what)
                self._draw_confusion(confusion, self.folder.test / "analysis", what)
        self._draw_attention(self.folder.test / "analysis", f"after step {step:,}")
        return numbers

    def _keep(self, confusion: Confusion, path: Path, step: int, what: str) -> None:
        if self.reading.classes is not None:
            names = self.reading.classes.label_names
            self.folder.write_json(path, {"step": step, "rows_are": what, **confusion.numbers(names)})

    def _draw_confusion(self, confusion: Confusion, folder: Path, what: str) -> None:
        if self.pictures and self.reading.classes is not None:
            names, path = self.reading.classes.label_names, folder / "confusion_matrix.png"
            with picture(path):
                plot_confusion(confusion, names, path, f"{self._title()}, {what}")

    def _draw_attention(self, folder: Path, when: str) -> None:
        example = next(iter(self.reading.heldout()), None) if self.pictures else None
        if example is None:
            return
        ids, types = _one_row(example, next(self.model.parameters()).device)
        path = folder / "attention_maps.png"
        with picture(path):
            maps = self.model.attention_maps(ids, token_type_ids=types)  # L x (1, H, T, T)
            words = [_shown(self.tokenizer.decode([i])) for i in ids[0].tolist()]
            arrays = [np.asarray(one[0].float().cpu()) for one in maps]
            plot_attention(arrays, words, path, f"{self._title()}, attention {when}")

    def _title(self) -> str:
        return f"{self.folder.root.parent.name}, {self.folder.root.name}"


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
