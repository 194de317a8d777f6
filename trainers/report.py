"""What a run says at its start and leaves at its end."""

from __future__ import annotations

import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..configs.methods import kind_of_weights
from ..configs.schema import RunConfig
from ..errors import notice
from ..evaluation.baseline import NAME as BAG_OF_WORDS
from ..models.flash import flash_use
from .folder import RunFolder, write_text
from .metrics import read_jsonl
from .plots import plot_run
from .reading import Reading
from .trainer import Trainer


def versions() -> dict[str, str]:
    """What a result was made with."""
    return {"groundup": version("groundup"), "torch": torch.__version__, "python": platform.python_version()}


def announce(run: RunConfig, trainer: Trainer, reading: Reading, folder: RunFolder, checkpoint: Path | None) -> None:
    s, sampler = trainer.settings, trainer.train
    tokens = s.accumulation * sampler.batch_size * sampler.context
    precision = {"no": "fp32"}.get(run.trainer.mixed_precision, run.trainer.mixed_precision)
    trained, count = trainer.model.num_parameters(trainable_only=True), trainer.model.num_parameters()
    partly = f", of which {trained:,} train ({trained / count:.2%})" if trained < count else ""
    held = f", the rest in {kind}" if (kind := kind_of_weights(run)) else ""
    lines = [
        f"model     {_named(run)}{count:,} parameters{partly}{held} on {run.general.device}, {precision}",
        f"data      {reading.name}: {reading.summary}",
        f"steps     {s.max_iters:,} of {tokens:,} tokens ({s.accumulation} x {sampler.batch_size} x {sampler.context})",
        f"folder    {folder.root}",
    ]
    if reading.table:
        lines.append(reading.table)
    if checkpoint is not None:
        lines.append(f"resuming  after step {trainer.progressed.step:,}, from {checkpoint}")
    print("\n".join(lines), file=sys.stderr, flush=True)
    if trainer.progressed.step >= s.max_iters:
        notice(f"the run is complete: all {s.max_iters:,} steps are made; give trainer.max_iters to go further")


def _named(run: RunConfig) -> str:
    """What the run starts from, in a word or two."""
    model = run.model
    if model.base_model is None:
        return ""
    what = "core of " if model.core_model_type == "hf_core" else ""
    return f"{what}{model.base_model}{' with random weights' if model.init == 'random' else ''}, "


def write_results(
    run: RunConfig, trainer: Trainer, reading: Reading, folder: RunFolder, finished: bool
) -> dict[str, Any]:
    p = trainer.progressed
    train_rows, eval_rows = read_jsonl(folder.metrics / "train.jsonl"), read_jsonl(folder.metrics / "heldout.jsonl")
    if run.output.plots:
        tasks = read_jsonl(folder.metrics / "tasks.jsonl")
        plot_run(train_rows, eval_rows, folder.analysis, f"{folder.root.parent.name}, {folder.root.name}", tasks)
    samples = read_jsonl(folder.metrics / "samples.jsonl")
    if samples:
        texts = [f"--- step {row['step']} ---\n{row['text']}\n" for row in samples]
        write_text(folder.analysis / "samples.txt", "\n".join(texts))
    results = {
        "finished": finished,
        "model": folder.root.parent.name,
        "parameters": trainer.model.num_parameters(),
        "trained_parameters": trainer.model.num_parameters(trainable_only=True),
        "dataset": reading.name,
        "train_tokens": reading.train_tokens,
        "steps": p.step,
        "tokens_seen": p.tokens,
        "training_seconds": round(p.seconds, 2),
        "tokens_per_second": round(p.tokens / max(p.seconds, 1e-9), 1),
        "skipped_steps": p.skipped_steps,
        "best": None if p.best_step is None else {"step": p.best_step, "loss": p.best_loss},
        "device": run.general.device,
        "mixed_precision": run.trainer.mixed_precision,
        "flash_attention_share": flash_use(trainer.model).share,  # of the calls since the run was last started
        "versions": versions(),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if train_rows:
        results |= {k: v for k, v in train_rows[-1].items() if k.startswith("peak_")}
    if eval_rows and eval_rows[-1]["step"] == p.step:
        results["heldout"] = {k: v for k, v in eval_rows[-1].items() if k != "step"}
        tested = folder.test if not run.general.paths.eval_dir else Path(run.general.paths.eval_dir)
        folder.write_json(tested / "metrics" / "heldout.json", results["heldout"])
        last = folder.metrics / "tasks.json"
        if last.is_file() and (measured := json.loads(last.read_text(encoding="utf-8")))["step"] == p.step:
            results["tasks"] = measured["tasks"]
            folder.write_json(tested / "metrics" / "tasks.json", measured["tasks"])
    words = folder.baseline / "metrics" / f"{BAG_OF_WORDS}.json"
    if reading.classes is not None:
        results["labels"] = list(reading.classes.label_names)
        if words.is_file():
            results["baseline"] = {BAG_OF_WORDS: json.loads(words.read_text(encoding="utf-8"))}
    folder.write_json(folder.results, results)
    return results
