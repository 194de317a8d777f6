"""Run tasks on a trained model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..configs.schema import RunConfig
from ..data.corpus import open_corpus
from ..data.stream import TokenStream
from ..data.text import is_framed, load_text, load_text_data
from ..errors import UserError, nearest
from ..models.saved import read_state
from ..models.start import find_start
from ..tokenizers.base import Tokenizer
from ..trainers.folder import write_text
from ..trainers.load import load_start
from .masked_lm import masked_lm
from .perplexity import perplexity

TASKS = ("perplexity", "masked_lm")


def evaluate(
    model: str | Path,
    tasks: Sequence[str] | None = None,
    *,
    data: str | Path | None = None,
    limit: int | None = None,
    output: str | Path | None = None,
    device: str = "cpu",
    batch_size: int = 8,
) -> dict[str, Any]:
    """Evaluate a run, by its folder (its best checkpoint) or one of its checkpoints, or a model of Hugging Face.

    Args:
        model: a run's folder, a directory with config.json, weights and tokenizer, a name of the registry or a hub id.
        tasks: of TASKS; default: perplexity, for an encoder masked_lm.
        data: a file, a folder or `stdlib`; default: the text that the run held out.
        limit: no more than so many batches of each task.
        output: a JSON file to write the results to.

    Returns:
        {"model": ..., "step": ... (None for a model of Hugging Face), "data": ..., "tasks": {task: {number: value}}}

    Raises:
        UserError: an unknown task, no checkpoint, unreadable text.
    """
    for task in tasks or ():
        if task not in TASKS:
            raise UserError(f"the task '{task}' is not available.{nearest(task, TASKS)}")
    start = find_start(model)
    state = read_state(Path(start.place)) if start.own else {}
    if data is None and not start.own:
        raise UserError(f"{start.name} is no run that has held out text: name one with --data FILE_OR_DIR")
    native, tokenizer = load_start(start, device)
    run = RunConfig.model_validate(state["config"]) if state else None
    text = _text(data, run, tokenizer)
    numbers: dict[str, dict[str, float]] = {}
    for task in tasks or (("perplexity",) if native.config.causal else ("masked_lm",)):
        if task == "perplexity":
            numbers[task] = perplexity(native, text, batch_size=batch_size, limit=limit)
        else:
            ratio = run.trainer.mask_ratio if run else 0.15
            numbers[task] = masked_lm(native, text, tokenizer, ratio=ratio, batch_size=batch_size, limit=limit)
    place = str(start.place)
    results = {"model": place, "step": state.get("step"), "data": str(data or "held out"), "tasks": numbers}
    if output is not None:
        write_text(Path(output), json.dumps(results, indent=2) + "\n")
    return results


def _text(data: str | Path | None, run: RunConfig | None, tokenizer: Tokenizer) -> TokenStream:
    if data is not None or run is None:
        framed = run is None or is_framed(run)
        return load_text(open_corpus(str(data)), tokenizer, val_fraction=0.0, framed=framed).train
    held_out = load_text_data(run, tokenizer).val
    if held_out is None:
        raise UserError("the run held out no text (dataset.val_fraction 0): name one with --data FILE_OR_DIR")
    return held_out
