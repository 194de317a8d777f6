"""Rows of alpaca and sharegpt files as conversations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...errors import UserError, nearest
from .conversation import Conversation, conversation, role_of, text_of

CONVERSATIONS = ("conversations", "messages", "conversation", "dialog")


def alpaca(where: str, row: Mapping[str, Any]) -> Conversation:
    """`instruction`, `input` (may be missing or empty), `output`; also `system`, `history` ([question, answer], ...).

    A message keeps `instruction` and `input` apart for alpaca's own prompt; any other template sees `content`, the
    instruction, a blank line and the input.
    """
    messages: list[dict[str, Any]] = []
    if system := text_of(row, "system", where, required=False):
        messages.append({"role": "system", "content": system})
    for turn in row.get("history") or []:
        if not isinstance(turn, list) or len(turn) != 2 or not all(isinstance(text, str) for text in turn):
            raise UserError(f"{where}: 'history' holds {turn!r}, and pairs of a question and its answer are wanted")
        messages += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
    instruction, given = text_of(row, "instruction", where), text_of(row, "input", where, required=False)
    given = given if given.strip() else ""
    question = {"role": "user", "content": f"{instruction}\n\n{given}" if given else instruction}
    question |= {"instruction": instruction, "input": given} if given else {}
    return conversation([*messages, question, {"role": "assistant", "content": text_of(row, "output", where)}], where)


def sharegpt(where: str, row: Mapping[str, Any]) -> Conversation:
    """`conversations` (or `messages`): a list of {from, value} or {role, content}; also `system` and `tools`.

    An assistant's message of `weight` 0 is no target.
    """
    column = next((name for name in CONVERSATIONS if name in row), None)
    if column is None:
        raise UserError(f"{where} has no column 'conversations'.{nearest('conversations', row)}")
    turns = _json(row[column], column, where)
    if not isinstance(turns, list):
        raise UserError(f"{where}: '{column}' holds a {type(turns).__name__}, and a list of messages is wanted")
    messages = [_message(turn, f"{where}, message {number}") for number, turn in enumerate(turns, 1)]
    if (system := text_of(row, "system", where, required=False)).strip():
        messages.insert(0, {"role": "system", "content": system})
    untrained = [i for i, message in enumerate(messages) if message.pop("weight", None) == 0]
    tools = _json(row.get("tools") or None, "tools", where)
    if tools is not None and not isinstance(tools, list):
        raise UserError(f"{where}: 'tools' holds a {type(tools).__name__}, and a list of tools is wanted")
    return conversation(messages, where, untrained=untrained, tools=tools or None)


def _message(turn: Any, where: str) -> dict[str, Any]:
    if not isinstance(turn, Mapping):
        raise UserError(f"{where} is a {type(turn).__name__}, and {{from, value}} or {{role, content}} is wanted")
    role, text = ("from", "value") if "from" in turn else ("role", "content")
    if role not in turn:
        raise UserError(f"{where} says neither 'from' nor 'role'.{nearest('from', turn)}")
    kept = {key: turn[key] for key in ("weight", "tool_calls", "name", "tool_call_id") if turn.get(key) is not None}
    if text not in turn and "tool_calls" not in kept:
        raise UserError(f"{where} has no '{text}'.{nearest(text, turn)}")
    content = turn.get(text) if "tool_calls" in kept else text_of(turn, text, where, required=False)
    return {"role": role_of(turn[role], where), "content": content or "", **kept}


def _json(value: Any, column: str, where: str) -> Any:
    """What a column of a csv file holds as JSON text; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError as error:
        raise UserError(f"{where}: '{column}' is no JSON ({error}): mend or delete the row") from None
