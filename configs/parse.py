"""From one layer of settings to a RunConfig: types, values by device or task, and keys that exclude each other."""

from __future__ import annotations

from pydantic import ValidationError

from ..errors import UserError
from .defaults import has_hf_core
from .fields import message_of
from .layers import ALTERNATIVES, Layer
from .schema_model import ARCHITECTURE_KEYS, CHECKPOINT_KEYS, CORE_KEYS
from .schema_run import FIELDS, Path, RunConfig


def parse_layer(layer: Layer, device: str, task: str) -> RunConfig:
    """Check every value's type, take those of this device and task, and build the run.

    Raises UserError with one sentence for each value that is wrong.
    """
    try:
        run = RunConfig.model_validate(layer.tree(), context={"device": device, "task": task})
    except ValidationError as error:
        raise_all(_type_problems(error, layer))
        raise
    raise_all(_given_twice(layer))
    return run


def raise_all(found: list[str]) -> None:
    """Raise UserError with all problems, one a line; nothing where there are none."""
    if len(found) == 1:
        raise UserError(found[0])
    if found:
        raise UserError("\n".join([f"{len(found)} problems in the configuration:", *(f"  - {one}" for one in found)]))


def wrong_set(layer: Layer) -> list[str]:
    """Keys of an architecture beside a checkpoint, or of a checkpoint beside an architecture."""
    return _core_twice(layer) if has_hf_core(layer) else _two_models(layer)


def _core_twice(layer: Layer) -> list[str]:
    """Keys that describe the core where a checkpoint brings it."""
    found = [
        f"{layer.where(('model', name))}: under hf_core the blocks are those of base_model: leave it out."
        for name in CORE_KEYS
        if name != "tokenizer" and layer.gives(("model", name))
    ]
    if layer.gives(("model", "tokenizer")):
        found.append(f"{layer.where(('model', 'tokenizer'))}: under hf_core the tokenizer is named by tokenizer_type.")
    return found


def _two_models(layer: Layer) -> list[str]:
    if layer.gives(("model", "base_model")):
        given = [str(layer.where(("model", name))) for name in ARCHITECTURE_KEYS if layer.gives(("model", name))]
        more = f" and {len(given) - 3} more" if len(given) > 3 else ""
        return [
            f"{layer.where(('model', 'base_model'))} is a checkpoint and brings its own architecture: leave it out, or "
            f"{', '.join(given[:3])}{more}."
        ][: len(given)]
    found = [
        f"{layer.where(('model', name))}: this belongs to a checkpoint: name one in model.base_model, or leave it out."
        for name in CHECKPOINT_KEYS
        if layer.gives(("model", name))
    ]
    if layer.gives(("model", "freeze_core")):
        where = layer.where(("model", "freeze_core"))
        found.append(f"Unknown key {where}: only core_model_type: hf_core has a core to freeze.")
    return found


def _type_problems(error: ValidationError, layer: Layer) -> list[str]:
    """One sentence for each value of the wrong type; the alternatives of a union in one."""
    messages: dict[Path, list[str]] = {}
    for detail in error.errors():
        location = tuple(str(part) for part in detail["loc"])
        path = next((location[:end] for end in range(len(location), 0, -1) if location[:end] in FIELDS), location)
        messages.setdefault(path, []).append(message_of(detail))
    return [f"{layer.where(path)}: {_either(said)}." for path, said in messages.items()]


def _either(said: list[str]) -> str:
    """The messages of a union's members as one: `expected a whole number or expected a list, got 'x'`."""
    heads = [message.rpartition(", got ")[0] or message for message in said[:-1]]
    return " or ".join(dict.fromkeys([*heads, said[-1]]))


def _given_twice(layer: Layer) -> list[str]:
    """Two keys of which a run gives one. (Batch sizes may be given both ways where they agree: see checks.py.)"""
    return [
        f"{layer.where(one)} and {layer.where(other)}: a run gives one of the two, not both."
        for one, other in ALTERNATIVES[:2]
        if layer.gives(one) and layer.gives(other)
    ]
