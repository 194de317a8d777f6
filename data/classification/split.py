"""Rows held out of training, or the few that are read: the same share of every class, the same rows for a seed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ...errors import UserError
from .duplicates import have_several_labels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def stratified(
    classes: Sequence[int],
    fraction: float,
    seed: int,
    source: str = "the data",
    texts: NDArray[np.int64] | None = None,
) -> tuple[list[int], list[int]]:
    """-> the rows to train on and those held out, both in the order given.

    Of each class round(fraction x rows) are held out, but at least one row of it stays to be trained on; where no class
    is large enough to give one, the largest give one each. Rows of the same number in `texts` (N,) have the same text
    and stay on one side, which is training where their labels differ; the share is then as near as that allows.

    Raises:
        UserError: nothing would be held out.
    """
    import numpy as np  # here: configurations ask which data sets there are

    labels = np.asarray(classes)
    texts = np.arange(len(labels)) if texts is None else texts
    together = _rows_of_equal_text(texts)
    stays = have_several_labels(texts, labels)
    numbers, sizes = np.unique(labels, return_counts=True)
    counts = np.array([min(round(fraction * size), size - 1) for size in sizes.tolist()])
    if not counts.any():
        wanted = round(fraction * len(labels))
        counts[[i for i in np.argsort(-sizes, kind="stable") if sizes[i] > 1][:wanted]] = 1
    held: set[int] = set()
    for number, size, count in zip(numbers.tolist(), sizes.tolist(), counts.tolist(), strict=True):
        groups = [together.get(int(texts[row]), [row]) for row in _shuffled(labels, number, seed) if not stays[row]]
        left = count
        for rows in groups:
            if left and len(rows) <= left and rows[0] not in held:
                held.update(rows)
                left -= len(rows)
        smallest = min(groups, key=len, default=[])
        if count and left == count and len(smallest) < size:  # each text comes too often
            held.update(smallest)
    if not held:
        raise UserError(
            f"{source} has too few rows to hold {fraction:g} of them out: raise dataset.val_fraction, name the file to "
            "evaluate on in dataset.eval_path, or set val_fraction to 0 and evaluation.do_eval to false"
        )
    return [row for row in range(len(labels)) if row not in held], sorted(held)


def some_rows(classes: Sequence[int], count: int, seed: int) -> list[int]:
    """`count` of the rows, drawn at random from each class, in the order given: files are often sorted by class.

    Each class has its share, and one row at least where there are as many rows as classes.
    """
    import numpy as np

    labels = np.asarray(classes)
    if count >= len(labels):
        return list(range(len(labels)))
    numbers, sizes = np.unique(labels, return_counts=True)
    shares = sizes * count / len(labels)
    taken = np.maximum(shares.astype(np.int64), 1)
    if count < len(sizes):
        taken[:] = 0
        taken[np.argsort(-sizes, kind="stable")[:count]] = 1
    while taken.sum() > count:
        taken[taken.argmax()] -= 1
    while taken.sum() < count:
        taken[np.where(taken < sizes, shares - taken, -np.inf).argmax()] += 1
    chosen = [_shuffled(labels, number, seed)[:n] for number, n in zip(numbers.tolist(), taken.tolist(), strict=True)]
    return sorted(row for rows in chosen for row in rows)


def _shuffled(labels: NDArray[Any], number: int, seed: int) -> list[int]:
    """The rows of a class in an order of their own."""
    import numpy as np

    random = np.random.Generator(np.random.Philox(key=np.array([seed, number], dtype=np.uint64)))
    return random.permutation(np.flatnonzero(labels == number)).tolist()


def _rows_of_equal_text(texts: NDArray[np.int64]) -> dict[int, list[int]]:
    """The rows of each text that more than one has."""
    import numpy as np

    rows: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(np.bincount(texts)[texts] > 1).tolist():
        rows[int(texts[row])].append(row)
    return rows
