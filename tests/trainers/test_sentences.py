"""What the page of a run says, by its results alone."""

from __future__ import annotations

from typing import Any

import pytest
from groundup.trainers.sentences import warnings


@pytest.mark.parametrize(
    ("best", "loss", "accuracy", "worse"),
    [
        (None, 1.1, 0.9, "loss"),
        ({"metric": "loss"}, 0.9, 0.1, None),
        ({"metric": "accuracy"}, 1.1, 0.6, None),
        ({"metric": "accuracy"}, 0.9, 0.4, "accuracy"),
    ],
)
def test_what_training_has_made_worse_is_said(
    best: dict[str, str] | None, loss: float, accuracy: float, worse: str | None
):
    """By the number that chose the best checkpoint."""
    r: dict[str, Any] = {"finished": True, "skipped_steps": 0, "best": best}
    r |= {"heldout": {"loss": loss, "accuracy": accuracy}, "baseline": {"heldout": {"loss": 1.0, "accuracy": 0.5}}}
    said = f"On unseen data the model is worse than before training, by its held-out {worse}."
    assert warnings(r) == ([said] if worse else [])
    assert warnings(r | {"test": {"loss": 9.0, "accuracy": 0.0, "rows": 3}}) == []  # of other rows
