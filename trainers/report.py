"""What a run says at its start and leaves at its end."""

from __future__ import annotations

import json
import math
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ..configs.methods import kind_of_weights, method_of
from ..configs.schema import RunConfig
from ..errors import notice
from ..evaluation.baseline import NAME as BAG_OF_WORDS
from ..models.flash import flash_use
from ..models.saved import load_weights, read_state
from .analysis import Analysis
from .class_distillation import ClassDistillation
from .distillation import DistillationLoss
from .folder import RunFolder, write_text
from .metrics import read_jsonl
from .objectives import ClassLoss
from .out_of_memory import attempt
from .page import write_page
from .plots import plot_run
from .reading import Reading
from .replaced_tokens import ReplacedTokenLoss
from .resources import machine, summed_up
from .results import METRICS
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
    if trainer.gave_up:
        notice(
            f"the run has ended, its held-out {METRICS[s.metric]} no longer improved; raise evaluation.patience to go "
            "further"
        )
    elif trainer.progressed.step >= s.max_iters:
        notice(f"the run is complete: all {s.max_iters:,} steps are made; give trainer.max_iters to go further")


def _named(run: RunConfig) -> str:
    """What the run starts from, in a word or two."""
    model = run.model
    if model.base_model is None:
        return ""
    what = "core of " if model.core_model_type == "hf_core" else ""
    return f"{what}{model.base_model}{' with random weights' if model.init == 'random' else ''}, "


def write_results(
    run: RunConfig,
    trainer: Trainer,
    reading: Reading,
    folder: RunFolder,
    analysis: Analysis,
    finished: bool,
    error: str = "",
) -> dict[str, Any]:
    """Everything a run leaves at its end: numbers, pictures, report.html. -> what training_results.json says

    What is known already is written first: whatever becomes of the measurements and pictures, it is there. Of a
    finished run the checkpoint that is used from then on, the best, is measured, and the model has its weights after.

    Args:
        error: why the run could not go on.
    """
    results = _known(run, trainer, reading, folder, finished)
    if error:
        results["error"] = error
    folder.write_json(folder.results, results)
    if finished:
        results |= _measured(run, trainer, reading, folder, analysis, results)
        folder.write_json(folder.results, results)
    if run.output.plots:
        plot_run(
            read_jsonl(folder.metrics / "train.jsonl"),
            read_jsonl(folder.metrics / "heldout.jsonl"),
            folder.analysis,
            f"{folder.root.parent.name}, {folder.root.name}",
            read_jsonl(folder.metrics / "tasks.jsonl"),
            gradients=read_jsonl(folder.metrics / "gradients.jsonl"),
            steps_per_epoch=results["steps_per_epoch"],
            loss=_LOSSES.get(_kind(trainer), "loss (nats a token)"),
        )
    samples = read_jsonl(folder.metrics / "samples.jsonl")
    if samples:
        texts = [f"--- step {row['step']} ---\n{row['text']}\n" for row in samples]
        write_text(folder.analysis / "samples.txt", "\n".join(texts))
    write_page(folder)
    return results


_LOSSES = {
    "classes": "loss (nats a row)",
    "distillation": "loss (training: the weighted sum)",
    "replaced tokens": "loss (weighted sum)",
}


def _kind(trainer: Trainer) -> str:
    """What the loss is made of, in a word."""
    kinds = {ClassLoss: "classes", ReplacedTokenLoss: "replaced tokens"}
    kinds |= dict.fromkeys((DistillationLoss, ClassDistillation), "distillation")
    return kinds.get(type(trainer.objective), "tokens")


