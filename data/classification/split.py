"""Rows held out of training: the same share of every class, the same rows for the same seed."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import UserError


def stratified(
    classes: Sequence[int], fraction: float, seed: int, source: str = "the data"
) -> tuple[list[int], list[int]]:
    """-> the rows to train on and those held out, both in the order given.

    Of each class round(fraction x rows) are held out, but at least one row of it stays to be trained on.

    Raises:
        UserError: nothing would be held out.
    """
    import numpy as np  # here: configurations ask which data sets there are

    labels = np.asarray(classes)
    held: list[int] = []
    for number in np.unique(labels):
        rows = np.flatnonzero(labels == number)
        random = np.random.Generator(np.random.Philox(key=np.array([seed, number], dtype=np.uint64)))
        count = min(round(fraction * len(rows)), len(rows) - 1)
        held += random.permutation(rows)[:count].tolist()
    if not held:
        raise UserError(
            f"{source} has too few rows to hold {fraction:g} of them out: raise dataset.val_fraction, name the file to "
            "evaluate on in dataset.eval_path, or set val_fraction to 0 and evaluation.do_eval to false"
        )
    out = set(held)
    return [row for row in range(len(labels)) if row not in out], sorted(held)


def some_rows(n_rows: int, count: int, seed: int) -> list[int]:
    """`count` of the rows, drawn at random, in the order given: files are often sorted by class."""
    import numpy as np  # here: configurations ask which data sets there are

    if count >= n_rows:
        return list(range(n_rows))
    random = np.random.Generator(np.random.Philox(key=np.array([seed, n_rows], dtype=np.uint64)))
    return sorted(random.permutation(n_rows)[:count].tolist())
