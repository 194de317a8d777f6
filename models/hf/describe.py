"""What Hugging Face would call a model of ours: the family and config.json that say the same as its ModelConfig."""

from __future__ import annotations

import dataclasses
from typing import Any

from ...errors import UserError
from ..config import ModelConfig, Task
from ..model import Model
from .families import FAMILIES, Family, family, interpret
from .keys import task_rows
from .rows import Row
from .settings import HARMLESS, Settings

# Fields of a head, and the tasks that have it: for others they may say anything.
HEAD_FIELDS: dict[str, tuple[Task, ...]] = {
    "tie_embeddings": ("causal_lm", "masked_lm"),
    "logit_softcap": ("causal_lm", "masked_lm"),
    "head_bias": ("causal_lm",),
    "head_activation": ("masked_lm", "replaced_token"),
    "classifier_activation": ("classification",),
    "classifier_pooling": ("classification",),
}


def describe(model: Model) -> tuple[Family, dict[str, Any]]:
    """The family of a model and its config.json, that of the checkpoint it came from wherever that still holds.

    Raises:
        UserError: no family has such a model; the nearest one is named with the fields in which it differs.
    """
    config, task = model.config, model.task
    if model.origin is not None:
        kind = family(model.origin.family)
        hf = dict(model.origin.config)
        hf |= {key: value for key, value in written(kind).items() if key in hf}
        if _differences(kind, hf, config, task):
            hf = {key: value for key, value in hf.items() if key in HARMLESS} | kind.to_hf(config)
            if differences := _differences(kind, hf, config, task):
                raise _refusal(kind, differences)
        return kind, hf
    nearest: tuple[Family, list[str]] | None = None
    for name in FAMILIES:
        kind = family(name)
        if task not in kind.HEADS:
            continue
        differences = _differences(kind, kind.to_hf(config), config, task)
        if not differences:
            return kind, kind.to_hf(config)
        if nearest is None or len(differences) < len(nearest[1]):
            nearest = kind, differences
    if nearest is None:
        raise UserError(f"no Hugging Face family has a model for the task '{task}'")
    raise _refusal(*nearest)


def dropout_unsaid(model: Model, hf: dict[str, Any]) -> list[str]:
    """The rates of dropout that this config.json does not repeat, each as "field=rate"."""
    theirs = interpret(Settings(hf), model.task)
    rates = {field.name: getattr(model.config, field.name) for field in dataclasses.fields(model.config)}
    rates = {name: rate for name, rate in rates.items() if name.endswith("_dropout") and isinstance(rate, float)}
    return [f"{name}={rate}" for name, rate in rates.items() if rate != getattr(theirs, name)]


def written(kind: Family) -> dict[str, Any]:
    """What config.json has to say for transformers to look for the names that we write, where it can say another."""
    return getattr(kind, "WRITTEN", {})


def their_names(model: Model) -> dict[str, Row]:
    """The modules of the checkpoint's family, as it names them, and what each is made of here.

    Raises:
        UserError: no family has such a model.
    """
    kind, _ = describe(model)
    parameters = dict(model.named_parameters(remove_duplicate=False))
    rows = task_rows(kind, model.task, model.config.n_layers)
    return {name: row for name, row in rows.items() if all(f"{part}.weight" in parameters for part in row.parts)}


def _differences(kind: Family, hf: dict[str, Any], config: ModelConfig, task: Task) -> list[str]:
    """The fields of `config` that this config.json says otherwise, each as "field=theirs, here ours"."""
    try:
        theirs = _telling(interpret(Settings(hf), task), task)
    except UserError as error:
        return [str(error)] * len(dataclasses.fields(config))  # further away than any family that can be read
    ours = _telling(config, task)
    return [f"{field}={theirs[field]}, here {ours[field]}" for field in ours if theirs[field] != ours[field]]


def _telling(config: ModelConfig, task: Task) -> dict[str, Any]:
    """What of a ModelConfig shows in a trained model's answers: all but dropout and how its weights began."""
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    fields["layer_pattern"] = tuple(config.layer_kind(layer) for layer in range(config.n_layers))
    fields["rope_local"] = config.rope_local or config.rope
    for field in [*fields]:
        training_only = "dropout" in field or field.startswith("init")
        if training_only or task not in HEAD_FIELDS.get(field, (task,)):
            del fields[field]
    return fields


def _refusal(kind: Family, differences: list[str]) -> UserError:
    listed = "; ".join(dict.fromkeys(differences))
    return UserError(
        f"no Hugging Face family has this model: the nearest is {kind.MODEL_TYPES[0]}, which would have {listed} "
        "(the run's own checkpoints hold it as it is)"
    )
