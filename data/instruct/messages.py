"""A list of messages, as data sets write them, as a conversation.

{"from": "gpt", "value": "..."} or {"role": "assistant", "content": "..."}; what else a message holds is the template's:
tool calls, names, what the model thought. One marked `weight: 0`, `train: false` or `training: false` is no target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...errors import UserError, nearest
from .conversation import Conversation, conversation, role_of

_TEXTS = {"from": "value", "role": "content"}  # who speaks and what is said, in two spellings
_FLAGS = ("weight", "train", "training")


def conversation_of(
    turns: Sequence[Any], where: str, *, system: str = "", tools: list[Any] | None = None
) -> Conversation:
    """The messages in order, behind `system`; a system message without text is none.

    Raises UserError: no message, one that says nothing or of nobody, and what `conversation` refuses.
    """
    messages = [read_message(turn, f"{where}, message {number}") for number, turn in enumerate(turns, 1)]
    if system:
        messages.insert(0, ({"role": "system", "content": system}, True))
    kept = [pair for pair in messages if pair[0]["role"] != "system" or pair[0]["content"].strip()]
    untrained = [i for i, (_, is_target) in enumerate(kept) if not is_target]
    return conversation([message for message, _ in kept], where, untrained=untrained, tools=tools)


def read_message(turn: Any, where: str) -> tuple[dict[str, Any], bool]:
    """`role`, `content` and what else stands there, and whether it may be a target. Raises UserError."""
    if not isinstance(turn, Mapping):
        raise UserError(f"{where} is a {type(turn).__name__}, and {{from, value}} or {{role, content}} is wanted")
    # Files that were merged have the columns of both, of which one is empty.
    speaker = next((key for key in _TEXTS if turn.get(key) is not None), None)
    if speaker is None:
        raise UserError(f"{where} says neither 'from' nor 'role'.{nearest('from', turn)}")
    text = next((key for key in _TEXTS.values() if turn.get(key) is not None), _TEXTS[speaker])
    if text not in turn and not turn.get("tool_calls"):
        raise UserError(f"{where} has no '{text}'.{nearest(text, turn)}")
    rest = {key: value for key, value in turn.items() if value is not None and key not in (*_TEXTS, *_TEXTS.values())}
    if not rest.get("tool_calls"):
        rest.pop("tool_calls", None)
    flags = [_is_target(rest.pop(key), key, where) for key in _FLAGS if key in rest]
    return {"role": role_of(turn[speaker], where), "content": _text(turn.get(text), text, where), **rest}, all(flags)


def _is_target(value: Any, key: str, where: str) -> bool:
    if value not in (0, 1):  # False and True are
        raise UserError(f"{where}: '{key}' is {value!r}, and a message is trained or not: 1 or 0, true or false")
    return bool(value)


def _text(value: Any, key: str, where: str) -> str:
    """A text, or parts of one: {"type": "text", "text": "..."}."""
    if not isinstance(value, list | tuple):
        value = [] if value is None else [value]
    return "".join(_part(part, key, where) for part in value)


def _part(part: Any, key: str, where: str) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and part.get("type") in ("text", None) and isinstance(part.get("text"), str):
        return part["text"]
    kind = part.get("type") if isinstance(part, Mapping) else None
    found = f"a part of the type {kind!r}" if kind not in ("text", None) else repr(part)
    raise UserError(f"{where}: '{key}' holds {found}, and text is wanted")
