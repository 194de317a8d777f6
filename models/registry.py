"""The models that are known by name: configs/models.yaml, and a file of one's own that $GROUNDUP_MODELS names."""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import configs
from ..configs.read import text_of
from ..configs.registry import RegistryEntry, parse_registry
from ..errors import UserError
from .flops import count_parameters
from .start import BAG_OF_WORDS, objective

REGISTRY = Path(str(configs.__file__)).with_name("models.yaml")
OWN = "GROUNDUP_MODELS"

# Ids that the documents give, or that the hub had once, and their owners' present ones.
_OTHER_IDS = {
    "google/bert-base-uncased": "google-bert/bert-base-uncased",
    "google/bert-large-uncased": "google-bert/bert-large-uncased",
    "meta-llama/meta-llama-3.1-8b": "meta-llama/Llama-3.1-8B",
    "meta-llama/meta-llama-3.1-8b-instruct": "meta-llama/Llama-3.1-8B-Instruct",
}


@dataclass(frozen=True)
class Listed:
    """An entry, and what its published shape says of it; None where the shape is not known."""

    entry: RegistryEntry
    family: str | None
    parameters: int | None


def entries() -> tuple[RegistryEntry, ...]:
    """Every entry, one's own last; an entry of one's own replaces ours of the same alias or id.

    Raises UserError for a file that cannot be read, for an entry without an id, and for two of one alias or id.
    """
    own = os.environ.get(OWN)
    return _entries(str(Path(own).expanduser()) if own else None)


def find(name: str) -> RegistryEntry:
    """The entry of an alias (`BERT-tiny`), a hub id, or the last part of one (`gpt2`); case does not matter.

    Raises UserError, with the nearest name, where there is none.
    """
    entry = lookup(name)
    if entry is None:
        raise UserError(not_found(name))
    return entry


def lookup(name: str) -> RegistryEntry | None:
    """As `find`; None where there is none."""
    wanted = name.strip().casefold()
    wanted = _OTHER_IDS.get(wanted, wanted).casefold()
    known = entries()
    for names in (_alias, _id, _last_part):
        for entry in reversed(known):
            if names(entry) == wanted:
                return entry
    return None


def not_found(name: str) -> str:
    """The sentence for a name that no entry has."""
    from ..configs.several import model_sets

    sets = {one.casefold(): one for one in model_sets()}
    if name.casefold() in sets:
        return f"'{name}' is a set of models: name it in --models, which trains each of them"
    known = entries()
    aliases = [*(entry.alias or entry.name for entry in known), BAG_OF_WORDS]
    spoken = {spelling(entry): (entry.alias or entry.name) for entry in known for spelling in (_alias, _id, _last_part)}
    spoken |= {BAG_OF_WORDS: BAG_OF_WORDS, **sets}
    close = difflib.get_close_matches(name.casefold(), [word for word in spoken if word], n=1, cutoff=0.6)
    hint = f" Did you mean '{spoken[close[0]]}'?" if close else ""
    return f"Model '{name}' not found. Available models: {aliases}.{hint}"


def list_models() -> list[Listed]:
    """Every entry with its family and its number of parameters, computed from the published shape.

    An encoder counts with its masked-LM head, a decoder with its language-model head.
    """
    return [Listed(entry, *_shape(entry)) for entry in entries()]


def table(listed: Sequence[Listed]) -> str:
    """`list_models` for a terminal of 120 columns."""
    head = ("alias", "hub id", "parameters", "family", "kind", "batch size", "memory, GB")
    rows = [head, *(_cells(one) for one in listed)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(
            cell.rjust(width) if column in _RIGHT else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join([*(line.rstrip() for line in lines), "", _LEGEND])


_RIGHT = (2, 5, 6)  # columns of numbers
_LEGEND = """\
Parameters with the head of language modelling. Batch size and memory are for CUDA / Apple silicon / CPU, the memory of
CUDA with weights in 4 bits; both are recommendations: --plan works out what a run needs."""


def _cells(one: Listed) -> tuple[str, ...]:
    entry = one.entry
    batch, memory = entry.recommended_batch_size or {}, entry.memory_requirements
    needs = (memory.cuda_4bit, memory.mps_fp32, memory.cpu) if memory else ()
    return (
        entry.alias or "",
        entry.name or "",
        f"{one.parameters:,}" if one.parameters else (entry.size_params or "?"),
        one.family or "?",
        (entry.architecture or "?").removesuffix("-only"),
        "/".join(str(batch.get(device, "?")) for device in ("cuda", "mps", "cpu")),
        "/".join((need or "?").removesuffix("GB") for need in needs) or "?",
    )


def _shape(entry: RegistryEntry) -> tuple[str | None, int | None]:
    from .hf.families import model_config
    from .hf.shapes import known_shape

    shape = known_shape(entry.name or "")
    if shape is None:
        return None, None
    task = objective(shape)
    return str(shape["model_type"]), count_parameters(model_config(shape, task), task)


@functools.cache
def _entries(own: str | None) -> tuple[RegistryEntry, ...]:
    ours = _read(REGISTRY)
    if own is None:
        return ours
    theirs = _read(Path(own))
    taken = {word for entry in theirs for word in (_alias(entry), _id(entry)) if word}
    return (*(entry for entry in ours if _alias(entry) not in taken and _id(entry) not in taken), *theirs)


def _read(path: Path) -> tuple[RegistryEntry, ...]:
    found = parse_registry(text_of(path), str(path))
    names: set[str] = set()
    for number, entry in enumerate(found, 1):
        if not entry.name:
            raise UserError(f"{path}: entry {number} has no name: give its id on the Hugging Face hub")
        for word in {_alias(entry), _id(entry)} - {""}:
            if word in names:
                raise UserError(f"{path}: entry {number}, {entry.name}: another entry is called '{word}' already")
            names.add(word)
    return tuple(found)


def _alias(entry: RegistryEntry) -> str:
    return (entry.alias or "").casefold()


def _id(entry: RegistryEntry) -> str:
    return (entry.name or "").casefold()


def _last_part(entry: RegistryEntry) -> str:
    return _id(entry).rpartition("/")[2]
