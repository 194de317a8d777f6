"""A checkpoint directory, or one on the hub, into our model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import torch
from torch.overrides import TorchFunctionMode

from ...errors import UserError, nearest, notice
from ..config import TASKS, ModelConfig, Task
from ..heads import labels_of
from ..model import Model
from ..quant.replace import ModelKind, Packing
from ..start import own_checkpoint
from .families import FAMILIES, Family, Origin, family, family_of, interpret, own_settings, task_of
from .filling import Filling
from .keys import Keys
from .settings import Settings
from .weights import Weights

QUANTIZATIONS: tuple[ModelKind, ...] = get_args(ModelKind)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def load_pretrained(
    source: str | Path,
    task: Task | None = None,
    dtype: str | torch.dtype | None = None,
    device: str | torch.device = "cpu",
    num_labels: int | None = None,
    quantization: ModelKind | Packing | None = None,
    revision: str | None = None,
) -> Model:
    """The model of a checkpoint, in evaluation mode, every parameter filled from it exactly once.

    Args:
        source: a directory with config.json and weights (safetensors, or pytorch_model.bin; in one file or several),
            or the name of one on the hub, of which `revision` may name a version; or the folder of a run of ours.
        task: None for what its own class is for.
        dtype: "fp32", "bf16", "fp16" or torch's; None for the one it is stored in.
        num_labels: for classification; a new head is made if the checkpoint has none, or one of another size. A run's
            model has its own head, and is refused for another number.
        quantization: "nf4", "fp4" or "int8", or a Packing that says more: each Linear of the blocks is packed as soon
            as it is read, so that the whole is never there in more bits; see models/quant.

    Where dtype and layout stay as stored, parameters are the mapped file: nothing is read before it is used, and what
    training changes is copied. So such a file may be replaced or deleted while the model lives, never written into.

    Raises:
        UserError: a file is missing or damaged, a setting is not available, a tensor is missing, left over or of
            another shape than config.json says; each names the file and the key.
    """
    if task is not None and task not in TASKS:
        raise UserError(f"task '{task}' is not known.{nearest(task, TASKS)}")
    packing = None if quantization is None else Packing.of(quantization)
    if packing is not None and packing.kind not in QUANTIZATIONS:
        raise UserError(f"quantization '{packing.kind}' is not known.{nearest(packing.kind, QUANTIZATIONS)}")
    place, kind = _device(device), _dtype(dtype)
    directory = find_directory(source, revision)
    if (own := own_checkpoint(directory)) is not None:
        from ..saved import load_saved

        model = load_saved(own, task, kind, place)
        if num_labels not in (None, labels := labels_of(model.head)):
            of = "" if labels is None else f", of {labels} classes"
            raise UserError(f"num_labels={num_labels}: the model of a run has the head it was trained with{of}")
        if packing is not None:
            packing.apply(model)
        return model
    checkpoint = open_checkpoint(directory)
    task = task or checkpoint.task()
    config = checkpoint.config(task)
    if unread := checkpoint.settings.unread():
        notice(f"{checkpoint.where}: not known here, and left out of account: {', '.join(unread)}")
    labels = checkpoint.labels() if task == "classification" and num_labels is None else num_labels
    with torch.device("meta"), WithoutInit():
        model = Model(config, task, labels)
    filling = Filling(model, checkpoint.keys, checkpoint.weights)
    filling.run(kind, place, may_make_head=task == "classification", quantization=packing)
    hf = checkpoint.settings.values
    architecture = next(iter(hf.get("architectures") or []), None)
    name = checkpoint.family.__name__.rpartition(".")[2]
    model.origin = Origin(name, hf, architecture, directory, filling.extras(architecture), filling.new)
    return model.eval()


@dataclass(frozen=True)
class Checkpoint:
    """A directory of files, looked at and not yet read."""

    where: str  # its config.json
    settings: Settings
    family: Family
    weights: Weights
    keys: Keys

    def config(self, task: Task) -> ModelConfig:
        """Our configuration of its model for a task."""
        if task not in self.family.HEADS:
            kind = self.settings.values["model_type"]
            raise UserError(f"{self.where}: {kind} has no task '{task}'.{nearest(task, self.family.HEADS)}")
        return interpret(self.settings, task)

    def task(self) -> Task:
        """What config.json's class is for; where it names none, what the files have a head for."""
        heads = self.keys.heads()
        if self.settings.values.get("architectures") or len(heads) != 1:
            return task_of(self.settings.values, self.where)
        return heads[0]

    def labels(self) -> int:
        """The classes of the checkpoint's own head, else as many as config.json names."""
        hf = self.settings.values
        said = hf.get("num_labels") or len(hf.get("id2label") or {}) or None
        output = self.keys.output("classification")
        if output is None:
            if said is None:
                raise UserError(f"{self.where}: there is no classification head in it: say num_labels for a new one")
            return said
        stored = self.weights.tensor(output).shape[0]
        if said is not None and said != stored:
            raise UserError(f"{self.weights.place[output]}: '{output}' has {stored} labels, config.json says {said}")
        return stored