def _known(run: RunConfig, trainer: Trainer, reading: Reading, folder: RunFolder, finished: bool) -> dict[str, Any]:
    """What can be told without measuring anything."""
    p = trainer.progressed
    train_rows, eval_rows = read_jsonl(folder.metrics / "train.jsonl"), read_jsonl(folder.metrics / "heldout.jsonl")
    steps_per_epoch = max(1, math.ceil(trainer.train.batches_per_epoch / trainer.settings.accumulation))
    results = {
        "finished": finished,
        "model": folder.root.parent.name,
        "base_model": run.model.base_model,
        "random_weights": run.model.base_model is None or run.model.init == "random",
        "method": method_of(run),
        "task": trainer.model.task,
        "objective": _kind(trainer),
        "parameters": trainer.model.num_parameters(),
        "trained_parameters": trainer.model.num_parameters(trainable_only=True),
        "dataset": reading.name,
        "data": {"summary": reading.summary, "lengths": reading.table},
        "train_tokens": reading.train_tokens,
        "steps": p.step,
        "steps_wanted": trainer.settings.max_iters,
        "gave_up": trainer.gave_up,
        "epochs": round(p.step / steps_per_epoch, 4),
        "steps_per_epoch": steps_per_epoch,
        "tokens_seen": p.tokens,
        "training_seconds": round(p.seconds, 2),
        "evaluation_seconds": round(sum(row.get("seconds") or 0.0 for row in eval_rows), 2),
        "seconds_per_epoch": round(p.seconds / max(1, p.step) * steps_per_epoch, 2),
        "tokens_per_second": round(p.tokens / max(p.seconds, 1e-9), 1),
        "skipped_steps": p.skipped_steps,
        "best": _best(trainer),
        "device": run.general.device,
        "mixed_precision": run.trainer.mixed_precision,
        "flash_attention_share": flash_use(trainer.model).share,  # of the calls since the run was last started
        "seed": run.general.seed,
        "versions": versions(),
        "machine": machine(torch.device(run.general.device)),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    results |= summed_up(train_rows)
    if saved := read_jsonl(folder.metrics / "checkpoints.jsonl"):
        results["checkpoints"] = {
            "written": len(saved),
            "seconds": round(sum(row["seconds"] for row in saved), 3),
            "bytes": sum(row["bytes"] for row in saved),
        }
    if eval_rows and (eval_rows[-1]["step"] == p.step or not finished):  # of one that was stopped the last there are
        results["heldout"] = {k: v for k, v in eval_rows[-1].items() if k != "step"}
        results["heldout_step"] = eval_rows[-1]["step"]
    last = folder.metrics / "tasks.json"
    if last.is_file() and (measured := json.loads(last.read_text(encoding="utf-8")))["step"] == p.step:
        results["tasks"] = measured["tasks"]
    if reading.classes is not None:
        results["labels"] = list(reading.classes.label_names)
        results["heldout_of"] = len(reading.classes.heldout)
    if run.distillation is not None and run.distillation.teacher is not None:
        results["teacher"] = run.distillation.teacher
    if folder.results.is_file():  # of a run that goes on: where it was uploaded before
        said = json.loads(folder.results.read_text(encoding="utf-8"))
        results |= {key: said[key] for key in ("uploaded_to",) if key in said}
    for name in ("heldout", "tasks", BAG_OF_WORDS):
        before = folder.baseline / "metrics" / f"{name}.json"
        if before.is_file():
            results.setdefault("baseline", {})[name] = json.loads(before.read_text(encoding="utf-8"))
    return results


def _best(trainer: Trainer) -> dict[str, Any] | None:
    """The best step, its loss, and by which number it is the best."""
    p, metric = trainer.progressed, trainer.settings.metric
    if p.best_step is None:
        return None
    return {"step": p.best_step, "metric": metric, metric: p.best_numbers.get(metric), "loss": p.best_numbers["loss"]}


def _measured(
    run: RunConfig,
    trainer: Trainer,
    reading: Reading,
    folder: RunFolder,
    analysis: Analysis,
    known: dict[str, Any],
) -> dict[str, Any]:
    """The numbers of the checkpoint that a finished run is used by: its best, where there is one, else the last.

    The last step's stand under `heldout`; where the best is another, `best` has its own.
    """
    p, found = trainer.progressed, dict[str, Any]()
    used, best = p.step, folder.weights / "best"
    if p.best_step is not None and p.best_step != p.step and best.is_dir():
        load_weights(best, trainer.model, trained_only="base" in read_state(best))
        used = p.best_step
        rows = read_jsonl(folder.metrics / "heldout.jsonl")
        of_best = next((row for row in reversed(rows) if row["step"] == used), {})
        found["best"] = {**known["best"], "heldout": {k: v for k, v in of_best.items() if k != "step"}}
    size = run.evaluation.batch_size or trainer.train.batch_size
    most = None if run.evaluation.max_batches is None else run.evaluation.max_batches * size
    numbers = analysis.finish(used, trainer.measuring, most=most, batch_size=size)
    if "test" in numbers:
        found["test"] = numbers["test"]
        folder.write_json(folder.test / "metrics" / "test.json", numbers["test"])
    if "best" in found:
        found["best"] |= numbers
    heldout = found["best"]["heldout"] if "best" in found else known.get("heldout")
    if heldout:
        folder.write_json(folder.test / "metrics" / "heldout.json", {"step": used, **heldout})
    if "tasks" in known and used == p.step:
        folder.write_json(folder.test / "metrics" / "tasks.json", known["tasks"])
    if isinstance(trainer.objective, (DistillationLoss, ClassDistillation)):
        loss, measuring = trainer.objective, trainer.measuring
        compared, said = attempt(lambda: loss.against_teacher(lambda: measuring.batches(trainer.heldout)))
        if compared is None:
            notice(f"memory ran out while student and teacher were compared ({said}): that is left out")
        else:
            found["distillation"] = compared
    return found
