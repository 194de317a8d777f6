"""Equal texts: a number for each text, what is said of those that come more than once, or with several labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import notice
from .examples import Example

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def number_texts(examples: Sequence[Example]) -> NDArray[np.int64]:
    """(N,): from 0, the same number where text and pair are the same."""
    import numpy as np  # here: configurations ask which data sets there are

    keys = np.fromiter((hash((example.text, example.pair)) for example in examples), np.int64, len(examples))
    return np.unique(keys, return_inverse=True)[1].astype(np.int64)


def have_several_labels(texts: NDArray[np.int64], classes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,): whether the text of a row comes with another label elsewhere."""
    import numpy as np

    labels = np.asarray(classes, np.int64)
    n_classes = int(labels.max(initial=0)) + 1
    n_labels = np.bincount(np.unique(texts * n_classes + labels) // n_classes)
    return n_labels[texts] > 1


def say_duplicates(
    name: str, examples: Sequence[Example], classes: Sequence[int], names: Sequence[str], texts: NDArray[np.int64]
) -> None:
    """A note about training rows whose text is that of an earlier one, and one about those that contradict it."""
    import numpy as np

    n_distinct = int(texts.max(initial=-1)) + 1
    if n_distinct == len(examples):
        return
    repeated = f"{len(examples) - n_distinct:,} of {len(examples):,} training rows of {name} repeat the text of another"
    several = have_several_labels(texts, classes)
    if not several.any():
        notice(repeated)
        return
    first = int(several.argmax())
    equal: list[int] = np.flatnonzero(texts == texts[first]).tolist()
    other = next(row for row in equal if classes[row] != classes[first])
    notice(
        f"{repeated}; texts with several labels: {len(np.unique(texts[several])):,}, the first is "
        f"'{names[classes[first]]}' at {examples[first].where} and '{names[classes[other]]}' at {examples[other].where}"
    )


def say_overlap(name: str, split: str, train: Sequence[Example], held: Sequence[Example]) -> None:
    """A note about rows to measure by whose text is trained on."""
    import numpy as np

    texts = number_texts([*train, *held])
    if count := int(np.isin(texts[len(train) :], texts[: len(train)]).sum()):
        notice(f"{count:,} of {len(held):,} {split} rows of {name} have the text of a training row")
