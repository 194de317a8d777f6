"""Plots show the rows they are given."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from groundup.trainers.plots import _points, _smooth, plot_run


def train_rows(n: int) -> list[dict]:
    return [
        {"step": i, "loss": 3 - i / n, "lr": 1e-3 * i / n, "grad_norm": 1 + i % 3, "tokens_per_second": 100.0 + i}
        for i in range(1, n + 1)
    ]


@pytest.mark.parametrize("n", [1, 5, 200])
def test_four_pictures(tmp_path: Path, n: int) -> None:
    from matplotlib.image import imread

    paths = plot_run(train_rows(n), [{"step": 0, "loss": 3.0}, {"step": n, "loss": 2.1}], tmp_path, "a run")
    assert [p.name for p in paths] == ["loss.png", "learning_rate.png", "gradient_norm.png", "throughput.png"]
    for path in paths:
        image = imread(path)
        assert image.shape[0] > 300
        assert np.ptp(image[..., :3]) > 0.5
    assert not list(tmp_path.glob("*.tmp"))


def test_the_held_out_curve_is_drawn(tmp_path: Path) -> None:
    from matplotlib.image import imread

    (without, *_) = plot_run(train_rows(30), [], tmp_path / "a", "a run")
    (with_it, *_) = plot_run(
        train_rows(30), [{"step": 9, "loss": 2.9}, {"step": 25, "loss": 2.3}], tmp_path / "b", "a run"
    )
    assert not np.array_equal(imread(without), imread(with_it))


def test_nothing_to_draw_draws_nothing(tmp_path: Path) -> None:
    assert plot_run([], [], tmp_path, "a run") == []
    assert list(tmp_path.iterdir()) == []


def test_rows_without_a_number_are_left_out() -> None:
    rows = [{"step": 1, "loss": None}, {"step": 2, "loss": 1.5}, {"step": 3}]
    assert _points(rows, "loss") == ([2], [1.5])


def test_smoothing_keeps_a_constant_and_follows_a_step() -> None:
    assert _smooth([2.0] * 100) == pytest.approx([2.0] * 100)
    stepped = _smooth([0.0] * 100 + [1.0] * 100)
    assert stepped[99] == 0
    assert 0.99 < stepped[-1] <= 1


def test_tasks_and_text_modelling_are_drawn(tmp_path: Path) -> None:
    from matplotlib.image import imread

    rows = [
        {
            "step": step,
            "hellaswag/acc": 0.25 + step / 1000,
            "hellaswag/acc_norm": 0.26 + step / 900,
            "hellaswag/acc_norm_stderr": 0.01,
            "text_modeling/byte_accuracy": step / 1000,
            **{f"text_modeling/accuracy_{name}": (step + 50) / (200 + 100 * i) for i, name in enumerate(("0", "1"))},
        }
        for step in (0, 50, 100, 150, 200)
    ]
    paths = plot_run([], [], tmp_path, "a run", rows)
    assert [p.name for p in paths] == ["tasks.png", "text_modeling.png"]
    before = [imread(path) for path in paths]
    rows[2] |= {"hellaswag/acc_norm": 0.9}
    rows[-1] |= {"text_modeling/accuracy_1": 0.9}
    after = [imread(path) for path in plot_run([], [], tmp_path, "a run", rows)]
    assert not any(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert [p.name for p in plot_run([], [], tmp_path, "a run", [{"step": 1, "piqa/acc": 0.5}])] == ["tasks.png"]


def test_what_else_was_measured_is_drawn(tmp_path: Path) -> None:
    from matplotlib.image import imread

    train = [
        row | {"samples_per_second": 9.0, "memory_gib": 1 + row["step"] / 50, "peak_memory_gib": 2.0, "cpu_percent": 90}
        for row in train_rows(20)
    ]
    heldout = [
        {"step": step, "loss": 2 - step / 40, "train_loss": 2 - step / 15, "accuracy": step / 20, "macro_f1": step / 25}
        for step in (0, 10, 20)
    ]
    gradients = [{"step": step, "embedder": 1.0, "0": 2.0 / step, "1": 0.5, "head": 3.0} for step in range(1, 21)]

    def draw(name: str, **more: object) -> dict[str, np.ndarray]:
        paths = plot_run(train, heldout, tmp_path / name, "a run", gradients=gradients, **more)  # pyright: ignore
        return {path.stem: imread(path) for path in paths}

    before = draw("a", steps_per_epoch=10)
    assert {"samples", "memory", "processor", "scores", "gap", "gradient_norm_layers"} <= set(before)
    train[-1]["memory_gib"] = heldout[-1]["train_loss"] = heldout[-1]["macro_f1"] = gradients[-1]["1"] = 0.1
    after = draw("b", steps_per_epoch=10)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert changed == {"memory", "scores", "gap", "gradient_norm_layers"}
