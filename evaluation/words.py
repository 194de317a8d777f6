"""A saved bag of words measured on labelled texts: what evaluate.py does with the folder of such a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..data.classification.known import read_known
from ..data.rows import spread
from ..errors import UserError
from .baseline import CARD, NAME, Baseline, load_baseline
from .labelled import VERSION


def saved_words(model: str | Path) -> Baseline | None:
    """The bag of words that a run's folder holds as its model; None for any other folder or name."""
    folder = Path(model).expanduser()
    place = next((place for place in (folder, folder / NAME) if (place / CARD).is_file()), None)
    return None if place is None else load_baseline(place)


def measure_words(baseline: Baseline, data: str | None, limit: int | None) -> dict[str, Any]:
    """The numbers of the task `classification`, as of a network; of at most `limit` rows, spread evenly.

    Raises:
        UserError: no data is named, or it has a bad row or a class that the bag of words does not know.
    """
    from ..data.classification.load import text_of

    if data is None:
        raise UserError(f"{NAME} keeps no rows: name labelled texts with --data FILE_OR_DIR")
    names = baseline.label_names
    split, examples, classes = read_known(data, names)
    most = limit or len(examples)
    numbers, confusion = baseline.measure([text_of(one) for one in spread(examples, most)], spread(classes, most))
    return {**numbers, **confusion.numbers(names), "version": VERSION, "source": {"split": split}, "names": list(names)}
