"""What evaluate.py is asked for: tasks, options, where the data lie. All of it is checked before a model is loaded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..models.hf.families import task_of
from ..models.start import Start
from .registry import HARNESS, KINDS, TEXT_KINDS, takes

OPTIONS = {"n_shot": "num-fewshot", "samples": "generations", "sample": "samples"}
"""Of evaluate.py, where they are not called as in EvalContext."""


def usual_task(start: Start) -> str:
    """What is measured of a model unless it is said."""
    if start.task == "classification" or (not start.own and _is_classifier(start)):
        return "classification"
    return "masked_lm" if start.task == "masked_lm" else "perplexity"


def _is_classifier(start: Start) -> bool:
    hf = dict(start.hf or {})
    try:
        return task_of(hf, start.name) == "classification"
    except UserError:  # no class is named, or one without a head: what is in the files decides later
        return False


def refuse_unused(names: Sequence[str], **options: Any) -> None:
    """Nothing is accepted and ignored: raises UserError for an option that acts on none of the tasks."""
    used = {option for name in names for option in takes(name)}
    for option, value in options.items():
        if value is not None and option not in used:
            flag = OPTIONS.get(option, option).replace("_", "-")
            raise UserError(f"--{flag} does nothing for {', '.join(names)}: leave it out")


def refuse_unwritable(path: str | Path | None, option: str) -> None:
    """Raises UserError before anything is measured whose results could not be written."""
    if path is None:
        return
    folder = Path(path).absolute().parent
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if Path(path).is_dir() or not there.is_dir() or not os.access(there, os.W_OK):
        raise UserError(f"{option} {path}: cannot be written there")


# --- data --------------------------------------------------------------------------------------------------------


def places(names: Sequence[str], data: Path | None, said: str) -> dict[str, str | Path | None]:
    """Where the data of each task lie."""
    if data is None:
        return dict.fromkeys(names)
    alike = set(names) <= set(TEXT_KINDS) or len({_format(name) for name in names}) == 1
    if len(names) == 1 or (alike and not any(_found(name, data) for name in names)):
        return dict.fromkeys(names, said)
    if not data.is_dir():
        raise UserError(
            f"--data {said} is one file for {len(names)} tasks: name a folder that holds a file or folder of each, or "
            "ask for one task at a time"
        )
    return {name: _place(name, data) for name in names}


def _format(name: str) -> str:
    """Tasks of one format may be read from one file: truthful_qa_mc1 and truthful_qa_mc2."""
    from .tasks import find_task

    return name if name in KINDS or name.startswith(HARNESS) else find_task(name).format


def _place(name: str, folder: Path) -> Path:
    if name.startswith(HARNESS):
        raise UserError(f"--data: {name} takes its rows from where the harness says: ask for it without --data")
    found = _found(name, folder)
    if found is None:
        raise UserError(f"--data {folder} holds nothing for the task {name}: name a file or folder in it '{name}'")
    return found


def _found(name: str, folder: Path) -> Path | None:
    """What in the folder is named like the task, its format or its name in lm-evaluation-harness."""
    there = {_plain(path.stem): path for path in sorted(folder.iterdir())} if folder.is_dir() else {}
    called = [name]
    if name not in KINDS and not name.startswith(HARNESS):
        from .tasks import find_task

        task = find_task(name)
        called += [task.harness, task.format, name.partition("_")[0]]
    return next((there[_plain(word)] for word in called if word and _plain(word) in there), None)


def _plain(name: str) -> str:
    return name.casefold().replace("_", "").replace("-", "")
