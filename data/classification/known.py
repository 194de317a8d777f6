"""Labelled texts for a classifier whose classes have their names already: what is read to measure it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import UserError, nearest
from .bad_rows import BadRows
from .examples import TEST, TRAIN, VALIDATION, Example, Labelled
from .labels import is_negative, read_label
from .local import read_to_measure


def read_known(data: str | Path, names: Sequence[str], dataset: Any = None) -> tuple[str, list[Example], list[int]]:
    """The rows of a file or folder with the class of each among `names`.

    Of a folder with splits the test rows are read, else the validation rows, else all that there is.

    Args:
        dataset: the `dataset` section of the run that trained the classifier: its columns are looked for, and bad rows
            are left out where they were.

    Returns:
        The split, the rows, the classes.

    Raises:
        UserError: there is no such file, a bad row, or a label that the classifier does not know; with file and row.
    """
    bad = BadRows(getattr(dataset, "on_bad_row", None) == "drop", "mend or delete them")
    source = read_to_measure(Path(data).expanduser(), dataset, bad, any(map(is_negative, names)))
    split = next(split for split in (TEST, VALIDATION, TRAIN) if split in source.splits)
    examples = source.splits[split]
    return "all" if source.splits.keys() == {TRAIN} else split, examples, classes_among(source, examples, names)


def classes_among(source: Labelled, examples: Sequence[Example], names: Sequence[str]) -> list[int]:
    """The class of each example: the place of its label among the names, else the number that it is."""
    known = {name: i for i, name in enumerate(names)}
    numbered = not any(name.lstrip("-").isdigit() for name in names)
    as_number = bool(examples) and str(examples[0].label).strip().isdigit()
    classes: list[int] = []
    for example in examples:
        label = read_label(example.label, example.where, as_number)
        if source.label_names is not None and isinstance(label, int):
            place = label - source.first
            if not 0 <= place < len(source.label_names):
                raise UserError(
                    f"{example.where}: the label {label} is none of the {len(source.label_names)} there are"
                )
            label = source.label_names[place]
        found = known.get(str(label))
        if found is None and numbered and isinstance(label, int) and 0 <= label < len(names):
            found = label
        if found is None:
            raise UserError(
                f"{example.where}: the label {label!r} is none that the classifier tells apart."
                f"{nearest(str(label), names)}"
            )
        classes.append(found)
    return classes
