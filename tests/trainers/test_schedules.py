"""Learning rates and dropout against their formulas, written out step by step."""

from __future__ import annotations

import math

import pytest
from groundup.trainers.schedules import DropoutSchedule, LearningRate


def test_warmup_then_cosine() -> None:
    schedule = LearningRate(6e-4, 6e-6, warmup=10, decay_steps=110, shape="cosine")
    for step in range(130):
        if step < 10:
            expected = 6e-4 * (step + 1) / 10
        elif step < 110:
            expected = 6e-6 + (6e-4 - 6e-6) * (1 + math.cos(math.pi * (step - 10) / 100)) / 2
        else:
            expected = 6e-6
        assert schedule.at(step) == pytest.approx(expected, rel=1e-12)


def test_linear_reaches_its_floor_at_decay_steps() -> None:
    schedule = LearningRate(1.0, 0.1, warmup=0, decay_steps=9, shape="linear")
    assert [schedule.at(i) for i in range(11)] == pytest.approx([1 - 0.1 * i for i in range(10)] + [0.1])


def test_constant_shapes() -> None:
    warm = LearningRate(2.0, 0.1, warmup=4, decay_steps=10, shape="constant_with_warmup")
    assert [warm.at(i) for i in (0, 1, 3, 4, 100)] == [0.5, 1.0, 2.0, 2.0, 2.0]
    flat = LearningRate(2.0, 0.1, warmup=4, decay_steps=10, shape="constant")
    assert [flat.at(i) for i in (0, 100)] == [2.0, 2.0]


def test_warmup_longer_than_the_run_never_divides_by_zero() -> None:
    schedule = LearningRate(1.0, 0.0, warmup=10, decay_steps=10, shape="cosine")
    assert [schedule.at(i) for i in (0, 9, 10)] == [0.1, 1.0, 0.0]


def test_dropout_linear() -> None:
    schedule = DropoutSchedule("linear", 0.3, 0.1, start_iter=10, end_iter=20)
    assert [schedule.at(i) for i in (0, 10, 15, 20, 99)] == pytest.approx([0.3, 0.3, 0.2, 0.1, 0.1])


def test_dropout_triangle() -> None:
    schedule = DropoutSchedule("triangle", 0.0, 0.4, start_iter=0, end_iter=40, cycles=2)
    assert [schedule.at(i) for i in (0, 5, 10, 15, 20, 25, 30)] == pytest.approx([0, 0.2, 0.4, 0.2, 0, 0.2, 0.4])


def test_dropout_constant() -> None:
    schedule = DropoutSchedule("constant", 0.2, 0.9, start_iter=0, end_iter=1)
    assert [schedule.at(i) for i in (0, 50)] == [0.2, 0.2]
