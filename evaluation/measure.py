"""Run tasks on a trained model."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

import torch

from ..configs.schema import RunConfig
from ..data.cache import cache_folder, short_hash
from ..errors import UserError, notice
from ..models.saved import read_state
from ..models.start import Start, find_start
from ..trainers.folder import write_text
from ..trainers.load import files_of, load_start
from .asked import places, refuse_unused, refuse_unwritable, usual_task
from .baseline import Baseline
from .labelled import label_names
from .registry import TEXT_KINDS, EvalContext, Numbers, check_task, takes, task_function, task_names
from .scores import Scores, fingerprint
from .words import measure_words, saved_words

FORMAT = 2  # of the results' JSON
PACKAGES = ("groundup", "torch", "tokenizers", "datasets")


def evaluate(
    model: str | Path,
    tasks: Sequence[str] | None = None,
    *,
    data: str | Path | None = None,
    limit: int | None = None,
    n_shot: int | None = None,
    seed: int | None = None,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    add_bos: bool | None = None,
    context: int | None = None,
    stride: int | None = None,
    generations: int | None = None,
    temperature: float | None = None,
    allow_code_execution: bool = False,
    device: str = "cpu",
    dtype: str = "fp32",
    output: str | Path | None = None,
    samples: str | Path | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Evaluate a run, by its folder (its best checkpoint) or one of its checkpoints, or a model of Hugging Face.

    Args:
        model: a run's folder, a directory with config.json, weights and tokenizer, a name of the registry or a hub id.
        tasks: names of `registry.task_names()`, or `lm-eval:TASK`; default: perplexity, for an encoder masked_lm.
        data: of one task its file or folder; of several a folder that holds one of each, named like the task or its
            format. Default: the task's data set on the hub; of text, what the run held out.
        limit: no more than so many questions (of text: batches) of each task.
        n_shot, seed: examples in each context, and what draws them; default: the task's own.
        batch_size, batch_tokens: at most so many sequences, so many tokens at once; default: what the device takes.
        add_bos: whether contexts begin with BOS; default: as the tokenizer's own template has it.
        context, stride: of text: tokens in a row, and between the beginnings of two.
        generations, temperature: texts a problem, for tasks that let the model write.
        dtype: of the weights: fp32, bf16 or fp16.
        output: a JSON file to write the results to. Scores are kept beside it (else in the cache) until all is done,
            so that an evaluation that was stopped goes on.
        samples: a file to write one line of JSON a question to.

    Returns:
        {"model", "step", "revision", "data", "tasks": {task: {number: value}}, "settings", "versions", "date",
        "seconds"}: step is of a run, revision the commit of a model from the hub. NAME_stderr is the standard error of
        NAME.

    Raises:
        UserError: an unknown task, no checkpoint, unreadable data, a model that cannot do the task.
    """
    started = time.time()
    names = task_names(tasks) if tasks else []
    words = saved_words(model)
    start = None if words else find_start(model)
    names = names or [usual_task(start) if start else "classification"]
    asked: dict[str, Any] = {
        "n_shot": n_shot,
        "seed": seed,
        "batch_size": batch_size,
        "batch_tokens": batch_tokens,
        "add_bos": add_bos,
        "context": context,
        "stride": stride,
        "samples": generations,
        "temperature": temperature,
    }
    refuse_unused(names, **asked, allow_code_execution=allow_code_execution or None, sample=samples)
    refuse_unwritable(output, "--output")
    if start is None:
        return _of_words(cast(Baseline, words), str(model), names, data, limit, output)
    state = read_state(Path(start.place)) if start.own else {}
    data_of = places(names, None if data is None else Path(data).expanduser(), str(data))
    native, tokenizer = load_start(start, device, dtype, classifier="classification" in names)
    run = RunConfig.model_validate(state["config"]) if state else None
    numbers: dict[str, Numbers] = {}
    shared = EvalContext(
        "",
        limit=limit,
        **asked,
        allow_code_execution=allow_code_execution,
        progress=progress,
        name=start.name,
        run=run,
        labels=label_names(state, native),
        kept={},
    )
    with _scores(names, native, output) as scores, _lines(samples) as sample:
        if len(names) > 1:  # what is wrong with the last should not wait for the others
            for name in names:
                check_task(native, tokenizer, replace(shared, task=name, data=data_of[name]))
        for name in names:
            began = time.perf_counter()

            def add(row: dict[str, Any], name: str = name) -> None:
                if sample is not None:
                    sample.write(json.dumps({"task": name} | row, ensure_ascii=False) + "\n")

            one = replace(shared, task=name, data=data_of[name], scores=scores, sample=add if samples else None)
            numbers[name] = task_function(name)(native, tokenizer, one)
            numbers[name].setdefault("seconds", round(time.perf_counter() - began, 3))
    settings = {"limit": limit, "num_fewshot": n_shot, "seed": seed, "add_bos": add_bos, "dtype": dtype}
    settings |= {"context": context, "stride": stride, "generations": generations, "temperature": temperature}
    results = {
        "format": FORMAT,
        "model": str(start.place),
        "step": state.get("step"),
        "revision": _revision(start),
        "data": str(data) if data is not None else _own_data(names),
        "tasks": numbers,
        "settings": settings | {"device": device, "batch_size": batch_size, "batch_tokens": batch_tokens},
        "versions": {package: _version(package) for package in PACKAGES},
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
    }
    if output is not None:
        write_text(Path(output), json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return results


def _of_words(
    words: Baseline, model: str, names: Sequence[str], data: str | Path | None, limit: int | None, output: Any
) -> dict[str, Any]:
    """The results of `evaluate` for a bag of words, which has one task."""
    if set(names) - {"classification"}:
        raise UserError(f"{model} is a bag of words, which only classifies: leave --tasks out")
    started = time.time()
    results = {
        "format": FORMAT,
        "model": model,
        "step": None,
        "revision": None,
        "data": str(data),
        "tasks": {"classification": measure_words(words, None if data is None else str(data), limit)},
        "settings": {"limit": limit},
        "versions": {package: _version(package) for package in (*PACKAGES, "scikit-learn")},
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "seconds": round(time.time() - started, 3),
    }
    if output is not None:
        write_text(Path(output), json.dumps(results, indent=2, ensure_ascii=False) + "\n")
    return results


# --- what is kept ------------------------------------------------------------------------------------------------


@contextmanager
def _scores(names: Sequence[str], model: torch.nn.Module, output: str | Path | None) -> Iterator[Scores | None]:
    """Where scored requests are kept until everything is done."""
    if all("batch_tokens" not in takes(name) for name in names):
        yield None
        return
    mark = fingerprint(model)
    beside = None if output is None else Path(output).with_name(Path(output).name + ".scores.jsonl")
    scores = Scores(beside or cache_folder() / "evaluation" / f"{short_hash(mark, *names)}.jsonl", mark)
    try:
        yield scores
    except (KeyboardInterrupt, Exception):
        if scores.path.is_file():
            notice(f"what was scored is kept in {scores.path}: the same command goes on from there")
        raise
    scores.delete()


@contextmanager
def _lines(path: str | Path | None) -> Iterator[Any]:
    """A file for a line a question."""
    if path is None:
        yield None
        return
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("w", encoding="utf-8") as file:
            yield file
    except OSError as error:
        raise UserError(f"--samples {path}: cannot be written ({error.strerror or error})") from None


def _revision(start: Start) -> str | None:
    """The commit of a model that came from the hub, whose cache has a folder of that name."""
    if start.own or isinstance(start.place, Path):
        return None
    folder = files_of(start)
    return folder.name if folder.parent.name == "snapshots" else None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _own_data(names: Sequence[str]) -> str:
    """What tasks are measured on without --data."""
    return "held out" if set(names) <= {*TEXT_KINDS, "classification"} else "each task's own"
