"""The gap between training and held-out rows: how much a model does better on what it has seen.

Both sides are measured alike: in evaluation mode, without dropout, label smoothing or gradients, on equally many rows.
The running loss of training would not do: it averages over weights of different ages, and dropout raises it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..data.rows import Batches
from ..data.sampling import Batch


def first_rows(train: Batches, count: int) -> Iterator[Batch]:
    """The first batches of training with `count` rows or more, no more than an epoch of them; each time the same."""
    seen = 0
    for index in range(train.batches_per_epoch):
        if seen >= count:
            return
        batch = train.batch(index)
        seen += len(batch.input_ids)
        yield batch


def gap_of(heldout: Mapping[str, float], training: Mapping[str, float]) -> dict[str, float]:
    """train_loss and gap (held-out loss less training loss); of a classifier train_accuracy too."""
    found = {"train_loss": training["loss"], "gap": heldout["loss"] - training["loss"]}
    if "accuracy" in training:
        found["train_accuracy"] = training["accuracy"]
    return found
