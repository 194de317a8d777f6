"""What a registry's entry says of the run of its model: its settings, what it recommends, how many classes it tells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from .batches import fitted
from .defaults import has_hf_core, task_of
from .fields import fold, is_mapping
from .layers import Layer, layer_of
from .registry import RegistryEntry
from .schema_run import RunConfig

MODELS, MEMORY = ("models",), "memory_optimization"
BASE = ("model", "base_model")
_CHECKPOINTING, _RATE, _BATCH = "trainer.gradient_checkpointing", "trainer.optimizer.lr", "trainer.batch_size"
_SETTINGS = {
    "max_length": "trainer.max_seq_length",
    "num_epochs": "trainer.epochs",
    "batch_size": _BATCH,
    "gradient_accumulation_steps": "trainer.gradient_accumulation_steps",
    "gradient_checkpointing": _CHECKPOINTING,
    "learning_rate": _RATE,
}
_CLASSES = {"fancyzhx/ag_news": 4}  # of the data sets that go by name; the others have two


def entry_of(name: str | None) -> RegistryEntry | None:
    """The registry's entry for what `model.base_model` says; None for a folder, which goes before one of its name."""
    from ..models.registry import lookup

    return None if name is None or Path(name).expanduser().is_dir() else lookup(name)


def known_settings(written: Layer) -> Layer:
    """What the registry says of the model that a run names: above the defaults, below everything that is written.

    Raises:
        UserError: the registry cannot be read, or its entry says what cannot be honoured.
    """
    from ..models.hf.shapes import known_shape

    name = written.values.get(BASE)
    entry = entry_of(name) if isinstance(name, str) and not has_hf_core(written) else None
    if entry is None:
        return Layer()
    found = settings_of(entry, task_of(written))
    if fold(str(written.values.get(("model", "init")))) == "random":
        found.pop(_RATE, None)  # it is for the published weights: new ones need more
    family = (known_shape(entry.name or "") or {}).get("model_type", "")
    if _checkpointing_is_said(written, family):
        found.pop(_CHECKPOINTING, None)
    if _BATCH in found:
        found[_BATCH] = _fit(found[_BATCH], [written], None)
    return layer_of(found, f"the registry's entry for {entry.alias or entry.name}")


def settings_of(entry: RegistryEntry, task: str) -> dict[str, Any]:
    """What an entry says of its run, by key of a configuration, for a task.

    Raises:
        UserError: it wants a cache of keys and values.
    """
    if entry.use_cache:
        raise UserError(
            f"models, {entry.alias or entry.name}: use_cache true: training keeps no cache of keys and values, which "
            "only generation has: set it to false."
        )
    found = {key: _of_task(getattr(entry, name), task) for name, key in _SETTINGS.items()}
    if entry.tokenizer_name != entry.name:
        found["model.tokenizer"] = entry.tokenizer_name
    return {key: value for key, value in found.items() if value is not None}


def recommended_by(entry: RegistryEntry, layers: Sequence[Layer]) -> dict[str, Any]:
    """What an entry recommends where nothing else is said: batch sizes that fit what the layers want, and adapters."""
    found: dict[str, Any] = {}
    for device, size in (entry.recommended_batch_size or {}).items():
        found[f"{_BATCH}.{device}"] = _fit(size, layers, device)
    methods = [layer.values.get(("fine_tuning", "method")) for layer in layers]
    if entry.lora is not None and any(fold(str(method)) in ("lora", "qlora") for method in methods):
        lora = entry.lora
        found |= {"fine_tuning.lora.r": lora.rank, "fine_tuning.lora.alpha": lora.alpha}
        found["fine_tuning.lora.dropout"] = lora.dropout
        if lora.target_modules:
            found["fine_tuning.lora.target_modules"] = lora.target_modules
    return found


def check_classes(run: RunConfig, entry: RegistryEntry | None, *, ask_hub: bool = False) -> None:
    """Refuse an entry that tells another number of classes apart than the labelled texts of its run have.

    A data set that goes by another name on the hub is read only with `ask_hub`.

    Raises:
        UserError: the two differ, or the texts cannot be read.
    """
    if entry is None or entry.num_labels is None or run.dataset.format != "classification":
        return
    found = _classes_of(run, ask_hub)
    if found not in (None, entry.num_labels):
        where = run.dataset.train_path or run.dataset.name
        raise UserError(
            f"models, {entry.alias or entry.name}: num_labels {entry.num_labels}, and {where} has {found} classes: "
            "leave it out, they are counted"
        )


def _classes_of(run: RunConfig, ask_hub: bool) -> int | None:
    from ..data.classification.docstrings import NAME as DOCSTRINGS
    from ..data.classification.hub import known
    from ..data.classification.load import labelled_texts

    dataset = run.dataset
    path = Path(dataset.name).expanduser()
    is_local = dataset.train_path is not None or path.exists() or dataset.name == DOCSTRINGS
    if not is_local and (by_name := known(dataset.name)) and dataset.label_column is None:
        return _CLASSES.get(by_name.id, 2)
    return len(labelled_texts(dataset, run.general.seed)[1]) if is_local or ask_hub else None


def _of_task(value: Any, task: str) -> Any:
    return value.get(task) if isinstance(value, dict) else value


def _fit(size: int, layers: Sequence[Layer], device: str | None) -> int:
    """The largest batch, `size` at most, of which whole ones make up the effective batch that the last layer wants."""
    key = ("trainer", "effective_batch_size")
    for layer in reversed(layers):
        if layer.gives(("trainer", "gradient_accumulation_steps")):
            return size
        wanted = [value for value in (layer.values.get((*key, device or "")), layer.values.get(key)) if value]
        if wanted:
            return fitted(size, wanted[0]) if isinstance(wanted[0], int) and wanted[0] > 0 else size
    return size


def _checkpointing_is_said(written: Layer, family: str) -> bool:
    """Whether memory_optimization has it for the family of a model."""
    models = written.values.get(MODELS)
    tables = [written.values.get(("trainer", MEMORY)), models.get(MEMORY) if is_mapping(models) else None]
    of_family = [
        row for table in tables if is_mapping(table) for name, row in table.items() if fold(name) == fold(family)
    ]
    return any(is_mapping(row) and "gradient_checkpointing" in row for row in of_family)
