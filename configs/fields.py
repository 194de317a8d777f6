"""The kinds of value a configuration holds, and the base class of its sections.

PyYAML reads `3e-4` and `1e5` as text and `no` as False, so the field's type decides what a value is.
A value may also be a mapping by device (`{cuda: 32, cpu: 4}`) or by task (`{classification: 8, language-modeling: 4}`):
every branch is checked, and the one for this run is taken while parsing (the context says which run it is).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeGuard

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ..errors import nearest

DEVICES = ("cuda", "mps", "cpu")
TASKS = ("classification", "language-modeling")


def fold(word: str) -> str:
    """One spelling of a selector: `Language_Modeling` and `language-modeling` are the same word."""
    return word.strip().casefold().replace("-", "_").replace(" ", "_")


_DEVICE_WORDS = {fold(name): name for name in DEVICES}
_TASK_WORDS = {fold(name): name for name in TASKS}


def is_mapping(value: Any) -> TypeGuard[dict[str, Any]]:
    """True for a mapping: in YAML its keys are words, see read.py."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """True for a list."""
    return isinstance(value, list)


def is_choice(value: Any) -> TypeGuard[dict[str, Any]]:
    """True for a mapping whose keys are all devices, or all tasks."""
    if not is_mapping(value) or not value or not all(isinstance(key, str) for key in value):  # pyright: ignore
        return False
    words = {fold(key) for key in value}
    return words <= _DEVICE_WORDS.keys() or words <= _TASK_WORDS.keys()


def key(default: Any, meaning: str, *, required: bool = False, factory: Callable[[], Any] | None = None) -> Any:
    """A documented key: its default and what it means (docs/configuration.md prints both).

    `required` marks keys without a default: None until `resolve` has seen that the run gives them.
    """
    extra: dict[str, Any] = {"required": required}
    if factory is not None:
        return Field(default_factory=factory, description=meaning, json_schema_extra=extra)
    return Field(default, description=meaning, json_schema_extra=extra)


class Strict(BaseModel):
    """A mapping of documented keys; any other key is an error."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=(), allow_inf_nan=False)


class Section(Strict):
    """A mapping of documented keys, each of whose values may be given by device or by task."""

    @field_validator("*", mode="wrap")
    @classmethod
    def _choose(cls, value: Any, handler: Callable[[Any], Any], info: ValidationInfo) -> Any:
        """Check every branch of a value by device or by task and keep the one of this run."""
        if not is_choice(value):
            return handler(value)
        context: dict[str, str] = info.context or {}
        branches: dict[str, Any] = {}
        by_device = all(fold(name) in _DEVICE_WORDS for name in value)
        for name, branch in value.items():
            try:
                branches[fold(name)] = cls._choose(branch, handler, info) if is_choice(branch) else handler(branch)
            except ValidationError as error:
                first = error.errors()[0]
                raise ValueError(f"for {name} {message_of(first)}") from None
        kind = "device" if by_device else "task"
        wanted = context.get(kind, "")
        if fold(wanted) not in branches:
            raise ValueError(f"has a value for {', '.join(map(str, value))} but none for this run's {kind}, {wanted}")
        return branches[fold(wanted)]


def message_of(error: Any) -> str:
    """What pydantic found wrong, in our own words, without the path."""
    given = shown(error["input"])
    context: dict[str, Any] = error.get("ctx") or {}
    match error["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            options = re.findall(r"'([^']*)'|(\d+)", str(context["expected"]))
            names = [word or number for word, number in options]
            near = nearest(error["input"], names)
            hint = f" (d{near[2:]})" if near.startswith(" Did") else ""
            return f"expected {'one of ' if len(names) > 1 else ''}{', '.join(names)}, got {given}{hint}"
        case "greater_than":
            return f"must be above {context['gt']:g}, got {given}"
        case "greater_than_equal":
            return f"must be at least {context['ge']:g}, got {given}"
        case "less_than":
            return f"must be below {context['lt']:g}, got {given}"
        case "less_than_equal":
            return f"must be at most {context['le']:g}, got {given}"
        case "model_type" | "dict_type":
            return f"expected a mapping of keys, got {given}"
        case "list_type":
            return f"expected a list, got {given}"
        case "extra_forbidden":
            return f"unknown key '{error['loc'][-1]}'"
        case _:
            return f"{error['msg'][0].lower()}{error['msg'][1:]}, got {given}"


def shown(value: Any) -> str:
    """A value as a person would write it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if is_mapping(value):
        return f"a mapping ({', '.join(map(str, list(value)[:4]))})"
    return repr(value)


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = int(value) if value.strip().lstrip("+-").isdigit() else float(value)
        except ValueError:
            raise ValueError(f"expected a whole number, got {value!r}") from None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"expected a whole number, got {shown(value)}")
    return value


def _number(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise ValueError(f"expected a number, got {value!r}") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"expected a number, got {shown(value)}")
    if not abs(value) < float("inf"):  # also False for NaN
        raise ValueError(f"expected a finite number, got {value!r}")
    return float(value)


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        value = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}.get(
            value.strip().casefold(), value
        )
    if not isinstance(value, bool):
        raise ValueError(f"expected true or false, got {shown(value)}")
    return value


def _text(value: Any) -> Any:
    if not isinstance(value, str):
        quotes = (
            ""
            if value is None or is_mapping(value) or is_list(value)
            else ": put it in quotes if that is what you mean"
        )
        raise ValueError(f"expected text, got {shown(value)}{quotes}")
    if not value.strip():
        raise ValueError("expected text, got an empty string")
    return value


def spelled(**spellings: str) -> BeforeValidator:
    """Fold a selector's case and hyphens, translate documented spellings, and read YAML's False as the word `no`."""
    known = {fold(word): canonical for word, canonical in spellings.items()}

    def word(value: Any) -> Any:
        if value is False:
            return known.get("no", "no")
        if not isinstance(value, str):
            return value
        return known.get(fold(value), fold(value))

    return BeforeValidator(word)


WORD = spelled()

WHOLE = BeforeValidator(_whole)
Whole = Annotated[int, WHOLE]
Positive = Annotated[Whole, Field(gt=0)]
Natural = Annotated[Whole, Field(ge=0)]
Number = Annotated[float, BeforeValidator(_number)]
PositiveNumber = Annotated[Number, Field(gt=0)]
NaturalNumber = Annotated[Number, Field(ge=0)]
Fraction = Annotated[Number, Field(ge=0, le=1)]
Share = Annotated[Number, Field(ge=0, lt=1)]
Flag = Annotated[bool, BeforeValidator(_flag)]
Text = Annotated[str, BeforeValidator(_text)]


def _named(value: Any) -> Any:
    """`{0: 1, 1: 5}` on the command line: labels that are numbers are names all the same."""
    if not is_mapping(value):
        return value
    items: dict[Any, Any] = value
    return {str(name) if type(name) is int else name: weight for name, weight in items.items()}


LABELS = BeforeValidator(_named)


def _flag_or(word: str) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if isinstance(value, str) and fold(value) == word:
            return word
        try:
            return _flag(value)
        except ValueError:
            raise ValueError(f"expected true, false or {word}, got {shown(value)}") from None

    return read


FlagOrAuto = Annotated[bool | Literal["auto"], BeforeValidator(_flag_or("auto"))]
