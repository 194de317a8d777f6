"""Defaults that depend on the kind of run; everything else has its default in the schema.

From scratch the core-model document's defaults hold (they are the schema's). Fine-tuning takes the GPT-2 document's, by
task; LoRA, QLoRA and Spectrum take the fine-tuning document's.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .fields import fold
from .layers import Layer

FULL: dict[str, Any] = {
    "trainer.epochs": 3,
    "trainer.warmup_ratio": 0.1,
    "trainer.lr_scheduler": "linear",
    "trainer.optimizer.min_lr": 1e-7,
    "trainer.optimizer.weight_decay": 0.01,
    "trainer.optimizer.grad_clip": 1.0,
}

ADAPTERS: dict[str, Any] = {
    "trainer.epochs": 3,
    "trainer.warmup_ratio": 0.03,
    "trainer.lr_scheduler": "cosine",
    "trainer.optimizer.lr": 2e-4,
    "trainer.optimizer.min_lr": 0.0,
    "trainer.optimizer.weight_decay": 0.001,
    "trainer.optimizer.grad_clip": 0.3,
}

# What a run from a checkpoint is given where nothing is said, see checks.complete.
CONTEXT = 1024  # tokens, as the GPT-2 document has it; less where the model was trained on less
EFFECTIVE_BATCH = 16  # sequences in one optimizer step, as the model guide has it
BATCH_BY_SIZE = (  # below so many parameters: the guide's table, for models that the registry does not know
    (50e6, {"cuda": 64, "mps": 32, "cpu": 16}),
    (130e6, {"cuda": 32, "mps": 16, "cpu": 8}),
    (1e9, {"cuda": 16, "mps": 8, "cpu": 4}),
    (float("inf"), {"cuda": 4, "mps": 2, "cpu": 1}),
)

_HARD = ("distillation", "alpha_hard")
LABEL_SMOOTHING = 0.1  # of classification, whatever the method, unless a data set's own entry says another


def kind_of(layer: Layer) -> str:
    """`scratch`, or the method by which a checkpoint is changed: `full`, `head`, `lora`, `qlora`, `spectrum`.

    A new embedder and head around a checkpoint's core (hf_core) are trained from scratch.
    """
    from_checkpoint = layer.values.get(("model", "base_model")) is not None and not has_hf_core(layer)
    method = layer.values.get(("fine_tuning", "method"))
    if not from_checkpoint:
        return "scratch"
    return str(method).strip().casefold() if method is not None else "full"


def has_hf_core(layer: Layer) -> bool:
    """Whether the run describes an embedder and a head around the core of a checkpoint."""
    return fold(str(layer.values.get(("model", "core_model_type")))) == "hf_core"


def task_of(layer: Layer) -> str:
    """`classification` or `language-modeling`: what a value by task is chosen by."""
    if kind_of(layer) == "scratch":
        return "language-modeling"
    if str(layer.values.get(("fine_tuning", "lora", "task_type"))).upper() == "SEQ_CLS":
        return "classification"
    return "classification" if _is_labelled(layer) else "language-modeling"


def _is_labelled(layer: Layer) -> bool:
    """Whether the data is texts with a class, unless a loss is named: then it is text."""
    from ..data.classification.kind import is_labelled

    given = {path[1]: value for path, value in layer.values.items() if path[0] == "dataset" and len(path) == 2}
    if given.get("format") is not None or layer.values.get(("trainer", "loss_fn")) is not None:
        return fold(str(given.get("format"))) == "classification"
    keys = ("name", "format", "train_path", "text_column", "label_column", "text_pair_column", "random_crop")
    values = {key: str(given[key]) if given.get(key) is not None else None for key in keys}
    return is_labelled(SimpleNamespace(**values | {"name": values["name"] or "stdlib"}))


def default_batch(parameters: int, device: str) -> int:
    """The batch size of a checkpoint that the registry does not know."""
    return next(sizes[device] for limit, sizes in BATCH_BY_SIZE if parameters < limit)


def defaults_for(kind: str, task: str, layer: Layer) -> dict[str, Any]:
    """The settings below everything a person writes. A constant rate has no warmup, so it is given none."""
    if kind == "scratch":
        return {}
    settings = _of_kind(kind, task, layer)
    if task == "classification":
        settings["trainer.label_smoothing"] = _label_smoothing(layer)
        settings["evaluation.max_batches"] = None  # of different batch sizes too, models are measured on the same rows
    if is_constant(layer):
        del settings["trainer.warmup_ratio"]
    return settings


def is_constant(layer: Layer) -> bool:
    """Whether the learning rate that is written never moves."""
    return fold(str(layer.values.get(("trainer", "lr_scheduler")))) == "constant"


def _of_kind(kind: str, task: str, layer: Layer) -> dict[str, Any]:
    if kind not in ("full", "head"):
        return {**ADAPTERS}
    if fold(str(layer.values.get(("model", "init")))) == "random":  # nothing to be careful of: the schema's rates
        return {key: value for key, value in FULL.items() if key != "trainer.optimizer.min_lr"}
    return {**FULL, "trainer.optimizer.lr": 2e-5 if task == "classification" else 5e-5}


def _label_smoothing(layer: Layer) -> float:
    from ..data.classification.hub import known

    if str(layer.values.get(_HARD)) in ("0", "0.0"):
        return 0.0  # there is no hard loss to smooth
    name = layer.values.get(("dataset", "name"))
    entry = known(str(name)) if name is not None and not layer.gives(("dataset", "train_path")) else None
    return LABEL_SMOOTHING if entry is None or entry.label_smoothing is None else entry.label_smoothing
