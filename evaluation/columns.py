"""The columns of runs side by side: what each run says in them, and how runs called alike are told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..trainers.progress import duration
from .compared import Compared
from .numbers import main_number
from .pages import size

TASKS = {
    "causal_lm": "causal LM",
    "masked_lm": "masked LM",
    "classification": "classification",
    "replaced_token": "replaced tokens",
}
Show = Callable[[Any], str]


def _decimals(number: float) -> str:
    return f"{number:.4f}"


SETTINGS: dict[str, tuple[str, Show]] = {
    "method": ("method", str),
    "objective": ("objective", str),
    "seed": ("seed", str),
    "learning_rate": ("learning rate", lambda x: f"{x:g}"),
    "effective_batch_size": ("batch", lambda x: f"{x:,}"),
    "epochs": ("epochs", lambda x: f"{x:.3g}"),
    "mixed_precision": ("precision", lambda x: "fp32" if x == "no" else x),
    "device": ("device", str),
}
_NUMBERS: dict[str, tuple[str, Show]] = {
    "accuracy": ("accuracy", _decimals),
    "macro_f1": ("macro F1", _decimals),
    "loss": ("loss", _decimals),
    "perplexity": ("perplexity", lambda x: f"{x:,.2f}"),
    "bits_per_byte": ("bits/byte", _decimals),
}
_COSTS: dict[str, tuple[str, Show]] = {
    "parameters": ("parameters", lambda x: f"{x:,}"),
    "trained_parameters": ("trained", lambda x: f"{x:,}"),
    "seconds": ("time", duration),
    "samples_per_second": ("samples/s", lambda x: f"{x:,.1f}"),
    "memory_gib": ("GiB", lambda x: f"{x:.2f}"),
}
HEADINGS = ("dataset", "task", "measured_on")
"""What the page says above a table, and the terminal in columns."""
_WORDS = ("model", "run", *HEADINGS, "method", "objective", "mixed_precision", "device")


@dataclass(frozen=True)
class Column:
    key: str
    head: str
    cell: Callable[[Compared], str]

    @property
    def words(self) -> bool:
        return self.key in _WORDS


class Names:
    """What tells runs and data sets apart that are called alike."""

    def __init__(self, runs: Sequence[Compared]):
        self._datasets = told_apart(run.dataset for run in runs)
        alike: dict[tuple[str, ...], list[str]] = {}
        for run in runs:
            alike.setdefault((run.dataset, run.subset, run.model), []).append(run.run)
        again = [told_apart(some) for some in alike.values() if len(some) > 1]
        self._runs = {run: end for ends in again for run, end in ends.items()}

    def model(self, run: Compared) -> str:
        """With what became of the run, where it did not come to its end."""
        end = "failed" if run.error else "no results" if run.note else "" if run.finished else "stopped"
        return f"{run.model} ({end})" if end else run.model

    def run(self, run: Compared) -> str:
        """The time in the run's folder, where the model was trained on the data more than once."""
        return self._runs.get(run.run, "")

    def dataset(self, run: Compared) -> str:
        return f"{self._datasets[run.dataset]} {run.subset}".strip()

    def full(self, run: Compared) -> str:
        """The model, with the run where the model alone does not name it."""
        return f"{run.model} ({self.run(run)})" if self.run(run) else run.model


def told_apart(names: Iterable[str]) -> dict[str, str]:
    """Each of the paths and its shortest end, in whole parts, that is no other's: a/train.csv beside b/train.csv."""
    parts = {name: [part for part in name.split("/") if part] for name in names}
    found: dict[str, str] = {}
    for name, own in parts.items():
        others = [other for key, other in parts.items() if key != name]
        lengths = (n for n in range(1, len(own) + 1) if all(other[-n:] != own[-n:] for other in others))
        length = next(lengths, 0)
        found[name] = "/".join(own[-length:]) if length else name
    return found


def columns_of(runs: Sequence[Compared], names: Names) -> list[Column]:
    """Those that say something of these runs; settings where they differ."""
    settings = {key: named for key, named in SETTINGS.items() if len(values_of(runs, key)) > 1}
    costs = dict(_COSTS)
    if all(run.trained_parameters == run.parameters for run in runs):
        del costs["trained_parameters"]
    tasks = list(dict.fromkeys((task, n) for run in runs for task, of in run.tasks.items() if (n := main_number(of))))
    found = [
        Column("model", "model", names.model),
        Column("run", "run", names.run),
        Column("dataset", "data", names.dataset),
        Column("task", "task", lambda run: TASKS.get(run.task, run.task)),
        Column("measured_on", "on", lambda run: run.measured_on),
        *(_column(key, *named) for key, named in settings.items()),
        *(_column(key, *named) for key, named in _NUMBERS.items()),
        Column("rows", "rows", rows_of),
        Column("text", "text", text_of),
        *(_task_column(task, number) for task, number in tasks),
        *(_column(key, *named) for key, named in costs.items()),
    ]
    return [column for column in found if any(column.cell(run) for run in runs)]


def _column(key: str, head: str, show: Show) -> Column:
    return Column(key, head, lambda run: "" if (value := getattr(run, key)) in (None, "") else show(value))


def _task_column(task: str, number: str) -> Column:
    def cell(run: Compared) -> str:
        value = run.tasks.get(task, {}).get(number)
        return "" if value is None else _decimals(value)

    return Column("tasks", f"{task} {number}", cell)


def rows_of(run: Compared) -> str:
    if run.rows is None:
        return ""
    return f"{run.rows:,} of {run.of:,}" if run.of is not None and run.of > run.rows else f"{run.rows:,}"


def text_of(run: Compared) -> str:
    """How much text a language model was measured on."""
    if run.bytes is not None:
        return size(run.bytes)
    return f"{run.tokens:,} tokens" if run.tokens is not None else ""


def values_of(runs: Iterable[Compared], key: str) -> list[Any]:
    """What a setting is in these runs, each value once; a run that does not know it does not count."""
    return list(dict.fromkeys(value for run in runs if (value := getattr(run, key)) not in (None, "")))
