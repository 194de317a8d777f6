"""Runs as they compare: what each says of itself in training_results.json, and which of them were measured alike."""

from __future__ import annotations

import json
import math
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ..configs.test_mode import FOLDER as TESTS
from ..errors import UserError, notice
from ..trainers.folder import RunFolder
from .baseline import NAME as BAG_OF_WORDS
from .numbers import Numbers

RESULTS = "training_results.json"
_SLACK = {"bytes": 0.01, "tokens": 0.05}
_MEASURED = ("accuracy", "macro_f1", "loss", "perplexity", "bits_per_byte", "tokens", "bytes")
SCORES = ("accuracy", "bits_per_byte", "loss")
"""What runs are ranked by: the first of them that a run has. Bits a byte, unlike losses, compare across tokenizers."""


@dataclass(frozen=True)
class Compared:
    """One run. What was not measured is None; `error` is why it could not go on, `note` that it left no results."""

    run: str  # its folder
    model: str
    dataset: str = ""
    subset: str = ""  # the configuration of a data set that has several
    task: str = ""  # causal_lm, masked_lm, classification, replaced_token
    method: str = ""
    objective: str = ""  # tokens, classes, distillation
    measured_on: str = ""  # "test" where the data has a test split beside the held-out rows, else "held out"
    step: int | None = None  # of the weights that were measured
    best_step: int | None = None  # of the checkpoint that is the best on held-out data
    rows: int | None = None
    of: int | None = None  # how many rows there are
    accuracy: float | None = None
    macro_f1: float | None = None
    loss: float | None = None
    perplexity: float | None = None
    bits_per_byte: float | None = None
    tokens: int | None = None  # that were predicted
    bytes: int | None = None  # of the text that they stand for
    bag_of_words_accuracy: float | None = None
    tasks: dict[str, Numbers] = field(default_factory=dict)  # as of the run's last step
    parameters: int | None = None
    trained_parameters: int | None = None
    seed: int | None = None
    learning_rate: float | None = None
    effective_batch_size: int | None = None  # rows an update
    epochs: float | None = None
    mixed_precision: str = ""
    steps: int | None = None
    seconds: float | None = None  # of training, evaluation and checkpoints apart
    seconds_per_epoch: float | None = None
    samples_per_second: float | None = None
    memory_gib: float | None = None  # the peak: of the GPU where one was used, else of the process
    device: str = ""
    finished: bool = True
    error: str = ""
    note: str = ""

    @property
    def score(self) -> tuple[str, float] | None:
        """What it is ranked by, and the number."""
        found = ((name, getattr(self, name)) for name in SCORES)
        return next(((name, value) for name, value in found if value is not None and math.isfinite(value)), None)

    @property
    def like(self) -> tuple[str, str, str, str]:
        """Runs compare where this is the same."""
        return self.dataset, self.subset, self.task, self.measured_on

    @property
    def order(self) -> tuple[Any, ...]:
        """By what compares; the best first, what has no numbers after all others of its data set."""
        name, value = self.score or ("", 0.0)
        rank = (SCORES.index(name), -value if name == "accuracy" else value) if name else (len(SCORES), 0.0)
        blank = (not self.measured_on, bool(self.note))
        alike = (self.subset, self.task, self.measured_on != "test")
        return (self.dataset, *blank, *alike, *rank, self.model, self.run)

    @property
    def not_of_best(self) -> bool:
        """Whether its numbers are of other weights than those that are exported, the best on held-out data."""
        return bool(self.measured_on) and self.best_step is not None and self.step != self.best_step


def grouped(runs: Iterable[Compared]) -> list[list[Compared]]:
    """The runs that compare with each other, the best first.

    What has no numbers closes the one group it can belong to, or stands in a group of its own.
    """
    measured: dict[tuple[str, ...], list[Compared]] = {}
    blank: dict[tuple[str, ...], list[Compared]] = {}
    for run in sorted(runs, key=lambda run: run.order):
        (measured if run.measured_on else blank).setdefault(run.like, []).append(run)
    alone: dict[str, list[Compared]] = {}
    for (dataset, subset, task, _), some in blank.items():
        homes = [
            group
            for (its_dataset, its_subset, its_task, _), group in measured.items()
            if its_dataset == dataset and subset in ("", its_subset) and task in ("", its_task)
        ]
        (homes[0] if len(homes) == 1 else alone.setdefault(dataset, [])).extend(some)
    return sorted([*measured.values(), *alone.values()], key=lambda group: group[0].order)


