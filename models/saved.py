"""A checkpoint of a run: weights under our own names, beside a state.json that says of which architecture they are."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..errors import UserError
from .config import ModelConfig, Task
from .heads import labels_of
from .hf.families import Origin
from .model import Model, build_model
from .replaced import attach_generator
from .start import STATE

MODEL, EXTRAS, ORIGIN = "model.safetensors", "extras.safetensors", "origin"
FORMAT = 1  # of state.json


def load_saved(
    checkpoint: Path,
    task: Task | None = None,
    dtype: torch.dtype | None = None,
    device: str | torch.device = "cpu",
) -> Model:
    """The model of a checkpoint, in evaluation mode; with the origin it had, so that it can be written back.

    Raises:
        UserError: it is damaged, or for another task.
    """
    state = read_state(checkpoint)
    if task not in (None, state["task"]):
        raise UserError(f"{checkpoint}: the run's model is for '{state['task']}', not for '{task}': leave the task out")
    model = empty_model(checkpoint, state, device)
    load_weights(checkpoint, model, trained_only="base" in state)
    if "base" in state:  # what trained is in fp32, the rest perhaps not: to use it, all is as the rest
        dtype = dtype or next(p.dtype for p in model.parameters() if not p.requires_grad)
    return model.to(device, dtype).eval()


def empty_model(
    checkpoint: Path, state: Mapping[str, Any], device: str | torch.device = "cpu", config: ModelConfig | None = None
) -> Model:
    """The model that a checkpoint's weights go into: whole, or of which they are the part that trains.

    `config` is for who expects one: load_weights refuses what does not fit it. None: the checkpoint's own.
    """
    if "base" in state:
        from .base import restored

        state = {**state, "base": base_of(checkpoint, state)}
        model = restored(state, tensor_names(checkpoint / MODEL), device)
        model.origin = origin_of(checkpoint, state) or model.origin
        return model
    config = config or ModelConfig.from_dict(state["model_config"])
    model = build_model(config, state["task"], state.get("num_labels"), device)
    if "generator" in state:
        attach_generator(model, ModelConfig.from_dict(state["generator"]))
    model.origin = origin_of(checkpoint, state)
    return model


def base_of(checkpoint: Path, state: Mapping[str, Any]) -> dict[str, Any]:
    """What state.json says of the weights below; where the run keeps them itself, also after it was moved."""
    kept = beside(checkpoint, "base")
    return {**state["base"]} if kept is None else {**state["base"], "source": str(kept)}


def save_whole(model: Model, folder: Path) -> Path:
    """Write a model that no checkpoint holds, in the form of a run's, its origin too: load_saved reads it. -> `folder`

    Raises:
        UserError: the disk refuses.
    """
    weights = {name: p.detach().cpu().contiguous() for name, p in model.named_parameters()}
    state = {"format": FORMAT, "step": 0, "task": model.task, "model_config": model.config.to_dict()}
    if (labels := labels_of(model.head)) is not None:
        state["num_labels"] = labels
    try:
        folder.mkdir(parents=True, exist_ok=True)
        state["origin"] = keep_origin(model, folder / ORIGIN)
        save_file(weights, folder / MODEL, metadata={"format": "pt"})
        (folder / STATE).write_text(json.dumps(state, indent=1), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        raise UserError(f"could not write {folder}: {error}; set output.output_dir elsewhere") from error
    return folder


def read_state(checkpoint: Path) -> dict[str, Any]:
    """state.json of a checkpoint.

    Raises:
        UserError: it is missing, damaged or of a later format.
    """
    path = checkpoint / STATE
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); resume from another checkpoint of the run") from error
    if state.get("format", 0) > FORMAT:
        raise UserError(f"{path}: written by a later version of groundup ({state.get('versions')}); upgrade to read it")
    return state


def load_weights(checkpoint: Path, model: nn.Module, trained_only: bool = False) -> None:
    """Fill every parameter of the model exactly once; `trained_only`: every one that is not frozen.

    Raises:
        UserError: the file is truncated or damaged, or belongs to another architecture.
    """
    path = checkpoint / MODEL
    weights = read_tensors(path)
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad or not trained_only}
    missing, extra = sorted(parameters.keys() - weights.keys()), sorted(weights.keys() - parameters.keys())
    wrong = [n for n in parameters.keys() & weights.keys() if parameters[n].shape != weights[n].shape]
    if missing or extra or wrong:
        if missing:
            what = f"lacks '{missing[0]}'"
        elif extra:
            what = f"holds '{extra[0]}', which the model does not have"
        else:
            name = wrong[0]
            theirs, ours = tuple(weights[name].shape), tuple(parameters[name].shape)
            what = f"has '{name}' of shape {theirs}, the model {ours}"
        raise UserError(f"{path}: a checkpoint of another architecture: it {what}; use the run's own config.yaml")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(weights[name])


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises UserError where it is missing or damaged."""
    tensor_names(path)
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def tensor_names(path: Path) -> list[str]:
    """The names in a safetensors file. Raises UserError where it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:  # checks the header against the file's length
            return list(file.keys())
    except FileNotFoundError as error:
        raise UserError(f"{path}: does not exist; resume from another checkpoint of the run") from error
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    return UserError(f"{path}: truncated or damaged ({error}); delete this checkpoint and resume from an earlier one")


# --- where it came from ------------------------------------------------------------------------------------------


def keep_origin(model: Model, folder: Path) -> dict[str, str | None] | None:
    """Keep in `folder` what save_pretrained needs besides the weights. -> what state.json says of it."""
    origin = model.origin
    if origin is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(origin.config, indent=2) + "\n", encoding="utf-8")
    for name in ("generation_config.json",):
        if (origin.directory / name).is_file():
            shutil.copy(origin.directory / name, folder)
    if origin.extras:
        extras = {name: tensor.detach().cpu().contiguous() for name, tensor in origin.extras.items()}
        save_file(extras, folder / EXTRAS, metadata={"format": "pt"})
    return {"family": origin.family, "architecture": origin.architecture, "folder": str(folder.resolve())}


def origin_of(checkpoint: Path, state: Mapping[str, Any]) -> Origin | None:
    """The origin that keep_origin kept, also after the run was moved; None of a model that was described.

    Raises:
        UserError: it is gone, or damaged.
    """
    said = state.get("origin")
    if said is None:
        return None
    within = checkpoint / ORIGIN  # of what save_whole wrote
    folder = within if within.is_dir() else beside(checkpoint, ORIGIN) or Path(said["folder"])
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / 'config.json'}: cannot be read ({error}): restore the run's folder") from None
    extras = read_tensors(folder / EXTRAS) if (folder / EXTRAS).is_file() else {}
    return Origin(said["family"], config, said["architecture"], folder, extras)


def beside(checkpoint: Path, name: str) -> Path | None:
    """A folder of the run that a checkpoint lies in, None where it does not."""
    return next((parent / name for parent in checkpoint.parents[:4] if (parent / name).is_dir()), None)
