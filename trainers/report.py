"""What a run says at its start and leaves at its end."""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..configs.methods import kind_of_weights, method_of
from ..configs.schema import RunConfig
from ..data.sampling import Batch
from ..errors import notice
from ..evaluation.baseline import NAME as BAG_OF_WORDS
from ..models.flash import flash_use
from .analysis import Analysis
from .distillation import DistillationLoss
from .folder import RunFolder, write_text
from .metrics import read_jsonl
from .page import write_page
from .plots import plot_run
from .reading import Reading
from .resources import machine, summed_up
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
    run: RunConfig, trainer: Trainer, reading: Reading, folder: RunFolder, analysis: Analysis, finished: bool
) -> dict[str, Any]:
    """Everything a run leaves at its end: numbers, pictures, report.html. -> what training_results.json says"""
    p = trainer.progressed
    train_rows, eval_rows = read_jsonl(folder.metrics / "train.jsonl"), read_jsonl(folder.metrics / "heldout.jsonl")
    tested = folder.test if not run.general.paths.eval_dir else Path(run.general.paths.eval_dir)
    flash_share = flash_use(trainer.model).share  # of the calls since the run was last started
    steps_per_epoch = max(1, math.ceil(trainer.train.batches_per_epoch / trainer.settings.accumulation))
    if run.output.plots:
        plot_run(
            train_rows,
            eval_rows,
            folder.analysis,
            f"{folder.root.parent.name}, {folder.root.name}",
            read_jsonl(folder.metrics / "tasks.jsonl"),
            gradients=read_jsonl(folder.metrics / "gradients.jsonl"),
            steps_per_epoch=steps_per_epoch,
            target="row" if reading.classes is not None else "token",
        )
    samples = read_jsonl(folder.metrics / "samples.jsonl")
    if samples:
        texts = [f"--- step {row['step']} ---\n{row['text']}\n" for row in samples]
        write_text(folder.analysis / "samples.txt", "\n".join(texts))
    results = {
        "finished": finished,
        "model": folder.root.parent.name,
        "base_model": run.model.base_model,
        "random_weights": run.model.base_model is None or run.model.init == "random",
        "method": method_of(run),
        "task": trainer.model.task,
        "parameters": trainer.model.num_parameters(),
        "trained_parameters": trainer.model.num_parameters(trainable_only=True),
        "dataset": reading.name,
        "data": {"summary": reading.summary, "lengths": reading.table},
        "train_tokens": reading.train_tokens,
        "steps": p.step,
        "steps_wanted": trainer.settings.max_iters,
        "epochs": round(p.step / steps_per_epoch, 4),
        "steps_per_epoch": steps_per_epoch,
        "tokens_seen": p.tokens,
        "training_seconds": round(p.seconds, 2),
        "seconds_per_epoch": round(p.seconds / max(1, p.step) * steps_per_epoch, 2),
        "tokens_per_second": round(p.tokens / max(p.seconds, 1e-9), 1),
        "skipped_steps": p.skipped_steps,
        "best": None if p.best_step is None else {"step": p.best_step, "loss": p.best_loss},
        "device": run.general.device,
        "mixed_precision": run.trainer.mixed_precision,
        "flash_attention_share": flash_share,
        "seed": run.general.seed,
        "versions": versions(),
        "machine": machine(torch.device(run.general.device)),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    if rates := [row["samples_per_second"] for row in train_rows if row.get("samples_per_second")]:
        results["samples_per_second"] = round(sum(rates) / len(rates), 2)
    results |= summed_up(train_rows)
    if saved := read_jsonl(folder.metrics / "checkpoints.jsonl"):
        results["checkpoints"] = {
            "written": len(saved),
            "seconds": round(sum(row["seconds"] for row in saved), 3),
            "bytes": sum(row["bytes"] for row in saved),
        }
    if eval_rows and eval_rows[-1]["step"] == p.step:
        results["heldout"] = {k: v for k, v in eval_rows[-1].items() if k != "step"}
        folder.write_json(tested / "metrics" / "heldout.json", results["heldout"])
        last = folder.metrics / "tasks.json"
        if last.is_file() and (measured := json.loads(last.read_text(encoding="utf-8")))["step"] == p.step:
            results["tasks"] = measured["tasks"]
            folder.write_json(tested / "metrics" / "tasks.json", measured["tasks"])
    if reading.classes is not None:
        results["labels"] = list(reading.classes.label_names)
    for name in ("heldout", "tasks", BAG_OF_WORDS):
        before = folder.baseline / "metrics" / f"{name}.json"
        if before.is_file():
            results.setdefault("baseline", {})[name] = json.loads(before.read_text(encoding="utf-8"))
    if finished and "heldout" in results:
        size = run.evaluation.batch_size or trainer.train.batch_size
        # no more rows than were trained on: the test of a short run stays short
        most = max(p.step * trainer.settings.accumulation * trainer.train.batch_size, size)
        test = analysis.finish(tested, p.step, torch.device(run.general.device), most=most, batch_size=size)
        if test:
            results["test"] = test
            folder.write_json(tested / "metrics" / "test.json", test)
    if finished and isinstance(trainer.objective, DistillationLoss):
        results["distillation"] = trainer.objective.against_teacher(lambda: _as_measured(trainer))
    folder.write_json(folder.results, results)
    write_page(folder, tested)
    return results


def _as_measured(trainer: Trainer) -> Iterator[Batch]:
    """The held-out batches as an evaluation sees them: masked where the run masks, on the model's device."""
    device = next(trainer.model.parameters()).device
    for index, batch in enumerate(trainer.heldout()):
        yield (batch if trainer.mask is None else trainer.mask(batch, seed=0, index=index)).to(device)
