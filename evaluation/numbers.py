"""Numbers of tasks, for a line of metrics, a sentence or a plot."""

from __future__ import annotations

from typing import Any

Numbers = dict[str, Any]

MAIN = ("acc_norm", "acc", "mc2", "pass@1", "score", "accuracy", "byte_accuracy", "perplexity")
LEFT_OUT = ("version", "seconds", "n", "problems", "passages", "samples", "temperature", "tokens")


def flat(tasks: dict[str, Numbers]) -> dict[str, float]:
    """{task/number: value}: what was measured, without counts."""
    return {
        f"{task}/{name}": value
        for task, numbers in tasks.items()
        for name, value in numbers.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and name not in LEFT_OUT
    }


def main_number(numbers: Numbers) -> str | None:
    """The name of the one number that stands for a task."""
    known = [name for name, value in numbers.items() if isinstance(value, float) and not name.endswith("_stderr")]
    return next((name for name in MAIN if name in known), known[0] if known else None)


def in_words(tasks: dict[str, Numbers]) -> str:
    """hellaswag acc_norm 0.251, text_modeling byte_accuracy 0.102"""
    named = ((task, main_number(numbers), numbers) for task, numbers in tasks.items())
    return ", ".join(f"{task} {name} {numbers[name]:.3f}" for task, name, numbers in named if name is not None)
