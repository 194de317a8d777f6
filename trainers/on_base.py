"""LoRA, QLoRA, Spectrum, the head alone: a run that trains a part of a checkpoint, on a base that is frozen."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from ..configs.architecture import task_of
from ..configs.methods import lora_settings, method_of, packing_of
from ..configs.schema import RunConfig
from ..configs.schema_fine_tuning import FineTuning
from ..data.cache import cache_folder
from ..data.classification.load import ClassificationData
from ..errors import UserError, notice
from ..models.base import Base, train_only
from ..models.config import ModelConfig, Task
from ..models.hf.loader import heads_in, load_pretrained, on_paper
from ..models.lora import add_lora, save_adapter
from ..models.lora.names import Names
from ..models.model import Model, build_model
from ..models.saved import save_whole
from ..models.start import Start
from .classifier import classifier_config, classifier_of_run, is_classifier, name_labels
from .folder import RunFolder
from .load import files_of
from .phases import head_parameters
from .precision import DTYPES
from .snr import matrices_of
from .spectrum import Selection, choose_layers

_DTYPES = {"no": "fp32", "bf16": "bf16", "fp16": "fp16"}  # frozen weights are held in what they are multiplied in
_WORTH_IT = 0.5  # share of the weights that is packed, below which 4 bits save little


@dataclass(frozen=True)
class OnBase:
    """A model of which a part trains, and what a checkpoint has to say of the rest."""

    model: Model
    base: Base
    lora: dict[str, Any] | None  # what add_lora was given

    @property
    def state(self) -> dict[str, Any]:
        """For state.json."""
        return {"base": self.base.to_dict(), "lora": self.lora}


def build_on_base(
    run: RunConfig,
    start: Start,
    config: ModelConfig,
    device: torch.device,
    folder: RunFolder,
    classes: ClassificationData | None = None,
) -> OnBase:
    """The model before the first step: the base loaded in the bits asked for, adapters added or layers chosen.

    With `classes` it has a head for them, which trains whatever else does.

    Raises:
        UserError: adapters that do not fit the model (before anything is loaded), or weights that cannot be read.
    """
    task, lora = task_of(run, start), lora_settings(run)
    if classes is not None:
        config = classifier_config(start)
    if lora is not None:
        check_adapters(config, task, lora)
    n = None if classes is None else classes.num_labels
    source, revision = _source(run, start, config, task, n, device, folder)
    base = Base(source, task, _DTYPES[run.trainer.mixed_precision], n, revision, packing_of(run))
    if lora is not None:
        model = base.load(device)
        if modules := _new_modules(model, _new(model, source, folder)):
            lora |= {"modules_to_save": list(dict.fromkeys([*(lora["modules_to_save"] or ()), *modules]))}
        add_lora(model, **lora, seed=run.general.seed)
        train_only(model, [name for name, p in model.named_parameters() if p.requires_grad])
    elif method_of(run) == "head":
        model = base.load(device)
        train_only(model, head_parameters(model))
    else:
        chosen = _chosen_layers(run, base, device, folder)
        if base.packing is not None:
            base = replace(base, packing=base.packing.sparing(chosen.modules))
        model = base.load(device)
        train_only(model, {*chosen.parameters, *_new(model, source, folder)})
    if classes is not None:
        name_labels(model, classes.label_names, classes.pad_id)
    _doubt(model, base)
    return OnBase(model, base, lora)


def check_adapters(config: ModelConfig, task: Task, lora: dict[str, Any]) -> None:
    """Put the adapters on the model on paper. Raises UserError where they do not fit it."""
    add_lora(on_paper(config, task), **lora)


def adapter_writer(model: Model, base: str) -> Callable[[Path], None]:
    """A function that writes the adapters of a model into a checkpoint's folder, as PEFT reads them."""
    return lambda folder: save_adapter(model, folder / "adapter", base=base)


def _source(
    run: RunConfig,
    start: Start,
    config: ModelConfig,
    task: Task,
    num_labels: int | None,
    device: torch.device,
    folder: RunFolder,
) -> tuple[str, str | None]:
    """Where the base lies, and which version of a repository it is.

    Weights that no checkpoint has are written into the run first: random ones, a run's under a new head.
    """
    seed = run.general.seed
    if run.model.init == "random":
        dtype = DTYPES[run.trainer.mixed_precision]
        model = build_model(config, task, num_labels, device=device, dtype=dtype, seed=seed)
        return str(save_whole(model, folder.base).resolve()), None
    if start.own:
        if num_labels is None or is_classifier(start, num_labels):
            return str(start.place), None
        return str(save_whole(classifier_of_run(start, num_labels, device, seed), folder.base).resolve()), None
    files = files_of(start)
    if task not in ("causal_lm", "classification") and task not in heads_in(files):
        raise UserError(
            f"{start.name} has no masked-LM head, and a new one would have to train in full: use method full"
        )
    if isinstance(start.place, Path):
        return str(files.resolve()), None
    return start.place, files.name if files.parent.name == "snapshots" else None


def _new(model: Model, source: str, folder: RunFolder) -> set[str]:
    """The parameters that no checkpoint has, of which all have to train: a classifier's head, or what of it is new."""
    if Path(source) == folder.base.resolve() and model.task == "classification":
        return {name for name, _ in model.named_parameters() if name.startswith("head.")}
    return set(model.origin.new if model.origin else ())


def _new_modules(model: Model, new: set[str]) -> list[str]:
    """What trains in full beside adapters where the base has it not: a classifier's head, with its pooler."""
    names = Names.of(model)
    modules = [path for path, row in names.linears.items() if {f"{part}.weight" for part in row.parts} & new]
    return [*names.new_head(), *modules] if modules else []


def _chosen_layers(run: RunConfig, base: Base, device: torch.device, folder: RunFolder) -> Selection:
    """Spectrum's choice by the weights as they are stored; it is printed, and drawn in the run's analysis."""
    settings = cast(FineTuning, run.fine_tuning).spectrum
    model = load_pretrained(base.source, base.task, revision=base.revision, num_labels=base.num_labels)
    chosen = choose_layers(
        model, settings.snr_threshold, settings.layers_to_finetune, cache_dir=cache_folder(run), device=device
    )
    if base.packing is not None and set(chosen.modules) == matrices_of(model).keys():
        raise UserError(
            "spectrum: every layer trains, so nothing is left to pack: choose fewer, or do not load in few bits"
        )
    chosen.write(folder.analysis, plot=run.output.plots)
    print(chosen.table(), file=sys.stderr)
    return chosen


def _doubt(model: Model, base: Base) -> None:
    """Say where packing saves little: the rest of a small model is embeddings."""
    if base.packing is None:
        return
    count = model.num_parameters()
    dense = sum(p.numel() for p in model.parameters())
    if (share := 1 - dense / count) < _WORTH_IT:
        notice(
            f"only {share:.0%} of the weights are packed (the rest are embeddings, head, norms and what trains): "
            "fine_tuning.method lora without packing is faster, and needs little more memory"
        )
