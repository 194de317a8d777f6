"""The reference of every key, made from the schema: `python -m groundup.configs.docs > docs/configuration.md`."""

from __future__ import annotations

import inspect
import types
import typing
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from .defaults import defaults_for
from .fields import Strict
from .layers import Layer
from .not_yet import NEVER, NOT_YET
from .registry import (
    Memory,
    MemoryOptimization,
    ModelSelection,
    ModelsSection,
    RegistryEntry,
    RegistryLora,
)
from .rename import spellings
from .schema_run import FIELDS, SECTIONS, Path, RunConfig

INTRODUCTION = """\
# Every key of a configuration

Generated from the schema by `python -m groundup.configs.docs > docs/configuration.md`; a test keeps it current.

A configuration is a YAML file of sections. Keys that nobody knows are errors, at any depth, and so are values of
another type. What is marked *not available yet* is read and checked, and then refused with a sentence that says what to
do.

- On the command line: `--section.key VALUE`, `--section.key=VALUE` or `section.key=VALUE`. It beats the profile, and
  the profile beats the rest of the file.
- By device: any value may be a mapping `{cuda: 32, mps: 8, cpu: 4}`, and `profiles:` overlays any of the sections:
  `profiles: {cpu: {trainer: {batch_size: 4}}}`. By task: `{classification: 8, language-modeling: 4}`.
- `model: NAME` is short for `model: {base_model: NAME}`, `init: random` for `model: {init: random}`, `dataset: NAME`
  for `dataset: {name: NAME}`, and `device: NAME` for `general: {device: NAME}`.
- `training` is another name of `trainer`, and `trainer.eval` of `evaluation`. Other spellings stand after *also*.
- Selectors do not mind case, and take their settings beside them or as a mapping: `tokenizer_type: bpe` with
  `vocab_size: 4096`, or `tokenizer_type: {name: bpe, vocab_size: 4096}`.
- Of `trainer.max_iters` and `trainer.epochs` a run gives one; so of `warmup_iters` and `warmup_ratio`, and of
  `gradient_accumulation_steps` and `effective_batch_size`.
"""

KINDS = """\
## Defaults of fine-tuning

The defaults above are those of a run from scratch, also of one around an `hf_core`. A run from a checkpoint has those
below in their place; its batch is the one that the registry recommends for the device, accumulated to 16 sequences a
step, and its sequences have 1024 tokens, or as many as the model was trained for. Random weights (`init: random`) are
trained at the rates above, and else like published ones.
"""

REGISTRY = """\
## models: several models, and registry entries

`models:` is a list of names, named sets and entries, or a section with the keys of `models` below; on the command line
`--models A B C`. Each is trained in a process of its own, one after another, whatever becomes of the others; at the end
they stand side by side, and the exit code is 1 if any failed. What an entry says beats the rest of the file, and the
command line beats both; its recommended batch size and its `lora` are taken where nothing else is said.
"""


def markdown() -> str:
    """The whole page."""
    parts = [INTRODUCTION]
    for path in [("model",), *(path for path in SECTIONS if path != ("model",))]:
        parts.append(_section(path))
    parts += [KINDS, _kinds(), REGISTRY]
    entries = {
        "models": ModelsSection,
        "models.model_selection": ModelSelection,
        "models.memory_optimization.FAMILY": MemoryOptimization,
        "entry": RegistryEntry,
        "entry.lora": RegistryLora,
        "entry.memory_requirements": Memory,
    }
    for name, section in entries.items():
        rows = [
            _row(key, type_of(section, key), default_of(info), str(info.description)) for key, info in _keys(section)
        ]
        parts.append(f"### {name}\n\n{section.__doc__}\n\n{_table(rows)}")
    return "\n".join(parts).rstrip() + "\n"


def plain_text() -> str:
    """Every key for a terminal: its name, type, default and meaning."""
    lines: list[str] = []
    for path, info in FIELDS.items():
        kind = type_of(_owner(path), path[-1]).replace("`", "")
        lines.append(f"{'.'.join(path)}  ({kind}; default: {default_of(info)})")
        lines.append(f"    {str(info.description).replace('`', '')}{_not_yet(path)}")
    return "\n".join(lines)


