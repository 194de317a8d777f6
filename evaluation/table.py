"""Results for a person's eyes."""

from __future__ import annotations

from typing import Any

HIDDEN = ("version", "source", "scored", "bos", "n", "groups", "names")
"""What stands in the task's own line, or in the JSON alone."""
MOST_GROUPS = 12
MOST_CLASSES = 10


def results_table(results: dict[str, Any]) -> str:
    """The results of `evaluate`: a block a task, numbers with their standard errors."""
    step = "" if results["step"] is None else f" (step {results['step']:,})"
    lines = [f"{results['model']}{step} on {results['data']}"]
    for task, numbers in results["tasks"].items():
        lines.append(f"  {task}{_about(numbers)}")
        for name, value in numbers.items():
            if name in HIDDEN or name.endswith("_stderr") or isinstance(value, dict | list):
                continue
            lines.append(f"    {name:<16}{_number(value)}{_error(numbers.get(f'{name}_stderr'))}")
        lines += _groups(numbers.get("groups", {}))
        if "confusion" in numbers:
            lines += _classes(numbers["classes"]) + _confusion(numbers["names"], numbers["confusion"])
    return "\n".join(lines)


def _about(numbers: dict[str, Any]) -> str:
    """(200 questions, 5-shot, log-likelihood)"""
    words = [f"{numbers['n']:,} questions"] if "n" in numbers else []
    source = numbers.get("source")
    words += [f"{source['n_shot']}-shot"] if isinstance(source, dict) and "n_shot" in source else []
    words += [numbers["scored"]] if "scored" in numbers else []
    return f" ({', '.join(words)})" if words else ""


def _groups(groups: dict[str, dict[str, float]]) -> list[str]:
    """A line a subject or paradigm, where there are few enough."""
    if len(groups) > MOST_GROUPS:
        return [f"    {len(groups)} groups: see --output"]
    lines: list[str] = []
    for name, numbers in groups.items():
        said = ", ".join(f"{key} {_number(value)}" for key, value in numbers.items() if key != "n")
        lines.append(f"      {name}: {said} of {numbers['n']:,}")
    return lines


def _classes(classes: dict[str, dict[str, float]]) -> list[str]:
    """A line a class."""
    lines = [f"    {'class':<24}{'precision':>10}{'recall':>10}{'f1':>10}{'rows':>10}"]
    for name, row in list(classes.items())[:MOST_CLASSES]:
        numbers = "".join(f"{row[key]:>10.4f}" for key in ("precision", "recall", "f1"))
        lines.append(f"    {_short(name, 23):<24}{numbers}{row['rows']:>10,}")
    return lines


def _confusion(names: list[str], counts: list[list[int]]) -> list[str]:
    """True classes in rows, what they were taken for in columns."""
    if len(names) > MOST_CLASSES:
        return [f"    {len(names)} classes: see --output for all of them, and for who is taken for whom"]
    width = max(6, *(len(f"{count:,}") for row in counts for count in row)) + 1
    lines = [f"    {'true, taken for':<24}" + "".join(f"{_short(name, width - 1):>{width}}" for name in names)]
    for name, row in zip(names, counts, strict=True):
        lines.append(f"    {_short(name, 23):<24}" + "".join(f"{count:>{width},}" for count in row))
    return lines


def _short(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.4f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _error(error: float | None) -> str:
    return "" if error is None else f" ± {error:.4f}"
