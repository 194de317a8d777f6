"""Settings on the command line: `--a.b VALUE`, `--a.b=VALUE` and `a.b=VALUE`.

The field decides how a word is read: text stays as it is, all else is read as YAML (`null`, `true`, `[1, 2]`, `3e-4`).
Lists also come as `a,b` and, after `--key`, as several words, up to the first that holds `=` or starts with `--`.
"""

from __future__ import annotations

import shlex
from typing import Any, Literal, get_args, get_origin

import yaml

from ..errors import UserError
from .fields import Strict, is_mapping
from .layers import Layer
from .rename import canonical, canonical_path, split_choice
from .schema_run import FIELDS, OPTIONAL, SECTIONS, Path
from .unknown import hint

PLACE = "the command line"
SHORT = (("model",), ("dataset",))  # sections that stand for one of their keys


def parse_overrides(words: list[str]) -> Layer:
    """A layer from the words after the configuration file.

    Raises UserError for an unknown key, a key without a value, a word that is neither, and one key with two values.
    """
    layers: list[tuple[str, Any]] = []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.removeprefix("--").partition("=")
        if not name or (not equals and not word.startswith("--")) or name.startswith("-"):
            raise UserError(
                f"Cannot read '{word}' on the command line: write --section.key VALUE or section.key=VALUE."
            )
        path = _known(name, value if equals else "".join(rest[:1]))
        if equals:
            layers.append((name, read_value(path, value, name)))
            continue
        if _is_list(path):
            values: list[str] = []
            while rest and not rest[0].startswith("--") and "=" not in rest[0]:
                values.append(rest.pop(0))
            if not values:
                raise UserError(f"--{name} on the command line needs at least one value.")
            layers.append((name, read_value(path, values[0] if len(values) == 1 else ",".join(values), name)))
            continue
        if not rest or rest[0].startswith("--"):
            raise UserError(f"--{name} on the command line needs a value.")
        layers.append((name, read_value(path, rest.pop(0), name)))
    return _merged(layers)


def _merged(settings: list[tuple[str, Any]]) -> Layer:
    raw: dict[str, Any] = {}
    for name, value in settings:
        written = tuple(name.split("."))
        if written in SHORT and not is_mapping(value):  # `model=gpt2 model.tokenizer=...`: a section has room for both
            written = canonical_path(written)
        _put(raw, written, value, name)
    return canonical(raw, lambda path: PLACE)


def _put(tree: dict[str, Any], path: Path, value: Any, name: str) -> None:
    for part in path[:-1]:
        below: Any = tree.setdefault(part, {})
        if not is_mapping(below):
            raise UserError(f"{name} on the command line sets a key below one that has a value already.")
        tree = below
    last = path[-1]
    if last in tree and tree[last] != value:
        raise UserError(f"{name} is given twice on the command line, as {tree[last]!r} and {value!r}.")
    tree[last] = value


def _known(name: str, value: str) -> Path:
    """The canonical path of a key on the command line, without device or task."""
    written = tuple(name.split("."))
    if written[0] == "profiles":
        raise UserError(f"{name}: profiles are written in a file; on the command line set the key itself.")
    path, _ = split_choice(canonical_path(written))
    if path in SECTIONS:
        return path
    if path not in FIELDS:
        raise UserError(_part_of_a_mapping(name, value) or f"Unknown key {name} on the command line.{hint(name)}")
    return path


def _part_of_a_mapping(name: str, value: str) -> str | None:
    """What to write instead of a key inside a mapping, which is set as a whole; None for any other key."""
    words = name.split(".")
    for end in range(len(words) - 1, 0, -1):
        path = canonical_path(tuple(words[:end]))
        of_keys = (
            next((one for one in _members(FIELDS[path].annotation) if get_origin(one) is dict), None)
            if path in FIELDS
            else None
        )
        if of_keys is None:
            continue
        inside = ".".join(words[end:])  # names, of models and of parameters, have dots of their own
        whole: Any = _yaml(value, name) if value and not value.startswith("--") else "VALUE"
        for part in reversed(inside.rsplit(".", 1) if _holds_keys(get_args(of_keys)[1]) else [inside]):
            whole = {part: whole}
        mapping = ".".join(words[:end])
        text = yaml.safe_dump(whole, default_flow_style=True, width=1000).strip()
        return f"{name} on the command line: {mapping} is set as a whole: write {shlex.quote(f'{mapping}={text}')}."
    return None


def _holds_keys(annotation: Any) -> bool:
    return get_origin(annotation) is dict or (isinstance(annotation, type) and issubclass(annotation, Strict))


def read_value(path: Path, text: str, name: str) -> Any:
    """A word of the command line as the value of the field at `path`."""
    if path in SECTIONS:
        return _section(path, text, name)
    annotation = FIELDS[path].annotation
    if text == "null":
        return None
    if _is_list(path):
        return text if _is_word_of(annotation, text) else _list(text, name)
    if _takes_text_only(annotation):
        return text
    value = _yaml(text, name)
    # a word that a selector documents stays that word: YAML would read `no` and `off` as False
    return text if isinstance(value, bool) and text.casefold() not in ("true", "false") else value


def _section(path: Path, text: str, name: str) -> Any:
    """A whole section: `{a: 1, b: 2}`, or null where there may be none."""
    value = _yaml(text, name)
    if (value is None and path in OPTIONAL) or (is_mapping(value) and value):
        return value
    example = next(".".join(known) for known in FIELDS if known[: len(path)] == path)
    raise UserError(f"{name} on the command line is a section: set one of its keys, such as {example}.")


def _list(text: str, name: str) -> Any:
    if text.startswith("["):
        return _yaml(text, name)
    return [part.strip() for part in text.split(",") if part.strip()]


def _yaml(text: str, name: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise UserError(f"{name} on the command line: cannot read the value {text!r}.") from None


def _members(annotation: Any) -> list[Any]:
    """The types a field allows, unions and Annotated unpacked."""
    if hasattr(annotation, "__metadata__"):
        return _members(get_args(annotation)[0])
    if (get_origin(annotation) is not None and type(None) in get_args(annotation)) or _is_union(annotation):
        return [leaf for member in get_args(annotation) for leaf in _members(member)]
    return [annotation]


def _is_union(annotation: Any) -> bool:
    import types
    import typing

    return get_origin(annotation) in (types.UnionType, typing.Union)


def _is_list(path: Path) -> bool:
    return path in FIELDS and any(get_origin(member) is list for member in _members(FIELDS[path].annotation))


def _is_word_of(annotation: Any, text: str) -> bool:
    """Whether a field that may be a list has this one word as a value of its own: `auto`, a name, a pattern."""
    members = _members(annotation)
    words = {word for member in members if get_origin(member) is Literal for word in get_args(member)}
    return text.casefold() in words or (str in members and not text.startswith("[") and "," not in text)


def _takes_text_only(annotation: Any) -> bool:
    return all(member in (str, type(None)) for member in _members(annotation))