def default_of(info: FieldInfo) -> str:
    """A key's default as a person would write it: `required` where there is none."""
    if typing.cast(dict[str, Any], info.json_schema_extra or {}).get("required"):
        return "required"
    value = info.default_factory() if info.default_factory else info.default  # pyright: ignore[reportCallIssue]
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def type_of(section: type[Strict], key: str) -> str:
    """A key's type in words: `whole number above 0, or null`."""
    return _spoken(typing.get_type_hints(section, include_extras=True)[key], ())


def _spoken(hint: Any, limits: tuple[Any, ...]) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _spoken(arguments[0], (*limits, *_limits(arguments[1:])))
    if origin in (typing.Union, types.UnionType):
        members = [_spoken(member, limits) for member in arguments if member is not type(None)]
        return " or ".join(members) + (", or null" if type(None) in arguments else "")
    if origin is Literal:
        return ", ".join(f"`{option}`" for option in arguments)
    if origin is list:
        return f"list of {_spoken(arguments[0], ())}"
    if origin is dict:
        return f"mapping of {_spoken(arguments[0], ())} to {_spoken(arguments[1], ())}"
    if isinstance(hint, type) and issubclass(hint, Strict):
        return "mapping"
    word = {int: "whole number", float: "number", bool: "true or false", str: "text"}[hint]
    return (
        " ".join([word, *limits])
        .replace("at least 0 below 1", "from 0 to below 1")
        .replace("at least 0 at most 1", "from 0 to 1")
    )


def _limits(metadata: tuple[Any, ...]) -> list[str]:
    found: list[str] = []
    for item in metadata:
        for limit in item.metadata if isinstance(item, FieldInfo) else (item,):
            match limit:
                case Gt():
                    found.append(f"above {limit.gt}")
                case Ge():
                    found.append(f"at least {limit.ge}")
                case Lt():
                    found.append(f"below {limit.lt}")
                case Le():
                    found.append(f"at most {limit.le}")
                case _:
                    pass
    return found


def _kinds() -> str:
    rows = {"classification": ("full", "classification"), "language modelling": ("full", "language-modeling")}
    rows["lora, qlora, spectrum"] = ("lora", "language-modeling")
    kinds = {title: defaults_for(kind, task, Layer()) for title, (kind, task) in rows.items()}
    keys = list(dict.fromkeys(key for values in kinds.values() for key in values))
    shown = [_row(key, *(str(values.get(key, "as above")) for values in kinds.values())) for key in keys]
    return "\n".join([_row("key", *kinds), "|---" * (len(kinds) + 1) + "|", *shown, ""])


def _section(path: Path) -> str:
    section = SECTIONS[path]
    rows = [
        _row(
            key,
            type_of(section, key),
            default_of(info),
            f"{info.description}{_not_yet((*path, key))}{_also((*path, key))}",
        )
        for key, info in _keys(section)
        if (*path, key) in FIELDS
    ]
    level = "##" if len(path) == 1 else "###"
    return f"{level} {'.'.join(path)}\n\n{inspect.cleandoc(section.__doc__ or '')}{_not_yet(path)}\n\n{_table(rows)}"


def _keys(section: type[Strict]) -> list[tuple[str, FieldInfo]]:
    return list(section.model_fields.items())


def _owner(path: Path) -> type[Strict]:
    return SECTIONS.get(path[:-1], RunConfig)


def _not_yet(path: Path) -> str:
    """The mark of a key that is refused."""
    return next((f" *({row.marked})*" for row in (*NEVER, *NOT_YET) if row.path == ".".join(path)), "")


def _also(path: Path) -> str:
    """The other spellings, without those that the introduction gives a rule for."""
    selectors = tuple(f"model.{name}_type." for name in ("core_model", "embedding_model", "tokenizer", "lm_head"))
    general = ("training.", "trainer.eval.", *selectors)
    others = [name for name in spellings(path) if not name.startswith(general) and not name.endswith("_type.name")]
    return f"; also {', '.join(f'`{name}`' for name in others)}" if others else ""


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


def _table(rows: list[str]) -> str:
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows, ""])


if __name__ == "__main__":
    print(markdown(), end="")
