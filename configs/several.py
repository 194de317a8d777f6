"""Several models, one after another: which they are, and what each brings along for its run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError
from .fields import TASKS, fold, is_mapping
from .layers import Layer, layer_of
from .read import read_yaml
from .registry import ModelsSection, RegistryEntry

SETS = Path(__file__).with_name("model_sets.yaml")
_MODELS, _MEMORY = ("models",), "memory_optimization"
_BASE, _NAME = ("model", "base_model"), ("output", "run_name")


@dataclass(frozen=True)
class Chosen:
    """One of several models: what it is called, and its own settings where the configuration describes it."""

    name: str
    entry: RegistryEntry | None = None
    place: str | None = None  # its folder or hub id, where that is not its name

    @property
    def source(self) -> str:
        """What `model.base_model` says of it."""
        return (self.entry.name if self.entry else None) or self.place or self.name


@dataclass(frozen=True)
class ModelSet:
    """A named list of models."""

    what: str
    models: tuple[str, ...]


@cache
def model_sets() -> dict[str, ModelSet]:
    """The sets of configs/model_sets.yaml by name."""
    content, _ = read_yaml(SETS)
    return {name: ModelSet(one["what"], tuple(one["models"])) for name, one in content.items()}


def choose(models: Sequence[RegistryEntry | str] | ModelsSection | None) -> list[Chosen]:
    """The models that a run's `models:` names, sets opened up, each once; [] where it names none.

    Raises:
        UserError: an entry has no name.
    """
    if models is None:
        return []
    if isinstance(models, ModelsSection):
        return _of_section(models)
    found: list[Chosen] = []
    for number, item in enumerate(models, 1):
        if isinstance(item, RegistryEntry):
            if item.name is None:
                raise UserError(
                    f"models: entry {number} has no name: give its id on the Hugging Face hub, or its folder"
                )
            found.append(Chosen(item.alias or _last_part(item.name), item))
        elif fold(item) in (sets := {fold(name): one for name, one in model_sets().items()}):
            found += [Chosen(name) for name in sets[fold(item)].models]
        else:
            found.append(Chosen(_last_part(item), place=item))
    return _once(found)


def _of_section(section: ModelsSection) -> list[Chosen]:
    """Those that `model_selection` selects, by alias or id, described here or known; all, if it is left out."""
    described = {key: _named(key, entry) for key, entry in section.transformer_models.items()}
    if section.model_selection is None:
        return list(described.values())
    by_name = {fold(word): one for key, one in described.items() for word in (key, one.name, one.source)}
    found: list[Chosen] = []
    for name in section.model_selection.selected_models:
        found += [by_name[fold(name)]] if fold(name) in by_name else choose([name])
    return _once(found)


def _named(key: str, entry: RegistryEntry) -> Chosen:
    entry = entry if entry.name else entry.model_copy(update={"name": key})
    return Chosen(entry.alias or _last_part(key), entry)


def _once(chosen: Iterable[Chosen]) -> list[Chosen]:
    return list({one.source: one for one in chosen}.values())


def narrow(layers: Sequence[Layer], chosen: Chosen) -> tuple[Layer, Layer]:
    """Make the layers of a configuration those of one of its models.

    `models` goes from them, and so does the name of the run, which becomes part of each model's own.

    Returns:
        What is recommended for the model, below everything that is written; and its own settings, which beat the file
        and not the command line.

    Raises:
        UserError: `model.base_model` is given beside `models`.
    """
    given: str | None = None
    for layer in layers:
        if layer.gives(_BASE):
            raise UserError(f"{layer.where(_BASE)} names one model and models several: leave one of them out.")
        named = layer.values.get(_MODELS)
        if is_mapping(named) and named.get(_MEMORY):  # goes by family, whichever of them it is
            layer.values[_MODELS] = {_MEMORY: named[_MEMORY]}
        else:
            layer.remove(_MODELS)
        given = layer.values.get(_NAME) or given
        layer.remove(_NAME)
    name = chosen.name if not given else f"{given}-{chosen.name}"
    place = f"models, {chosen.name}"
    own = {"model.base_model": chosen.source, "output.run_name": name, **_settings(chosen.entry)}
    return layer_of(_recommended(chosen.entry, layers), place), layer_of(own, place)


def _settings(entry: RegistryEntry | None) -> dict[str, Any]:
    """What an entry says of its run, by key of a configuration."""
    if entry is None:
        return {}
    found: dict[str, Any] = {
        "trainer.max_seq_length": entry.max_length,
        "trainer.epochs": entry.num_epochs,
        "trainer.gradient_accumulation_steps": entry.gradient_accumulation_steps,
        "trainer.gradient_checkpointing": entry.gradient_checkpointing,
    }
    if entry.tokenizer_name not in (None, entry.name):
        found["model.tokenizer"] = entry.tokenizer_name
    for key, value in (("trainer.batch_size", entry.batch_size), ("trainer.optimizer.lr", entry.learning_rate)):
        if isinstance(value, dict):
            found |= {f"{key}.{task}": value[task] for task in TASKS if task in value}
        else:
            found[key] = value
    return {key: value for key, value in found.items() if value is not None}


def _recommended(entry: RegistryEntry | None, layers: Sequence[Layer]) -> dict[str, Any]:
    if entry is None:
        return {}
    found: dict[str, Any] = {}
    for device, size in (entry.recommended_batch_size or {}).items():
        found[f"trainer.batch_size.{device}"] = size
    methods = [layer.values.get(("fine_tuning", "method")) for layer in layers]
    if entry.lora is not None and any(fold(str(method)) in ("lora", "qlora") for method in methods):
        lora = entry.lora
        found |= {"fine_tuning.lora.r": lora.rank, "fine_tuning.lora.alpha": lora.alpha}
        found["fine_tuning.lora.dropout"] = lora.dropout
        if lora.target_modules:
            found["fine_tuning.lora.target_modules"] = lora.target_modules
    return found


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
