"""Where numbers go: JSON lines in the run's folder, and TensorBoard or Weights & Biases where asked for."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

from ..errors import UserError


class JsonLines:
    """A file of one JSON object a line, each with its `step`.

    Opening it for a run that resumes at `step` drops the lines of later steps (the killed process had gone further
    than its last checkpoint) and a half-written last line.
    """

    def __init__(self, path: Path, resume_step: int | None = None):
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = [] if resume_step is None else [row for row in read_jsonl(path) if row["step"] <= resume_step]
        partial = path.with_name(path.name + ".tmp")  # a kill or a full disk here leaves the old lines as they are
        partial.write_text("".join(map(_line, kept)), encoding="utf-8")
        os.replace(partial, path)
        self.file = path.open("a", encoding="utf-8")

    def write(self, row: dict[str, Any]) -> None:
        """Append a row; it is with the system when this returns. NaN and infinity become null: JSON has neither."""
        self.file.write(_line(row))
        self.file.flush()

    def close(self) -> None:
        self.file.close()


def _line(row: dict[str, Any]) -> str:
    return json.dumps({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}) + "\n"


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The rows of a metrics file; a last line cut short by a kill is left out. [] if there is no file."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break
    return rows


class Trackers:
    """TensorBoard and Weights & Biases, each only if the configuration asks for it."""

    def __init__(
        self,
        folder: Path,
        *,
        tensorboard: bool,
        wandb: bool,
        project: str,
        name: str,
        config: dict[str, Any],
        resume_step: int | None = None,
    ):
        self.tensorboard = _tensorboard(folder / "tensorboard", resume_step) if tensorboard else None
        self.wandb = _wandb(folder, project, name, config) if wandb else None

    def write(self, group: str, row: dict[str, Any]) -> None:
        """Log a row's numbers as group/key at row["step"]."""
        numbers = {f"{group}/{k}": v for k, v in row.items() if k != "step" and isinstance(v, (int, float))}
        if self.tensorboard is not None:
            for key, value in numbers.items():
                self.tensorboard.add_scalar(key, value, row["step"])
        if self.wandb is not None:
            self.wandb.log(numbers, step=row["step"])

    def close(self) -> None:
        if self.tensorboard is not None:
            self.tensorboard.close()
        if self.wandb is not None:
            self.wandb.finish()


def _tensorboard(folder: Path, resume_step: int | None) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "general.logging.tensorboard_log is on but tensorboard is not installed: "
            "pip install 'groundup[tensorboard]', or turn it off"
        ) from error
    # What the killed process wrote beyond its last checkpoint is purged, and made again.
    return SummaryWriter(str(folder), purge_step=None if resume_step is None else resume_step + 1)


def _wandb(folder: Path, project: str, name: str, config: dict[str, Any]) -> Any:
    try:
        import wandb  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "general.logging.wandb_log is on but wandb is not installed: pip install 'groundup[wandb]', or turn it off"
        ) from error
    # A resumed run goes on under the same id, so its curve has no seam.
    return wandb.init(project=project, name=name, id=folder.name, resume="allow", dir=str(folder), config=config)
