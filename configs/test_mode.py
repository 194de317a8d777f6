"""Test mode: a few steps on little data, to see that everything runs, kept apart from what runs have found out."""

from __future__ import annotations

import os
import pathlib
from typing import Any

from ..errors import UserError
from .defaults import is_constant
from .layers import Layer
from .schema_run import RunConfig

VARIABLE = "EMOBENCH_TEST_MODE"
FOLDER = "test-mode"  # below output.output_dir
# Sits below the command line, so that any of it can be set.
TEST_MODE: dict[str, Any] = {
    "trainer.max_iters": 4,
    "trainer.warmup_iters": 1,
    "trainer.log_interval": 1,
    "trainer.lr_decay_iters": None,
    "trainer.head_first_epochs": None,
    "evaluation.interval": 2,
    "evaluation.max_batches": 2,
    "evaluation.sample_tokens": 16,
    "evaluation.num_samples": 8,
    "dataset.max_documents": 200,
    "output.push_to_hub": False,
    "output.hub_model_id": None,
}


def is_asked_for(flag: bool, resume: pathlib.Path | None) -> bool:
    """Whether `--test-mode` or the variable asks for it.

    A run that goes on has its own steps: of it the variable says nothing. Raises UserError where the flag does.
    """
    if resume is not None and flag:
        raise UserError(
            "--test-mode shrinks a new run, and --resume goes on with one that has its steps: leave one out."
        )
    said = os.environ.get(VARIABLE, "").strip().casefold() not in ("", "0", "false", "no", "off")
    return flag or (said and resume is None)


def shrunk(written: Layer) -> dict[str, Any]:
    """The settings of a run that is as small as can be; a constant rate has no warmup."""
    return {key: value for key, value in TEST_MODE.items() if key != "trainer.warmup_iters" or not is_constant(written)}


def kept_apart(run: RunConfig) -> RunConfig:
    """The run, written where no other run is."""
    elsewhere = {"checkpoint_dir": run.general.paths.checkpoint_dir, "eval_dir": run.general.paths.eval_dir}
    changes = {name: _below(folder) for name, folder in elsewhere.items() if folder is not None}
    paths = run.general.paths.model_copy(update=changes)
    return run.model_copy(
        update={
            "output": run.output.model_copy(update={"output_dir": _below(run.output.output_dir)}),
            "general": run.general.model_copy(update={"paths": paths}),
        }
    )


def announcement(run: RunConfig) -> str:
    """What test mode makes of a run, in one line."""
    trainer, evaluation, documents = run.trainer, run.evaluation, run.dataset.max_documents
    length = f"{trainer.max_iters:,} steps" if trainer.max_iters else f"{trainer.epochs:g} epochs"
    data = "all documents" if documents is None else f"{documents:,} documents or rows"
    batches = "all" if evaluation.max_batches is None else f"{evaluation.max_batches:,} batches"
    uploaded = "" if run.output.push_to_hub else "nothing is uploaded, and "
    return (
        f"test mode: {length} on {data}, {batches} of held-out text and {evaluation.num_samples:,} questions of a "
        f"benchmark; {uploaded}all of it is written below {run.output.output_dir}"
    )


def _below(folder: str) -> str:
    path = pathlib.PurePath(folder)
    return folder if path.name == FOLDER else str(path / FOLDER)