def comparable(runs: Sequence[Compared]) -> bool:
    """Whether the numbers of a group are of one kind and of as much data each, so that one of them is the best.

    Of text it may be a little more or less: another tokenizer ends its last batch elsewhere, masked tokens are drawn.
    """
    measured = [run for run in runs if run.score]
    kinds = {run.score[0] for run in measured if run.score}
    unit, least, most = amounts(measured)
    alike = len({run.rows for run in measured}) == 1
    return len(kinds) == 1 and alike and most - least <= _SLACK.get(unit, 0) * most


def amounts(runs: Iterable[Compared]) -> tuple[str, int, int]:
    """Of how much each was measured, the least and the most of it: in rows, or in bytes of text or else in tokens."""
    measured = [run for run in runs if run.score]
    for unit in ("rows", "bytes", "tokens"):
        if some := [count for run in measured if (count := getattr(run, unit)) is not None]:
            return unit, min(some), max(some)
    return "", 0, 0


# --- reading -----------------------------------------------------------------------------------------------------


def read_runs(folder: Path) -> list[Compared]:
    """The runs below a folder, the best of those that compare first. A file that cannot be read is named and left out.

    Raises:
        UserError: there is no such folder, or no run in it.
    """
    if not folder.is_dir():
        raise UserError(f"--report {folder}: there is no such folder; name one that holds runs, such as results")

    def below(name: str) -> list[Path]:  # what a test of the machinery left says nothing of models
        return [path for path in sorted(folder.rglob(name)) if TESTS not in path.relative_to(folder).parts]

    found = [row for path in below(RESULTS) if (row := read_run(path, folder)) is not None]
    found += [_without_results(path.parent, folder) for path in below("config.yaml") if _left_nothing(path)]
    if not found:
        raise UserError(f"--report {folder}: no run in it: a run leaves a {RESULTS} at its end")
    return sorted(found, key=lambda row: row.order)


def read_run(path: Path, folder: Path) -> Compared | None:
    """The run whose results a file holds, its folder told from `folder`; None, and a note, where it cannot be read."""
    try:
        return _compared(json.loads(path.read_text(encoding="utf-8")), path.parent, folder)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        notice(f"{path} is left out: it cannot be read as a run's results ({type(error).__name__})")
        return None


def _compared(r: dict[str, Any], root: Path, folder: Path) -> Compared:
    if not (model := _word(r, "model")):
        raise KeyError("model")
    settings = _settings(root)
    split, measured, step = _measured(r)
    bits, loss, tokens = (_number(measured, name) for name in ("bits_per_byte", "loss", "tokens"))
    if bits and loss and tokens:  # results of before do not say bytes
        measured = {"bytes": round(tokens * loss / math.log(2) / bits)} | measured
    return Compared(
        run=_told_from(root, folder),
        model=model,
        dataset=_word(r, "dataset"),
        subset=settings.get("subset", ""),
        task=_word(r, "task"),
        method=_word(r, "method"),
        objective=_word(r, "objective").replace("bag of words", ""),  # its method says it
        measured_on=split,
        step=step,
        best_step=_number(_part(r, "best"), "step"),
        rows=_number(measured, "rows"),
        of=_number(measured, "of") or (_number(r, "heldout_of") if split == "held out" else None),
        **{name: _number(measured, name) for name in _MEASURED},
        bag_of_words_accuracy=_number(
            _part(_part(r, "baseline"), BAG_OF_WORDS), "test_accuracy" if split == "test" else "accuracy"
        ),
        tasks={name: _part(_part(r, "tasks"), name) for name in _part(r, "tasks")},
        parameters=_number(r, "parameters"),
        trained_parameters=_number(r, "trained_parameters"),
        seed=_number(r, "seed"),
        learning_rate=settings.get("learning_rate"),
        effective_batch_size=settings.get("effective_batch_size"),
        epochs=_number(r, "epochs"),
        mixed_precision=_word(r, "mixed_precision"),
        steps=_number(r, "steps"),
        seconds=_number(r, "training_seconds"),
        seconds_per_epoch=_number(r, "seconds_per_epoch"),
        samples_per_second=_number(r, "samples_per_second"),
        memory_gib=_number(r, "peak_gpu_memory_gib" if "peak_gpu_memory_gib" in r else "peak_memory_gib"),
        device=_word(r, "device"),
        finished=bool(r.get("finished", True)),
        error=" ".join(_word(r, "error").split()),
    )


