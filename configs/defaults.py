"""Defaults that depend on the kind of run; everything else has its default in the schema.

From scratch the core-model document's defaults hold (they are the schema's). Fine-tuning takes the GPT-2 document's, by
task; LoRA, QLoRA and Spectrum take the fine-tuning document's.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .fields import fold
from .layers import Layer

# A few steps on little data; sits below the command line, so that any of it can be set.
TEST_MODE: dict[str, Any] = {
    "trainer.max_iters": 4,
    "trainer.warmup_iters": 1,
    "trainer.log_interval": 1,
    "trainer.lr_decay_iters": None,
    "trainer.head_first_epochs": None,
    "evaluation.interval": 2,
    "evaluation.max_batches": 2,
    "evaluation.sample_tokens": 16,
    "dataset.max_documents": 200,
}

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

CLASSIFICATION_DATASETS = ("imdb", "ag_news", "sst2", "amazon", "amazon_polarity", "yelp", "yelp_polarity")


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
    """The settings below everything a person writes."""
    if kind == "scratch":
        return {}
    if kind not in ("full", "head"):
        return ADAPTERS
    if fold(str(layer.values.get(("model", "init")))) == "random":  # nothing to be careful of: the schema's rates
        return {key: value for key, value in FULL.items() if key != "trainer.optimizer.min_lr"}
    rate, smoothing = 5e-5, 0.0
    if task == "classification":
        rate, smoothing = 2e-5, 0.0 if _dataset(layer) == "imdb" else 0.1
    return {**FULL, "trainer.optimizer.lr": rate, "trainer.label_smoothing": smoothing}


def is_classification(dataset: str) -> bool:
    """Whether a data set's name is that of a classification task: `imdb`, `stanfordnlp/imdb`."""
    return _last_part(dataset) in CLASSIFICATION_DATASETS


def _dataset(layer: Layer) -> str:
    return _last_part(str(layer.values.get(("dataset", "name"), "")))


def _last_part(name: str) -> str:
    return name.casefold().rpartition("/")[2]
