"""A run's folder: where each thing of a run is kept.

<output_dir>/<name>/<timestamp>/
    config.yaml            the resolved configuration, itself a valid one
    training_results.json  what came of it
    tokenizer/             the run is complete without the corpus it was trained on
    base/                  random weights, of which only a part is trained: a checkpoint holds that part alone
    report.html            all of it on a page
    origin/                what the checkpoint it started from said of itself, for writing one like it
    baseline/metrics/      before any training: held-out numbers, of a classifier who is taken for whom
    baseline/analysis/     the same as pictures, attention maps
    train/metrics/         train, heldout, tasks, samples, gradients, checkpoints .jsonl: a line an interval; tasks.json
    train/analysis/        plots, samples.txt
    train/weights/         step_N/ checkpoints, and the links last and best
    test/metrics/          held-out numbers of the checkpoint that is used: the best, else the last
    test/analysis/         who is taken for whom, attention maps
"""

from __future__ import annotations

import json
import math
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import UserError, nearest
from .checkpoint import latest_checkpoint
from .metrics import JsonLines

if TYPE_CHECKING:
    from ..data.sampling import Batch


class RunFolder:
    """The paths of a run. The metrics files are opened by `open_metrics`."""

    train_metrics: JsonLines
    eval_metrics: JsonLines
    task_metrics: JsonLines
    samples: JsonLines
    gradients: JsonLines
    saved: JsonLines

    def __init__(self, root: Path, weights: Path | None = None, test: Path | None = None):
        self.root = root
        self.config = root / "config.yaml"
        self.results = root / "training_results.json"
        self.report = root / "report.html"
        self.tokenizer = root / "tokenizer"
        self.origin = root / "origin"
        self.base = root / "base"
        self.baseline = root / "baseline"
        self.metrics = root / "train" / "metrics"
        self.analysis = root / "train" / "analysis"
        self.weights = weights or root / "train" / "weights"
        self.test = test or root / "test"

    def open_metrics(self, resume_step: int | None) -> None:
        """Start the metrics files, or go on with them after `resume_step`."""
        self.train_metrics = JsonLines(self.metrics / "train.jsonl", resume_step)
        self.eval_metrics = JsonLines(self.metrics / "heldout.jsonl", resume_step)
        self.task_metrics = JsonLines(self.metrics / "tasks.jsonl", resume_step)
        self.samples = JsonLines(self.metrics / "samples.jsonl", resume_step)
        self.gradients = JsonLines(self.metrics / "gradients.jsonl", resume_step)
        self.saved = JsonLines(self.metrics / "checkpoints.jsonl", resume_step)

    def close_metrics(self) -> None:
        for name in ("train_metrics", "eval_metrics", "task_metrics", "samples", "gradients", "saved"):
            if hasattr(self, name):  # else the run ended before they were opened
                getattr(self, name).close()

    def write_json(self, path: Path, value: Any) -> None:
        """Write a small file whole or not at all. NaN and infinity become null: JSON has neither."""
        write_text(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")

    def save_batch(self, step: int, window: list[Batch]) -> Path:
        """Keep the micro-batches of a step for inspection."""
        from safetensors.torch import save_file

        path = self.analysis / f"nonfinite_step_{step}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{i}.{name}": value.cpu().contiguous()
            for i, b in enumerate(window)
            for name, value in vars(b).items()
            if value is not None
        }
        save_file(tensors, path)
        return path


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all.

    Raises:
        UserError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".tmp")
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UserError(f"cannot write {path}: {reason}; set output.output_dir to a folder that can be") from error


def safe_name(name: str) -> str:
    """A run's name as its folder has it, and a repository that is called after it."""
    return re.sub(r"[^\w.-]+", "-", name).strip("-") or "run"


def new_run_folder(
    output_dir: Path, name: str, weights_dir: Path | None = None, tests_dir: Path | None = None
) -> RunFolder:
    """<output_dir>/<name>/<timestamp>, created; a second run of the same second gets a suffix.

    Checkpoints, and results on held-out data, go below folders of their own where such are given, by the same name.

    Raises:
        UserError: the folder cannot be created.
    """
    safe = safe_name(name)
    parent, stamp = output_dir / safe, time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):
        root = parent / (stamp if attempt == 0 else f"{stamp}-{attempt}")
        try:
            root.mkdir(parents=True)
        except FileExistsError:
            if not parent.is_dir():
                raise UserError(f"cannot create {root}: {parent} is a file; set output.output_dir elsewhere") from None
            continue
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise UserError(
                f"cannot create the run's folder {root}: {reason}; set output.output_dir to one that can be written"
            ) from error
        own = Path(safe) / root.name
        return RunFolder(root, weights_dir and weights_dir / own, tests_dir and tests_dir / own)
    raise UserError(f"cannot create a run's folder in {parent}: a thousand runs started this second")


def find_run(where: str, output_dir: Path, option: str = "--resume") -> Path:
    """The folder that an option names: a run's folder, a checkpoint inside it, or `latest` below `output_dir`.

    Raises:
        UserError: there is no such run.
    """
    if where != "latest":
        path = Path(where).expanduser()
        for folder in (path, *path.resolve().parents[:3]):
            if (folder / "config.yaml").is_file():
                return folder
        if not path.exists():
            near = nearest(path.name, [p.name for p in path.parent.iterdir()]) if path.parent.is_dir() else ""
            raise UserError(f"{option} {where}: there is no such folder.{near}")
        raise UserError(f"{option} {where}: not a run's folder, it has no config.yaml")
    runs = [path.parent for path in output_dir.glob("*/*/config.yaml")]
    if not runs:
        raise UserError(f"{option} latest: no run in {output_dir}; name its folder, or set output.output_dir")
    return max(runs, key=lambda run: (latest_checkpoint(RunFolder(run).weights) or run).stat().st_mtime)
