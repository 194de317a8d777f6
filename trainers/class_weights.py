"""How much a row of each class counts in the loss of a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from ..errors import UserError, nearest


def weights_of_classes(
    given: str | Mapping[str, float] | None, labels: Sequence[int], names: Sequence[str]
) -> list[float] | None:
    """A weight for each class, as trainer.class_weights has it.

    Args:
        given: `balanced`, n / (k n_c) for the n_c of n rows of each of the k classes that occur, so that all of them
            count alike (scikit-learn's class_weight="balanced"); a weight by a class's name, 1 for those it leaves out;
            None: every row counts alike.
        labels: the class of each row that is trained on.
        names: of the classes.

    Returns:
        Weights whose mean over the rows is 1, whatever the numbers that are given: the step is as large as without.

    Raises:
        UserError: it weighs a class that the data does not have.
    """
    if given is None:
        return None
    counts = Counter(labels)
    if isinstance(given, Mapping):
        if unknown := next((name for name in given if name not in names), None):
            raise UserError(f"trainer.class_weights: the data has no class '{unknown}'.{nearest(unknown, names)}")
        weights = [given.get(name, 1.0) for name in names]
    else:
        weights = [1.0 / max(1, counts[c]) for c in range(len(names))]
    mean = sum(weights[c] * count for c, count in counts.items()) / max(1, len(labels))
    return [weight / mean for weight in weights]
