"""Run tasks on a trained model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configs.schema import RunConfig
from ..data.corpus import open_corpus
from ..data.stream import TokenStream
from ..data.text import load_text, load_text_data
from ..errors import UserError, nearest
from ..models.saved import read_state
from ..tokenizers.base import Tokenizer
from ..trainers.folder import write_text
from ..trainers.load import find_checkpoint, load_run
from .perplexity import perplexity

TASKS = ("perplexity",)


def evaluate(
    model: str | Path,
    tasks: Sequence[str] = TASKS,
    *,
    data: str | Path | None = None,
    limit: int | None = None,
    output: str | Path | None = None,
    device: str = "cpu",
    batch_size: int = 8,
) -> dict[str, Any]:
    """Evaluate a run, by its folder (its best checkpoint) or one of its checkpoints.

    Args:
        data: a file, a folder or `stdlib`; default: the text that the run held out.
        limit: no more than so many batches of each task.
        output: a JSON file to write the results to.

    Returns:
        {"model": ..., "step": ..., "data": ..., "tasks": {task: {number: value}}}

    Raises:
        UserError: an unknown task, no checkpoint, unreadable text.
    """
    for task in tasks:
        if task not in TASKS:
            raise UserError(f"the task '{task}' is not available.{nearest(task, TASKS)}")
    checkpoint = find_checkpoint(model)
    state = read_state(checkpoint)
    native, tokenizer = load_run(checkpoint, device)
    text = _text(data, state["config"], tokenizer)
    numbers = {task: perplexity(native, text, batch_size=batch_size, limit=limit) for task in tasks}
    results = {"model": str(checkpoint), "step": state["step"], "data": str(data or "held out"), "tasks": numbers}
    if output is not None:
        write_text(Path(output), json.dumps(results, indent=2) + "\n")
    return results


def _text(data: str | Path | None, config: dict[str, Any], tokenizer: Tokenizer) -> TokenStream:
    if data is not None:
        return load_text(open_corpus(str(data)), tokenizer, val_fraction=0.0).train
    held_out = load_text_data(RunConfig.model_validate(config), tokenizer).val
    if held_out is None:
        raise UserError("the run held out no text (dataset.val_fraction 0): name one with --data FILE_OR_DIR")
    return held_out