def _measured(r: dict[str, Any]) -> tuple[str, dict[str, Any], int | None]:
    """What the run was measured on, its numbers, and the step whose weights they are of.

    They are those of the best checkpoint, which is what is exported, or of the last where the best was not measured.
    """
    best = _part(r, "best")
    for split, key in (("test", "test"), ("held out", "heldout")):
        if numbers := _part(best, key):
            return split, numbers, _number(best, "step")
        if numbers := _part(r, key):  # of a run that was stopped: of its last evaluation
            step = _number(numbers, "step") or _number(r, f"{key}_step")
            return split, numbers, step or _number(r, "steps")
    return "", {}, None


def _part(values: dict[str, Any], key: str) -> dict[str, Any]:
    """The mapping under a key, empty where there is none. Raises TypeError for anything else."""
    part = values.get(key)
    if part is not None and not isinstance(part, dict):
        raise TypeError(key)
    return part or {}


def _number(values: dict[str, Any], key: str) -> Any:
    """The number under a key, or None. Raises TypeError for anything else."""
    value = values.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
        raise TypeError(key)
    return value


def _word(values: dict[str, Any], key: str) -> str:
    """The text under a key, empty where there is none. Raises TypeError for anything else."""
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise TypeError(key)
    return value or ""


# --- a run's folder ----------------------------------------------------------------------------------------------


def _left_nothing(config: Path) -> bool:
    """Whether this is the configuration of a run that began and did not come to its results."""
    run = RunFolder(config.parent)
    return run.metrics.is_dir() and not run.results.exists()


def _without_results(root: Path, folder: Path) -> Compared:
    """A run that still goes, was killed, or failed by itself: all that is known of it is its configuration."""
    resume = f"python train.py --resume {shlex.quote(str(root))}"
    return Compared(
        run=_told_from(root, folder),
        model=root.resolve().parent.name,
        **_settings(root),
        finished=False,
        note=f"no results: it still runs, or was stopped or failed before its end; {resume} goes on",
    )


def _told_from(root: Path, folder: Path) -> str:
    return Path(os.path.relpath(root, folder)).as_posix()


def _settings(root: Path) -> dict[str, Any]:
    """dataset, subset, seed, learning_rate and so on: what the run's configuration says of them, if it can be read."""
    try:
        config = yaml.load(
            RunFolder(root).config.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
    except (OSError, ValueError, yaml.YAMLError):
        return {}

    def at(path: str, kind: type | tuple[type, ...]) -> Any:
        value = config
        for part in path.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, kind) and not isinstance(value, bool) else None

    rows, micro_batches = at("trainer.batch_size", int), at("trainer.gradient_accumulation_steps", int)
    found = {
        "dataset": at("dataset.train_path", str) or at("dataset.name", str),
        "subset": at("dataset.config", str),
        "seed": at("general.seed", int),
        "learning_rate": at("trainer.optimizer.lr", (int, float)),
        "effective_batch_size": rows and rows * (micro_batches or 1),
        "mixed_precision": at("trainer.mixed_precision", str),
        "device": at("general.device", str),
    }
    return {name: value for name, value in found.items() if value is not None}