def open_checkpoint(directory: Path) -> Checkpoint:
    """What is in a directory, by its config.json and the names of its tensors.

    Raises:
        UserError: a file is missing or damaged, or the family or a setting is not available.
    """
    where = str(directory / "config.json")
    hf, weights = read_config(directory), Weights(directory)
    if "model_type" not in hf:
        hf["model_type"] = recognise(weights, where)
    settings = Settings(own_settings(hf, where), where)
    kind = family_of(settings.values, where)
    n_layers = interpret(settings, next(iter(kind.HEADS))).n_layers
    return Checkpoint(where, settings, kind, weights, Keys(kind, n_layers, weights.place))


def heads_in(directory: Path) -> list[Task]:
    """The tasks for which there is a head in the files of a directory."""
    return open_checkpoint(directory).keys.heads()


def find_directory(source: str | Path, revision: str | None = None) -> Path:
    """`source` itself where it is a directory, else what the hub has under that name."""
    path = Path(source).expanduser()
    if path.is_dir():
        return path
    name = str(source)
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.exists():
        raise UserError(f"{source}: no such directory")
    from .hub import fetch_checkpoint

    return fetch_checkpoint(name, revision)


def read_config(directory: Path) -> dict[str, Any]:
    """config.json of a checkpoint directory."""
    path = directory / "config.json"
    try:
        hf: object = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{directory}: no config.json in it, so it is no checkpoint of a Hugging Face model") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not JSON ({error}): fetch it again") from error
    if not isinstance(hf, dict):
        raise UserError(f"{path}: must be a mapping of settings, fetch it again")
    return cast("dict[str, Any]", hf)


def recognise(weights: Weights, where: str) -> str:
    """The model_type of a checkpoint that does not say it, where its names are those of one family only."""
    fitting: list[Family] = []
    for name in FAMILIES:
        tokens = next(key for key, ours in family(name).NAMES.items() if ours == "embedder.tokens")
        if f"{tokens}.weight" in weights.place:
            fitting.append(family(name))
    if len(fitting) != 1:
        raise UserError(f"{where}: 'model_type' is missing, and the names of the tensors do not tell it: add it")
    kind = fitting[0].MODEL_TYPES[0]
    notice(f"{where} has no model_type: its tensors are named as those of '{kind}'")
    return kind


def _dtype(given: str | torch.dtype | None) -> torch.dtype | None:
    if given is None or (isinstance(given, torch.dtype) and given.is_floating_point):
        return given
    if given not in DTYPES:
        raise UserError(f"dtype '{given}' is not known.{nearest(given, DTYPES)}")
    return DTYPES[str(given)]


def _device(given: str | torch.device) -> torch.device:
    try:
        return torch.empty(0, device=given).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{given}' is not available here: {str(error).splitlines()[0]}") from error


class WithoutInit(TorchFunctionMode):
    """Modules made under it skip torch.nn.init: on the meta device it does nothing, and takes a second to be loaded."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


def on_paper(config: ModelConfig, task: Task) -> Model:
    """A model without its weights, on the meta device: what there is in it, and of which shape."""
    with torch.device("meta"), WithoutInit():
        return Model(config, task, 2 if task == "classification" else None)
