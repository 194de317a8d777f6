"""The families there are, and what config.json says in our words. No torch here: a plan of a run reads it too.

A family is a module of this folder with

    MODEL_TYPES   what config.json calls it          PREFIX   what stands before its names, except in bare models
    NAMES         its modules and ours: rows.py      HEADS    for each task the classes, and the head's modules
    config(hf, task) -> ModelConfig                  to_hf(config) -> dict, the inverse

and, where needed, RENAMED (how other files begin the same names), EXTRAS (modules that a class has and we do not,
kept to be written back), LEFT_OUT (a pattern of names, and what to call them), WRITTEN (settings that go with the
names that we write) and own_settings(hf) -> dict.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ...errors import UserError, nearest
from ..config import ModelConfig, Task
from .rows import Names
from .settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

DECODERS = ("gpt2", "gpt_neox", "opt", "llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3", "starcoder2")
ENCODERS = ("bert", "roberta", "distilbert", "electra", "deberta_v2")
FAMILIES = DECODERS + ENCODERS


@dataclass(frozen=True)
class Head:
    """The classes of transformers with this head, the one that is written first; and the rows of its modules."""

    classes: tuple[str, ...]
    names: Names


class Family(Protocol):
    """The module of a family."""

    __name__: str
    MODEL_TYPES: tuple[str, ...]
    PREFIX: str
    NAMES: Names
    HEADS: Mapping[Task, Head]
    config: Callable[[Settings, Task], ModelConfig]
    to_hf: Callable[[ModelConfig], dict[str, Any]]


@dataclass
class Origin:
    """Where a loaded model came from, for writing it back."""

    family: str  # the module's name
    config: dict[str, Any]  # its config.json
    architecture: str | None  # the class it was saved from
    directory: Path
    extras: dict[str, Tensor] = field(default_factory=dict)  # what that class has and our model does not use
    new: tuple[str, ...] = ()  # parameters that it has not, drawn anew


@functools.cache
def family(name: str) -> Family:
    """The module of one of FAMILIES."""
    return cast(Family, importlib.import_module(f".{name}", __package__))


@functools.cache
def model_types() -> dict[str, str]:
    """What config.json may call a family -> the name of its module."""
    return {model_type: name for name in FAMILIES for model_type in family(name).MODEL_TYPES}


def family_of(hf: Mapping[str, Any], where: str = "config.json") -> Family:
    """The family of a config.json.

    Raises:
        UserError: its model_type is missing or not one of ours.
    """
    kind, known = hf.get("model_type"), model_types()
    if kind is None:
        raise UserError(f"{where}: 'model_type' is missing: add the family's name.{nearest('', known, limit=20)}")
    if kind not in known:
        raise UserError(f"{where}: model_type '{kind}' is not known here.{nearest(kind, known, limit=20)}")
    return family(known[kind])


def task_of(hf: Mapping[str, Any], where: str = "config.json") -> Task:
    """What the class that config.json names is for.

    Raises:
        UserError: it names none, or one with a head that we do not have.
    """
    heads = family_of(hf, where).HEADS
    classes: dict[str, Task] = {name: task for task, head in heads.items() for name in head.classes}
    named = [str(name) for name in hf.get("architectures") or []]
    for name in named:
        if name in classes:
            return classes[name]
    if not named:
        raise UserError(f"{where}: names no 'architectures': say what the model is for with task={_either(heads)}")
    raise UserError(
        f"{where}: '{named[0]}' has a head that is not available here: say what else to load it for with "
        f"task={_either(heads)}"
    )


def own_settings(hf: Mapping[str, Any], where: str = "config.json") -> dict[str, Any]:
    """config.json itself, or the part of it that speaks of the text where the model also sees."""
    choose: Callable[[Mapping[str, Any]], dict[str, Any]] = getattr(family_of(hf, where), "own_settings", dict)
    return choose(hf)


def interpret(settings: Settings, task: Task) -> ModelConfig:
    """The ModelConfig of one's own settings.

    Raises:
        UserError: a setting is missing, or one is not to be had here; both name file and key.
    """
    if settings.get("quantization_config", None) is not None:
        raise UserError(
            f"{settings.where}: the weights are quantised (quantization_config), which cannot be read: take the "
            "checkpoint they were made from"
        )
    settings.refuse_unless("is_encoder_decoder", False)
    settings.refuse_unless("add_cross_attention", False)
    settings.refuse_unless("pruned_heads", {})
    try:
        return family_of(settings.values, settings.where).config(settings, task)
    except UserError as error:
        if settings.where in str(error):
            raise
        raise UserError(f"{settings.where}: {error}") from error  # what ModelConfig itself refused


def model_config(hf: Mapping[str, Any], task: Task | None = None, where: str = "config.json") -> ModelConfig:
    """The ModelConfig that a config.json describes; `task` None: for the class it names.

    Raises:
        UserError: a setting is missing or not available, the family or the class is unknown.
    """
    hf = own_settings(hf, where)
    if task is None:
        task = task_of(hf, where) if hf.get("architectures") else next(iter(family_of(hf, where).HEADS))
    return interpret(Settings(hf, where), task)


def _either(tasks: Mapping[Task, Head]) -> str:
    return " or ".join(f'"{task}"' for task in tasks)
