"""Checkpoints: a directory a step, seen whole or not at all, without pickle.

    step_00000200/
        model.safetensors        weights by parameter name, tied ones once; on a frozen base only what trains
        adapter/                 the same in PEFT's format, of a run with LoRA
        optimizer.safetensors    AdamW's moments by `parameter name/slot`
        state.json               step, random states, scaler, best loss, data position, both configurations, versions

It is written beside its final name, flushed to disk and renamed, so a kill or a full disk at any moment leaves the
previous one whole. `last` and `best` are links to two of them and are never pruned.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import UserError, notice
from ..models.saved import FORMAT, MODEL, STATE, read_tensors
from .optimizers import load_state_by_name, state_by_name

OPTIMIZER = "optimizer.safetensors"

_NAME = re.compile(r"step_(\d+)$")
_PARTIAL = ".partial-"


# --- writing -----------------------------------------------------------------------------------------------------


def save_checkpoint(
    folder: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: dict[str, Any],
    *,
    is_best: bool,
    keep: int,
    also: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Write `folder/step_N` atomically, move the links, prune all but the newest `keep`, `last` and `best`.

    Args:
        state: JSON-able, with `step`, the number of updates made, and `base` where only what trains is to be kept.
        keep: the most checkpoints kept besides `best` (0: no limit).
        also: writes more files into the folder that it is given.

    Raises:
        UserError: it could not be written (disk full, folder read-only); what was there before is untouched.
    """
    final = folder / f"step_{state['step']:08d}"
    partial = folder / f"{_PARTIAL}{final.name}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        kept = {name: p for name, p in model.named_parameters() if p.requires_grad or "base" not in state}
        weights = {name: p.detach().contiguous() for name, p in kept.items()}
        _write_tensors(partial / MODEL, weights)
        _write_tensors(partial / OPTIMIZER, {k: v.contiguous() for k, v in state_by_name(optimizer).items()})
        also(partial)
        _write_text(partial / STATE, json.dumps({"format": FORMAT, **state}, indent=1))
        _sync_folder(partial)
        replaced = folder / f"{_PARTIAL}old-{final.name}"
        if final.exists():  # the same step written again, after an interrupt that fell on it
            os.replace(final, replaced)
        os.replace(partial, final)
        shutil.rmtree(replaced, ignore_errors=True)
        _link(folder / "last", final.name)
        if is_best:
            _link(folder / "best", final.name)
        _sync_folder(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        previous = latest_checkpoint(folder)
        kept = f"the previous one, {previous}, is whole" if previous else "there is no earlier one"
        raise UserError(
            f"could not write the checkpoint {final}: {_reason(error)}; {kept}. Free space or set output.output_dir to "
            "a folder that can be written, then go on with --resume"
        ) from error
    prune(folder, keep)
    return final


def prune(folder: Path, keep: int) -> None:
    """Delete the oldest checkpoints beyond `keep`; `last` and `best` stay whatever their age."""
    if keep <= 0:
        return
    linked = {(folder / name).resolve() for name in ("last", "best")}
    for old in checkpoints(folder)[:-keep]:
        if old.resolve() not in linked:
            shutil.rmtree(old)


def remove_partial(folder: Path) -> None:
    """Delete what a killed process left half-written."""
    for partial in folder.glob(f"{_PARTIAL}*"):
        if partial.is_symlink():
            partial.unlink(missing_ok=True)
        else:
            shutil.rmtree(partial, ignore_errors=True)


def _write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    save_file(tensors, path, metadata={"format": "pt"})
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _link(path: Path, target: str) -> None:
    new = path.with_name(f"{_PARTIAL}{path.name}")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    os.replace(new, path)


def _reason(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if "No space left" in text or "os error 28" in text:
        return "no space left on device"
    return text


# --- finding -----------------------------------------------------------------------------------------------------


def checkpoints(folder: Path) -> list[Path]:
    """Whole checkpoints of a folder, oldest first."""
    found = [path for path in folder.glob("step_*") if _NAME.search(path.name) and (path / STATE).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def latest_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the most steps, None if there is none."""
    found = checkpoints(folder)
    return found[-1] if found else None


# --- reading -----------------------------------------------------------------------------------------------------


def load_optimizer(checkpoint: Path, optimizer: torch.optim.Optimizer) -> None:
    """Give the optimizer its moments back.

    Raises:
        UserError: the file is damaged or belongs to other parameters.
    """
    path = checkpoint / OPTIMIZER
    load_state_by_name(optimizer, read_tensors(path), path)


# --- random states -----------------------------------------------------------------------------------------------


def random_states() -> dict[str, str]:
    """The generator of every device, as text."""
    states = {"cpu": torch.get_rng_state()}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        states[f"cuda:{index}"] = torch.cuda.get_rng_state(index)
    if torch.backends.mps.is_available():
        states["mps"] = torch.mps.get_rng_state()
    return {name: base64.b64encode(state.numpy().tobytes()).decode() for name, state in states.items()}


def restore_random_states(states: dict[str, str]) -> None:
    """The inverse of `random_states`; a device that is not here is left out, and said."""
    for name, text in states.items():
        state = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8)
        device = torch.device(name)
        if device.type == "cpu":
            torch.set_rng_state(state)
        elif device.type == "cuda" and torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count():
            torch.cuda.set_rng_state(state, device)
        elif device.type == "mps" and torch.backends.mps.is_available():
            torch.mps.set_rng_state(state)
        else:
            notice(f"the checkpoint's random state of {name} is not used: there is no such device here")
