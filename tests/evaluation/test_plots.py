"""Pictures of what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from groundup.evaluation.classification import Confusion
from groundup.evaluation.plots import _spread, picture, plot_attention, plot_confusion


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


def test_names_of_classes_are_not_mathematics(tmp_path: Path):
    """A dollar is a dollar, and a long name leaves room for the matrix."""
    names = ["price_$10_$20", "$5%-$10%", "x" * 200]
    confusion = Confusion(np.arange(9).reshape(3, 3))
    path = plot_confusion(confusion, names, tmp_path / "confusion.png", "a run")
    assert path.stat().st_size > 5_000


def test_a_picture_that_cannot_be_drawn_ends_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    with picture(tmp_path / "a.png"):
        raise ValueError("two\nlines")
    assert f"{tmp_path / 'a.png'} was not drawn: ValueError: two lines" in capsys.readouterr().err
    with pytest.raises(KeyboardInterrupt), picture(tmp_path / "a.png"):
        raise KeyboardInterrupt
