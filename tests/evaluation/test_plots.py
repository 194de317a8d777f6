"""Pictures of what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from groundup.evaluation.plots import _spread, plot_attention


@pytest.mark.parametrize(("layers", "heads", "tokens"), [(1, 1, 2), (2, 3, 9), (13, 8, 48)])
def test_attention_is_drawn(tmp_path: Path, layers: int, heads: int, tokens: int):
    from matplotlib.image import imread

    draw = np.random.default_rng(0)
    maps = [draw.dirichlet(np.ones(tokens), (heads, tokens)) for _ in range(layers)]  # (H, T, T), rows of sum 1
    words = [f"w{i}" for i in range(tokens)]
    before = imread(plot_attention(maps, words, tmp_path / "a.png", "a run"))
    maps[-1] = maps[-1][:, ::-1]
    after = imread(plot_attention(maps, words, tmp_path / "b.png", "a run"))
    assert before.shape == after.shape
    assert not np.array_equal(before, after)
    assert not list(tmp_path.glob("*.tmp"))


def test_the_first_and_the_last_are_shown():
    assert _spread(3) == [0, 1, 2]
    assert _spread(6) == list(range(6))
    assert _spread(24) == [0, 5, 9, 14, 18, 23]
