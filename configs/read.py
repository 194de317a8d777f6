"""YAML files to plain values, with the line of every key; what YAML leaves vague is an error that names the line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, cast

import yaml

from ..errors import UserError

Lines = dict[tuple[str, ...], int]


def read_yaml(path: str | os.PathLike[str]) -> tuple[Any, Lines]:
    """The value in a YAML file and the line of each of its keys.

    Raises UserError for a file that is missing, unreadable, not UTF-8 or not YAML, and for duplicate keys.
    """
    return parse_yaml(text_of(Path(path)), str(path))


def parse_yaml(text: str, name: str) -> tuple[Any, Lines]:
    """The value of a YAML text, and the line of each key of its mappings (list entries count as keys `0`, `1`, ...).

    `name` says where the text comes from. Raises UserError for what is not YAML and for duplicate keys.
    """
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        lines: Lines = {}
        if node is None:
            return None, lines
        _check(node, (), name, lines, [])
        return cast(Any, loader.construct_document(node)), lines  # pyright: ignore[reportUnknownMemberType]
    except yaml.reader.ReaderError as error:
        at = text[: error.position].count("\n") + 1
        raise UserError(
            f"{name}, line {at}: the control character #x{ord(text[error.position]):x} is not allowed in YAML."
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
        hint = " (YAML indents with spaces, never tabs)" if "'\\t'" in str(error.problem) else ""
        raise UserError(f"{where}: not valid YAML: {error.problem or error.context}{hint}.") from None
    except ValueError as error:  # a date that does not exist and the like
        raise UserError(f"{name}: not valid YAML: {error}.") from None


def text_of(path: Path) -> str:
    """The text of a UTF-8 file. Raises UserError for one that is missing or no text."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        near = _near(path)
        raise UserError(f"There is no configuration file {path}.{near}") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a folder: name the YAML file inside it.") from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text (byte {error.start}): save the file as UTF-8.") from None
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from None


def _near(path: Path) -> str:
    """The YAML files that lie beside a missing one."""
    from ..errors import nearest

    folder = path.parent if path.parent.is_dir() else Path("configs")
    known = sorted(str(file) for file in folder.glob("*.yaml")) if folder.is_dir() else []
    return nearest(path, known)


def _check(node: yaml.Node, path: tuple[str, ...], name: str, lines: Lines, above: list[int]) -> None:
    """Note each key's line; refuse a key twice, a key that is not a word, and a value that holds itself."""
    if id(node) in above:
        raise UserError(f"{name}, line {node.start_mark.line + 1}: an alias refers to a value that holds it.")
    above = [*above, id(node)]
    if isinstance(node, yaml.SequenceNode):
        for index, child in enumerate(node.value):
            _check(child, (*path, str(index)), name, lines, above)
    if not isinstance(node, yaml.MappingNode):
        return
    first: dict[str, int] = {}
    for key_node, child in node.value:
        line = key_node.start_mark.line + 1
        if key_node.tag == "tag:yaml.org,2002:merge":
            _check(child, path, name, {}, above)
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError(f"{name}, line {line}: a key must be a word.")
        if key_node.tag != "tag:yaml.org,2002:str":
            raise UserError(
                f"{name}, line {line}: the key {key_node.value} does not read as a word in YAML: put it in quotes."
            )
        word = str(key_node.value)
        if word in first:
            where = ".".join((*path, word))
            raise UserError(f"{name}, line {line}: the key {where} is there twice, first on line {first[word]}.")
        first[word] = line
        lines[(*path, word)] = line
        _check(child, (*path, word), name, lines, above)
