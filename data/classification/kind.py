"""Whether data is texts with a class. A configuration asks, so nothing heavy is imported here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .docstrings import NAME as DOCSTRINGS
from .hub import known
from .local import holds_labels


def is_labelled(dataset: Any) -> bool:
    """Whether a `dataset` section is about classes: by the name of the data, its label column, or what its files hold.

    Files are only looked at: a table's first row, or the folders there are.
    """
    if dataset.format is not None:
        return dataset.format == "classification"
    if getattr(dataset, "label_column", None) or getattr(dataset, "random_crop", None) or dataset.name == DOCSTRINGS:
        return True
    path = Path(dataset.train_path or dataset.name).expanduser()
    return holds_labels(path, dataset) if path.exists() else known(dataset.name) is not None
