"""What a row of each class counts for, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from groundup.errors import UserError
from groundup.trainers.class_weights import weights_of_classes


def test_what_balances_classes():
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0] * 7 + [2] * 3 + [3]
    found = weights_of_classes("balanced", labels, ("a", "b", "c", "d"))
    assert found is not None
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=np.array(labels))
    assert [found[c] for c in (0, 2, 3)] == pytest.approx(expected.tolist())
    found = weights_of_classes({"b": 30.0}, [0, 0, 1], ("a", "b", "c"))
    assert found == pytest.approx([3 / 32, 90 / 32, 3 / 32])  # 1, 30 and 1, of which the rows have 32
    assert weights_of_classes(None, labels, ("a", "b")) is None
    with pytest.raises(UserError, match=r"the data has no class 'spa'\. Did you mean 'spam'"):
        weights_of_classes({"spa": 2.0}, labels, ("ham", "spam"))
