"""Several models, one after another: which they are, and what each brings along for its run."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import UserError, notice
from .defaults import task_of
from .entries import BASE, MEMORY, MODELS, recommended_by, settings_of
from .fields import fold, is_mapping
from .layers import Layer, layer_of, merge
from .read import read_yaml
from .registry import ModelsSection, RegistryEntry

SETS = Path(__file__).with_name("model_sets.yaml")
_OF_EACH = (("output", "run_name"), ("output", "hub_model_id"))  # a name for all of them: each adds its own


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
    """Make the layers of a configuration, of which the command line is the last, those of one of its models.

    `models` goes from them, and so do the name of the run and of its repository, which become part of each model's own.

    Returns:
        What is recommended for the model, below everything that is written; and its own settings, which beat the file
        and not the command line.

    Raises:
        UserError: `model.base_model` is given beside `models`, unless a file gives it and the command line gives those.
    """
    names: dict[tuple[str, ...], Any] = {}
    _one_of_both(layers)
    for layer in layers:
        named = layer.values.get(MODELS)
        if is_mapping(named) and named.get(MEMORY):  # goes by family, whichever of them it is
            layer.values[MODELS] = {MEMORY: named[MEMORY]}
        else:
            layer.remove(MODELS)
        for path in _OF_EACH:
            names[path] = layer.values.get(path) or names.get(path)
            layer.remove(path)
    run_name, repository = (f"{names[path]}-{chosen.name}" if names[path] else None for path in _OF_EACH)
    own: dict[str, Any] = {"model.base_model": chosen.source, "output.run_name": run_name or chosen.name}
    if repository:
        own["output.hub_model_id"] = repository
    place = f"models, {chosen.name}"
    if chosen.entry is None:
        return Layer(), layer_of(own, place)
    own |= settings_of(chosen.entry, task_of(merge(*layers, layer_of(own, place))))
    return layer_of(recommended_by(chosen.entry, layers), place), layer_of(own, place)


def _one_of_both(layers: Sequence[Layer]) -> None:
    """Several models or one: the command line beats what a file says."""
    command_line = layers[-1]
    for layer in layers:
        if not layer.gives(BASE):
            continue
        if layer is command_line or not command_line.gives(MODELS):
            raise UserError(f"{layer.where(BASE)} names one model and models several: leave one of them out.")
        _say(f"{command_line.where(MODELS)} is used and {layer.where(BASE)} is not")
        layer.remove(BASE)


@cache
def _say(text: str) -> None:
    """A notice that holds for each of several models, with the first of them only."""
    notice(text)


def again(config: str | None, overrides: Sequence[str], chosen: Sequence[Chosen], test_mode: bool = False) -> str:
    """The command that trains these models with the settings of another command for several, quoted for a shell."""
    names: list[Any] = [one.place or one.name for one in chosen]
    if any(one.entry for one in chosen):  # described in a file, which `--models NAME` would not look into
        names = [
            one.entry.model_dump(mode="json", exclude_unset=True) if one.entry else name
            for one, name in zip(chosen, names, strict=True)
        ]
        names = [json.dumps(names)]
    words = ["--config", config] if config else []
    words += ["--models", *names, *_without_models(overrides), *(["--test-mode"] if test_mode else [])]
    return shlex.join(["python", "train.py", *words])


def _without_models(overrides: Sequence[str]) -> list[str]:
    """The words of a command line but for `models` and its values."""
    kept: list[str] = []
    is_theirs = False
    for word in overrides:
        name, equals, _ = word.removeprefix("--").partition("=")
        if word.startswith("--") or equals:
            is_theirs = name == "models"
        if not is_theirs:
            kept.append(word)
        is_theirs &= not equals
    return kept


def _last_part(name: str) -> str:
    return name.rstrip("/").rpartition("/")[2]
